import { assertEquals } from "@std/assert";
import { parseCidr, parseIp } from "../../lib/cni/address.ts";
import { inWorld, sh } from "./builtin_world.ts";
import { need } from "./need.ts";
import { ipBatch } from "../bench/least.ts";
import { NetlinkLoop } from "../bench/netlink_loop.ts";

Deno.test({
  name: "the bench's own loop makes a pod as the kernel shows it, and removes it",
  ...need("root", "ip"),
  fn: inWorld(async ({ dir, bridge, subnet4 }) => {
    await ipBatch([`link add ${bridge} up type bridge`, `address add ${subnet4}.1/24 dev ${bridge}`]);
    using loop = new NetlinkLoop(bridge);
    const address = parseCidr(`${subnet4}.2/24`);
    const gateway = parseIp(`${subnet4}.1`);
    if (address === undefined || gateway === undefined) throw new Error("there are no addresses");
    const pod = { netns: `${dir}/pod`, host: `l${bridge.slice(-8)}` };
    loop.make({ ...pod, address, gateway });
    assertEquals(
      await sh("ip -o link show up | cut -d: -f2 | tr -d '\\n'", pod.netns),
      " lo eth0@if" + await indexOf(pod.host),
    );
    assertEquals(
      (await sh("ip route", pod.netns)).split("\n")[0]?.trim(),
      `default via ${subnet4}.1 dev eth0`,
    );
    assertEquals((await sh(`ip -o link show master ${bridge} up | wc -l`)).trim(), "1");
    await loop.remove(pod);
    assertEquals((await sh(`ip -o link show master ${bridge} | wc -l; ls ${dir}`)).trim(), "0");
  }),
});

async function indexOf(link: string): Promise<string> {
  return (await sh(`cat /sys/class/net/${link}/ifindex`)).trim();
}
