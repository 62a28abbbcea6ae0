// The built-in ipvlan against the originals, and what its users run into.
import { assertEquals, assertStringIncludes } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { type Call, callBuiltin, resultOf } from "./builtin_call.ts";
import { sh } from "./builtin_world.ts";
import { conformance, type LinkCase } from "./link_conformance.ts";
import { linkLife } from "./link_life.ts";
import { callIn, reachesOthers, refusesMasters } from "./link_master.ts";
import { DEFAULTS, inMasterWorld, staticIpam, V4, V6 } from "./master_world.ts";
import { needLinks } from "./need_links.ts";

const NEWEST = ["cni-1.9.1"] as const;
const call = (call: Call) => callBuiltin("ipvlan", call);

const withV4 = (more: JsonObject, rest: Partial<LinkCase> = {}): LinkCase => ({
  config: (world) => ({ master: world.master, ...staticIpam([V4(world)]), ...more }),
  originals: NEWEST,
  ...rest,
});

/** Under the kernel that has such links each one takes ten seconds, so there are fewer than of macvlan. */
const CASES: Readonly<Record<string, LinkCase>> = {
  "the defaults": {
    config: (world) => ({ master: world.master, ...staticIpam([V4(world), V6(world)], DEFAULTS) }),
  },
  'mode "l2"': withV4({ mode: "l2" }),
  'mode "l3"': withV4({ mode: "l3" }),
  'mode "l3s"': withV4({ mode: "l3s" }),
  'mode ""': withV4({ mode: "" }),
  "an MTU below that of the master": withV4({ mtu: 1400 }),
  "an MTU of 0, which is none": withV4({ mtu: 0 }),
  "unknown CNI_ARGS": withV4({}, { args: "IgnoreUnknown=1;K8S_POD_NAME=web" }),
  "IPv6 with a default route": {
    config: (world) => ({ master: world.master, ...staticIpam([V6(world)], [{ dst: "::/0" }]) }),
    originals: NEWEST,
  },
  "a route on the link, and DNS, of which the plugin's counts": {
    config: (world) => ({
      master: world.master,
      dns: { nameservers: ["10.0.0.10"] },
      ipam: {
        type: "static",
        addresses: [{ address: V4(world).address }],
        routes: [{ dst: "10.99.0.0/16" }],
        dns: { nameservers: ["10.0.0.11"] },
      },
    }),
    originals: NEWEST,
  },
  "DNS of the IPAM plugin, which is dropped": {
    config: (world) => ({
      master: world.master,
      ipam: { type: "static", addresses: [V4(world)], dns: { nameservers: ["10.0.0.11"] } },
    }),
    originals: NEWEST,
  },
  "addresses by host-local": {
    config: ({ master, subnet4 }, dataDir) => ({
      master,
      ipam: {
        type: "host-local",
        dataDir,
        ranges: [[{ subnet: `${subnet4}.0/24` }]],
        routes: DEFAULTS.slice(0, 1),
      },
    }),
    originals: NEWEST,
  },
  "the master of the only default route": {
    config: (world) => staticIpam([V4(world)]),
    onHost: "ip route add default dev $MASTER",
    originals: NEWEST,
  },
  "a master in the container": {
    config: (world) => ({ master: "up0", linkInContainer: true, ...staticIpam([V4(world)]) }),
    inPod: "ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up",
    originals: NEWEST,
  },
  "a name that an interface of the host has": withV4({}, {
    onHost: "ip link show dev pwname0 >/dev/null 2>&1 || ip link add pwname0 type bridge",
    ifName: "pwname0",
  }),
  "the addresses and the master of the plugin before": {
    config: (world) => ({
      prevResult: {
        cniVersion: "1.0.0",
        interfaces: [{ name: world.master }],
        ips: [{ address: V4(world).address, gateway: V4(world).gateway, interface: 0 }],
        routes: [{ dst: "0.0.0.0/0" }],
      },
    }),
    originals: NEWEST,
  },
};

