// The built-in vlan against the originals, and what its users run into.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { assertDone, type Call, callBuiltin, resultOf } from "./builtin_call.ts";
import { connects, sh } from "./builtin_world.ts";
import { conformance, type LinkCase } from "./link_conformance.ts";
import { linkLife } from "./link_life.ts";
import { callIn, refusesMasters } from "./link_master.ts";
import { DEFAULTS, inMasterWorld, staticIpam, V4, V6 } from "./master_world.ts";
import { needLinks } from "./need_links.ts";

const NEWEST = ["cni-1.9.1"] as const;
const call = (call: Call) => callBuiltin("vlan", call);

const withV4 = (more: JsonObject, rest: Partial<LinkCase> = {}): LinkCase => ({
  config: (world) => ({ master: world.master, vlanId: 100, ...staticIpam([V4(world)]), ...more }),
  originals: NEWEST,
  ...rest,
});

/** Under the kernel that has such links each one takes ten seconds, so there are fewer than of macvlan. */
const CASES: Readonly<Record<string, LinkCase>> = {
  "both families with default routes": {
    config: (world) => ({
      master: world.master,
      vlanId: 100,
      ...staticIpam([V4(world), V6(world)], DEFAULTS),
    }),
  },
  "the VLAN 0": withV4({ vlanId: 0 }),
  "the VLAN 1": withV4({ vlanId: 1 }),
  "the last VLAN": withV4({ vlanId: 4094 }),
  "an MTU below that of the master": withV4({ mtu: 1400 }),
  "the MTU of the master": withV4({ mtu: 1500 }),
  "an MTU of 0, which is none": withV4({ mtu: 0 }),
  "IPv6 without a gateway": {
    config: (world) => ({ master: world.master, vlanId: 7, ...staticIpam([{ address: V6(world).address }]) }),
    originals: NEWEST,
  },
  "a route on the link, and DNS, of which the plugin's counts": {
    config: (world) => ({
      master: world.master,
      vlanId: 7,
      dns: { nameservers: ["10.0.0.10"], search: ["example.net"] },
      ipam: {
        type: "static",
        addresses: [{ address: V4(world).address }],
        routes: [{ dst: "10.99.0.0/16" }],
        dns: { nameservers: ["10.0.0.11"] },
      },
    }),
    originals: NEWEST,
  },
  "addresses by host-local": {
    config: ({ master, subnet4 }, dataDir) => ({
      master,
      vlanId: 7,
      ipam: {
        type: "host-local",
        dataDir,
        ranges: [[{ subnet: `${subnet4}.0/24` }]],
        routes: DEFAULTS.slice(0, 1),
      },
    }),
    originals: NEWEST,
  },
  "a master in the container": {
    config: (world) => ({ master: "up0", linkInContainer: true, vlanId: 7, ...staticIpam([V4(world)]) }),
    inPod: "ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up",
    originals: NEWEST,
  },
  "a name that an interface of the host has": withV4({}, {
    onHost: "ip link show dev pwname0 >/dev/null 2>&1 || ip link add pwname0 type bridge",
    ifName: "pwname0",
  }),
};

conformance("vlan", CASES, "vlan");

linkLife({
  type: "vlan",
  more: ({ master }) => ({ master, vlanId: 100, mtu: 1400 }),
  isBrief: true,
  losses: [
    { what: "its MTU", script: "ip link set eth0 mtu 1300", says: /has the MTU 1300, not 1400/ },
    {
      what: "its VLAN",
      script:
        "nsenter --net=$POD ip link del eth0; ip link add link $MASTER name eth0 netns $POD type vlan id 101; " +
        "nsenter --net=$POD ip link set eth0 up",
      onHost: true,
      says: /has the VLAN ID 101, not 100/,
    },
    { what: "its master", script: "ip link del $MASTER", onHost: true, says: /is not in .* any more/ },
  ],
});

Deno.test({
  name: "U76 vlan: a second pod of one VLAN is refused by the name of the holder, and leaves nothing",
  ...needLinks(["vlan"]),
  fn: inMasterWorld(async (world) => {
    const { master } = world;
    const more = { master, vlanId: 100, ...staticIpam([V4(world)]) };
    const first = callIn("vlan", world, await world.pod("a"), more);
    assertDone(await call({ ...first, verb: "ADD" }));
    const second = { ...callIn("vlan", world, await world.pod("b"), more), containerId: `d-${world.tag}` };
    const refusal = async () => {
      const { code, document } = await call({ ...second, verb: "ADD" });
      assertEquals(code, 1);
      assertStringIncludes(document.details, 'the plugin bridge with "vlan": 100');
      assertEquals(JSON.parse(await sh("ip -j link show", second.netns)).length, 1);
      return document.msg;
    };
    assertEquals(
      await refusal(),
      `Cannot create VLAN 100 on "${master}": "eth0" (net: net-${world.tag}, if: eth0, id: c-${world.tag}) has it in ` +
        `"${first.netns}"`,
    );
    assertDone(await call({ ...first, verb: "DEL" }));
    await sh(`ip link add link ${master} name pwheld0 type vlan id 100`);
    assertEquals(await refusal(), `Cannot create VLAN 100 on "${master}": "pwheld0" has it`);
    await sh("ip link del pwheld0");
    assertDone(await call({ ...second, verb: "ADD" }));
    assertDone(await call({ ...second, verb: "DEL" }));
  }),
});

