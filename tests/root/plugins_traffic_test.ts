// Traffic over what the engine attached with the reference plugins.
import { assertEquals } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { bridge, hostLocal, PORTMAP, SUBNET4 } from "./plugins_case.ts";
import type { Feature } from "./plugins_kernel.ts";
import { releaseTest } from "./plugins_release.ts";
import { PeerServer, seenAs, seenOnce } from "./plugins_traffic.ts";
import type { PluginWorld } from "./plugins_world.ts";

const PORT = 8080;
const DEFAULT_ROUTES = [{ dst: "0.0.0.0/0" }, { dst: "::/0" }];

/** Attaches pods, which get the addresses .2, .3 and so on. */
async function attach(world: PluginWorld, plugins: readonly JsonObject[], ...pods: string[]): Promise<void> {
  await world.network("1.0.0", plugins);
  for (const pod of pods) await world.podwire.add(world.name, world.request(pod));
}

releaseTest("pods on a bridge reach each other, the node and, masqueraded, the outside", {
  features: ["iptables"],
}, async (world) => {
  await attach(world, [bridge(world)], "a", "b");
  const [a, b] = [world.path("a"), world.path("b")];
  await using _b = await PeerServer.start(b, PORT);
  await using _node = await PeerServer.start(world.node, PORT);
  await using _outside = await PeerServer.start(world.outside, PORT);
  assertEquals(await seenAs(a, "10.80.0.3", PORT), "10.80.0.2");
  assertEquals(await seenAs(a, "fd00:80::3", PORT), "fd00:80::2");
  assertEquals(await seenAs(a, "10.80.0.1", PORT), "10.80.0.2");
  assertEquals(await seenAs(a, "192.0.2.2", PORT), "192.0.2.1");
  assertEquals(await seenAs(a, "2001:db8::2", PORT), "2001:db8::1");
  assertEquals(await seenAs(world.node, "10.80.0.3", PORT), "10.80.0.1");
  await world.podwire.del(world.name, world.request("b"));
  assertEquals(await seenOnce(a, "10.80.0.3", PORT), undefined);
  assertEquals(await seenAs(a, "192.0.2.2", PORT), "192.0.2.1");
});

releaseTest("a published port is reached from outside, from the node and from its own pod", {
  features: ["iptables"],
}, async (world) => {
  const portmap = { type: "portmap", capabilities: { portMappings: true } };
  await world.network("1.0.0", [bridge(world, { hairpinMode: true }), portmap]);
  await world.sh("ip addr add 192.0.2.9/24 dev up0");
  const portMappings = [
    { hostPort: 18080, containerPort: PORT, protocol: "tcp" },
    { hostPort: 18081, containerPort: PORT, protocol: "tcp", hostIP: "192.0.2.9" },
  ];
  const request = world.request("a", { capabilityArgs: { portMappings } });
  await world.podwire.add(world.name, request);
  await using _pod = await PeerServer.start(world.path("a"), PORT);
  assertEquals(await seenAs(world.outside, "192.0.2.1", 18080), "192.0.2.2");
  assertEquals(await seenAs(world.outside, "2001:db8::1", 18080), "2001:db8::2");
  assertEquals(await seenAs(world.node, "127.0.0.1", 18080), "10.80.0.1");
  assertEquals(await seenAs(world.path("a"), "192.0.2.1", 18080), "10.80.0.1");
  assertEquals(await seenAs(world.outside, "192.0.2.9", 18081), "192.0.2.2");
  assertEquals(await seenOnce(world.outside, "192.0.2.1", 18081), undefined);
  await world.podwire.del(world.name, request);
  assertEquals(await seenOnce(world.outside, "192.0.2.1", 18080), undefined);
});

releaseTest(
  "a port that is published on all addresses takes the traffic of a program that listens on 127.0.0.1",
  { features: ["iptables"] },
  async (world) => {
    await world.network("1.0.0", [bridge(world), PORTMAP]);
    await using _pod = await PeerServer.start(world.path("a"), PORT);
    await using _loopback = await PeerServer.start(world.node, 18080, "127.0.0.1");
    for (const hostIP of ["", "0.0.0.0"]) {
      // Programs of the host see the address that their callers called as the source.
      assertEquals(await seenAs(world.node, "127.0.0.1", 18080), "127.0.0.1");
      const portMappings = [{ hostPort: 18080, containerPort: PORT, protocol: "tcp", hostIP }];
      const request = world.request("a", { capabilityArgs: { portMappings } });
      await world.podwire.add(world.name, request);
      assertEquals(await seenAs(world.node, "127.0.0.1", 18080), "10.80.0.1", hostIP);
      await world.podwire.del(world.name, request);
    }
    assertEquals(await seenAs(world.node, "127.0.0.1", 18080), "127.0.0.1");
  },
);