conformance("ipvlan", CASES, "ipvlan");

linkLife({
  type: "ipvlan",
  more: ({ master }) => ({ master, mode: "l3", mtu: 1400 }),
  isBrief: true,
  losses: [
    { what: "its mode", script: "ip link set eth0 type ipvlan mode l2", says: /has the mode l2, not l3/ },
    { what: "its MTU", script: "ip link set eth0 mtu 1300", says: /has the MTU 1300, not 1400/ },
    { what: "its master", script: "ip link del $MASTER", onHost: true, says: /is not in .* any more/ },
  ],
});

refusesMasters("ipvlan", {}, [
  [{}, /the configuration names no master, and there is no default route that leads to one$/],
]);
reachesOthers("ipvlan");

Deno.test({
  name: "ipvlan: an address that another pod on the master has is refused, and the second pod keeps nothing",
  ...needLinks(["ipvlan"]),
  fn: inMasterWorld(async (world) => {
    const more = { master: world.master, ...staticIpam([V4(world)]) };
    const first = callIn("ipvlan", world, await world.pod("a"), more);
    resultOf(await call({ ...first, verb: "ADD" }));
    const second = { ...callIn("ipvlan", world, await world.pod("b"), more), containerId: `d-${world.tag}` };
    const { document } = await call({ ...second, verb: "ADD" });
    assertStringIncludes(document.msg, `Cannot add the address ${world.subnet4}.7/24 to "eth0"`);
    assertEquals(JSON.parse(await sh("ip -j link show", second.netns)).length, 1);
  }),
});

Deno.test("U60 ipvlan refuses a configuration that is wrong, and says which member", async () => {
  const ipam = { type: "static" };
  const wrong: readonly (readonly [JsonObject, string])[] = [
    [{ mode: "bridge", ipam }, "mode"],
    [{ mtu: -1, ipam }, "mtu"],
    [{ master: 7, ipam }, "master"],
    [
      { ipam: { type: "dhcp" } },
      "dhcp cannot be used with ipvlan: all interfaces have the MAC address of their master",
    ],
  ];
  const attached = { containerId: "c1", netns: "/proc/self/ns/net", ifName: "eth0" };
  for (const [more, member] of wrong) {
    const config = { cniVersion: "1.1.0", name: "net", type: "ipvlan", ...more };
    for (const verb of ["STATUS", "ADD", "CHECK"] as const) {
      const { code, document } = await call({ ...attached, netns: "/run/netns/absent", config, verb });
      assertEquals([code, document.code], [1, 7], JSON.stringify(more));
      assertStringIncludes(document.msg, member);
    }
  }
});

Deno.test("ipvlan needs addresses, of an IPAM plugin or of the plugin before it, and then one interface as its master", async () => {
  const config = { cniVersion: "1.1.0", name: "net", type: "ipvlan" };
  const attached = { containerId: "c1", netns: "/run/netns/absent", ifName: "eth0" };
  const add = async (more: JsonObject) =>
    (await call({ ...attached, config: { ...config, ...more }, verb: "ADD" })).document;
  const [one, two] = [{ name: "up0" }, { name: "up1" }];
  assertStringIncludes(
    (await add({})).msg,
    "ipam.type is missing, and no plugin before it has given addresses",
  );
  const before = { cniVersion: "1.1.0", ips: [{ address: "10.1.2.3/24" }] };
  for (const interfaces of [[], [one, two]]) {
    const { code, msg } = await add({ prevResult: { ...before, interfaces } });
    assertEquals(code, 7);
    assertStringIncludes(msg, "the result of the plugin before it has not exactly one interface");
  }
  const { msg } = await add({ prevResult: { cniVersion: "1.1.0", interfaces: [one] } });
  assertStringIncludes(msg, "no plugin before it has given addresses");
});