Deno.test({
  name:
    "U77 vlan: without a master, that of the chain in the container gets an interface beside it, and both can be removed",
  ...needLinks(["vlan", "macvlan"]),
  fn: inMasterWorld(async (world) => {
    const netns = await world.pod("a");
    const macvlan = { cniVersion: "1.1.0", name: `net-${world.tag}`, type: "macvlan", master: world.master };
    const lower = { containerId: `c-${world.tag}`, netns, ifName: "eth0", config: macvlan };
    const before = await callBuiltin("macvlan", { ...lower, verb: "ADD" });
    assertDone(before);
    const more = { linkInContainer: true, vlanId: 100, ...staticIpam([V4(world)], DEFAULTS.slice(0, 1)) };
    const upper = callIn("vlan", world, netns, { ...more, prevResult: before.document });
    const answer = await call({ ...upper, verb: "ADD" });
    const { interfaces = [], ips = [], routes = [] } = resultOf(answer);
    assertEquals(interfaces.map(({ name, sandbox }) => [name, sandbox]), [["eth0", netns], [
      "eth0.100",
      netns,
    ]]);
    assertEquals(ips.map(({ address, interface: index }) => [address, index]), [[V4(world).address, 1]]);
    assertEquals(routes, [{ dst: "0.0.0.0/0" }]);
    const [link] = JSON.parse(await sh("ip -d -j link show dev eth0.100", netns));
    assertEquals([link.link, link.linkinfo.info_data.id], ["eth0", 100]);
    const checked = { ...upper, config: { ...upper.config, prevResult: answer.document } };
    assertDone(await call({ ...checked, verb: "CHECK" }));
    assertDone(
      await callBuiltin("macvlan", {
        ...lower,
        config: { ...macvlan, prevResult: answer.document },
        verb: "CHECK",
      }),
    );
    assertDone(await call({ ...checked, verb: "DEL" }));
    assertEquals(JSON.parse(await sh("ip -j link show", netns)).length, 2);
    assertDone(await callBuiltin("macvlan", { ...lower, verb: "DEL" }));
    assertEquals(JSON.parse(await sh("ip -j link show", netns)).length, 1);
  }),
});

Deno.test({
  name: "vlan: pods with different VLANs of one master reach those on the network with the same one only",
  ...needLinks(["vlan"]),
  fn: inMasterWorld(async (world) => {
    const { subnet4, subnet6, lan, master } = world;
    await sh("ip link add link far0 name far7 type vlan id 7; ip link set far7 up", lan);
    await sh(`ip addr add ${subnet4}.1/24 dev far7; ip addr add ${subnet6}::1/64 dev far7 nodad`, lan);
    const netns = await world.pod("a");
    const more = { master, vlanId: 7, ...staticIpam([V4(world), V6(world)]) };
    assertDone(await call({ ...callIn("vlan", world, netns, more), verb: "ADD" }));
    for (const address of [`${subnet4}.1`, `${subnet6}::1`]) {
      assert(await connects(netns, lan, address), address);
    }
  }),
});

refusesMasters("vlan", { vlanId: 100 }, [
  [{ linkInContainer: true }, /the master "eth0" does not exist in ".*"$/],
]);

Deno.test("vlan refuses a configuration that is wrong, and says which member", async () => {
  const right = { master: "up0", vlanId: 100, ipam: { type: "static" } };
  const wrong: readonly (readonly [JsonObject, string])[] = [
    [{ vlanId: 4095 }, "vlanId"],
    [{ vlanId: -1 }, "vlanId"],
    [{ vlanId: "100" }, "vlanId"],
    [{ vlanId: null }, "vlanId"],
    [{ mtu: -1 }, "mtu"],
    [{ master: "" }, "master is missing"],
    [{ ipam: {} }, "ipam.type is missing"],
    [{ linkInContainer: 1 }, "linkInContainer"],
    [{ master: "", linkInContainer: true, ipam: { type: "dhcp" } }, "dhcp asks through CNI_IFNAME"],
  ];
  for (const [more, member] of wrong) {
    const config = { cniVersion: "1.1.0", name: "net", type: "vlan", ...right, ...more };
    for (const verb of ["STATUS", "ADD", "CHECK"] as const) {
      const attached = { containerId: "c1", netns: "/run/netns/absent", ifName: "eth0" };
      const { code, document } = await call({ ...attached, config, verb });
      assertEquals([code, document.code], [1, 7], JSON.stringify(more));
      assertStringIncludes(document.msg, member);
    }
  }
  const config = {
    cniVersion: "1.1.0",
    name: "net",
    type: "vlan",
    ...right,
    master: "",
    linkInContainer: true,
  };
  const long = { containerId: "c1", netns: "/run/netns/absent", ifName: "a-long-name-0", config };
  assertStringIncludes((await call({ ...long, verb: "ADD" })).document.msg, "interface name is too long");
});
