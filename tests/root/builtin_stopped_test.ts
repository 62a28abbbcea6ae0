// An ADD of a plugin that changes what it did not make: stopped at any of its programs, it leaves everything as it was.
import { assertEquals } from "@std/assert";
import { inWorld, sh } from "./builtin_world.ts";
import { need } from "./need.ts";
import { stopUntilAdded } from "./stopped_add.ts";

/** The routes and rules of a namespace, without those of the far end, which come by themselves. */
async function routing(netns?: string): Promise<string[]> {
  const text = await sh("ip rule; ip -6 rule; ip -4 route show table all; ip -6 route show table all", netns);
  return text.split("\n").map((line) => line.trim()).filter((line) => !line.includes("far1")).sort();
}

Deno.test({
  name: "sbr: an ADD that is stopped at any of its programs leaves the routes and rules as they were",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    await sh(
      `ip link add net1 type veth peer name far1; ip link set far1 up
      echo 0 >/proc/sys/net/ipv6/conf/net1/accept_dad; ip link set net1 up
      ip addr add 10.20.1.7/24 dev net1; ip addr add fd20:1::7/64 dev net1 nodad
      ip route add 10.90.0.0/16 via 10.20.1.9; ip -6 route add fd90::/32 via fd20:1::9
      for name in net1 far1; do until ip -6 addr show dev $name | grep fe80 >/dev/null; do :; done; done`,
      netns,
    );
    const ips = [{ address: "10.20.1.7/24", gateway: "10.20.1.1" }, {
      address: "fd20:1::7/64",
      gateway: "fd20:1::1",
    }];
    const prevResult = {
      cniVersion: "1.1.0",
      interfaces: [{ name: "net1", sandbox: netns }],
      ips: ips.map((ip) => ({ ...ip, interface: 0 })),
    };
    const config = { cniVersion: "1.1.0", name: "net", type: "sbr", addSourceHints: true, prevResult };
    const before = await routing(netns);
    const call = { type: "sbr", config, containerId: `c-${world.tag}`, netns, ifName: "net1" };
    await stopUntilAdded(call, async (number) => {
      assertEquals(await routing(netns), before, `program ${number}`);
    });
  }),
});

Deno.test({
  name: "host-device: an ADD that is stopped at any of its programs leaves the device on the host, as it was",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const [netns, far] = [await world.netns("a"), await world.netns("f")];
    const device = `pd${world.tag}`;
    await sh(
      `ip link add ${device} type veth peer name far0 netns ${far.slice("/run/netns/".length)}
      ip link set ${device} up; ip addr add 10.30.1.7/24 broadcast + dev ${device}
      ip route add 10.92.0.0/16 via 10.30.1.9; ip link set ${device} alias uplink`,
    );
    await sh("ip link set far0 up", far);
    const state = async () => {
      const [link] = JSON.parse(await sh(`ip -j addr show dev ${device}`));
      const addresses = link.addr_info.filter(({ family }: { family: string }) => family === "inet");
      return [link.ifalias, link.flags.includes("UP"), addresses, await sh(`ip -4 route show dev ${device}`)];
    };
    const before = await state();
    const ipam = { type: "host-local", dataDir: world.dir, subnet: `${world.subnet4}.0/24` };
    const config = { cniVersion: "1.1.0", name: `net-${world.tag}`, type: "host-device", device, ipam };
    const call = { type: "host-device", config, containerId: `c-${world.tag}`, netns, ifName: "net1" };
    await stopUntilAdded(call, async (number) => {
      assertEquals(await state(), before, `program ${number}`);
      const held = await sh(`find ${world.dir}/net-${world.tag} -name '10.*' 2>/dev/null || :`);
      assertEquals(held, "", `program ${number}`);
    });
    await sh(`ip link del ${device}`);
  }),
});
