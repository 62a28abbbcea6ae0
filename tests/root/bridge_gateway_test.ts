// The result of a bridge in a VLAN names the gateway's interface, which all of its pods use.
import { assertEquals } from "@std/assert";
import { existingHostVeths, removeHostVeths } from "../../lib/kernel/veth.ts";
import { KERNELS } from "../kernel/kernels.ts";
import { inWorld, sh } from "./builtin_world.ts";
import { need } from "./need.ts";

for (const { name, isHere, make } of KERNELS) {
  const { ignore } = need("root", "ip");
  Deno.test({
    name:
      `${name}: the ends of an attachment on the host are without the interface that connects the host with a bridge`,
    ignore: ignore || !isHere,
    fn: inWorld(async (world) => {
      const netns = await world.netns("a");
      const [gateway, port, end] = ["g", "p", "e"].map((letter) => `${letter}${world.tag}`);
      try {
        await sh(`ip link add ${world.bridge} type bridge
          ip link add ${gateway} address 02:00:00:00:00:0a type veth peer name ${port}
          ip link set ${port} master ${world.bridge}
          ip link add ${end} address 02:00:00:00:00:0b type veth peer name eth0 netns ${netns}`);
        const ends = [{ name: gateway ?? "", mac: "02:00:00:00:00:0a" }, {
          name: end ?? "",
          mac: "02:00:00:00:00:0b",
        }];
        assertEquals(await existingHostVeths(make(), ends), [end]);
        assertEquals(await removeHostVeths(make(), ends), [end]);
        await sh(`ip link show dev ${gateway}; ! ip link show dev ${end} 2>/dev/null`);
        // The pair of a pod that has moved its end into the namespace of the host is one of them.
        await sh(`ip link add ${end} address 02:00:00:00:00:0b type veth peer name eth0 netns ${netns}
          ip link set ${end} master ${world.bridge}`);
        await sh(`ip link set eth0 name x${end?.slice(-8)} netns ${Deno.pid}`, netns);
        assertEquals(await existingHostVeths(make(), ends), [end]);
      } finally {
        await sh(`ip link del ${gateway} 2>/dev/null || :; ip link del ${end} 2>/dev/null || :`);
      }
    }),
  });
}