releaseTest(
  "a ptp pod and its node reach each other, and it reaches the outside",
  { features: ["iptables"] },
  async (world) => {
    const ipam = { ...hostLocal(world), routes: DEFAULT_ROUTES };
    await attach(world, [{ type: "ptp", ipMasq: true, ipam }], "a", "b");
    await using _a = await PeerServer.start(world.path("a"), PORT);
    await using _outside = await PeerServer.start(world.outside, PORT);
    assertEquals(await seenAs(world.node, "10.80.0.2", PORT), "10.80.0.1");
    assertEquals(await seenAs(world.path("b"), "10.80.0.2", PORT), "10.80.0.3");
    assertEquals(await seenAs(world.path("b"), "fd00:80::2", PORT), "fd00:80::3");
    assertEquals(await seenAs(world.path("a"), "192.0.2.2", PORT), "192.0.2.1");
  },
);

for (const [type, more] of Object.entries({ macvlan: { mode: "bridge" }, ipvlan: { mode: "l2" } })) {
  releaseTest(
    `pods with ${type} reach each other and the wire`,
    { features: [type as Feature] },
    async (world) => {
      await attach(world, [{ type, master: "up0", ...more, ipam: hostLocal(world) }], "a", "b");
      await world.sh("ip addr add 10.80.0.200/24 dev up0", world.outside);
      await using _b = await PeerServer.start(world.path("b"), PORT);
      assertEquals(await seenAs(world.path("a"), "10.80.0.3", PORT), "10.80.0.2");
      assertEquals(await seenAs(world.path("a"), "fd00:80::3", PORT), "fd00:80::2");
      assertEquals(await seenAs(world.outside, "10.80.0.3", PORT), "10.80.0.200");
    },
  );
}

releaseTest(
  "a pod with vlan is reached over the wire, with its tag",
  { features: ["vlan"] },
  async (world) => {
    await attach(world, [{ type: "vlan", master: "up0", vlanId: 42, ipam: hostLocal(world) }], "a");
    const tagged =
      "ip link add v42 link up0 type vlan id 42 && ip addr add 10.80.0.200/24 dev v42 && ip link set v42 up";
    await world.sh(tagged, world.outside);
    await using _a = await PeerServer.start(world.path("a"), PORT);
    assertEquals(await seenAs(world.outside, "10.80.0.2", PORT), "10.80.0.200");
  },
);

releaseTest("a node that forwards nothing forwards for the pods of the firewall plugin", {
  features: ["iptables"],
}, async (world) => {
  await world.sh("iptables -w -P FORWARD DROP && ip6tables -w -P FORWARD DROP");
  await attach(world, [bridge(world), { type: "firewall" }], "a");
  await world.network("1.0.0", [bridge(world, { ipam: hostLocal(world, SUBNET4) })], "open");
  // Networks know nothing of each other's addresses.
  await world.podwire.add(
    world.name,
    world.request("b", { args: [["IgnoreUnknown", "1"], ["IP", "10.80.0.50"]] }),
  );
  await using _outside = await PeerServer.start(world.outside, PORT);
  assertEquals(await seenAs(world.path("a"), "192.0.2.2", PORT), "192.0.2.1");
  assertEquals(await seenAs(world.path("a"), "2001:db8::2", PORT), "2001:db8::1");
  assertEquals(await seenOnce(world.path("b"), "192.0.2.2", PORT), undefined);
});

releaseTest(
  "a pod answers through the interface whose address was called, with sbr",
  { features: [] },
  async (world) => {
    await attach(world, [bridge(world, { ipMasq: false, ipam: hostLocal(world, SUBNET4) })], "a");
    const ipam = { ...hostLocal(world, "10.81.0.0/24"), routes: [{ dst: "0.0.0.0/0" }] };
    await world.network("1.0.0", [{ type: "ptp", ipam }, { type: "sbr" }], "second");
    await world.podwire.add(world.name, world.request("a", { ifName: "eth1" }));
    await world.sh("ip route add 10.80.0.0/15 via 192.0.2.1", world.outside);
    await using _a = await PeerServer.start(world.path("a"), PORT);
    for (const [address, dev] of [["10.80.0.2", "eth0"], ["10.81.0.2", "eth1"]] as const) {
      assertEquals(await seenAs(world.outside, address, PORT), "192.0.2.2");
      const [route] = await world.json(`ip -j route get 192.0.2.2 from ${address}`, world.path("a"));
      assertEquals(route.dev, dev);
    }
  },
);
