import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { parseConfigList } from "../../lib/cni/config.ts";
import { networkConfig } from "../../lib/network/network_config.ts";
import { NetworkProblem, planNetwork } from "../../lib/network/network_plan.ts";
import type { NetworkRequest } from "../../lib/network/network_request.ts";
import { subnetTexts } from "../../lib/network/network_subnets.ts";

const SUBNETS = ["10.1.0.0/24"];
const CREATED = new Date(0);

/** Returns the plugins of a network whose subnets are all given. */
function pluginsOf(request: Partial<NetworkRequest>) {
  const plan = planNetwork({ name: "web", ...request });
  const { plugins } = parseConfigList(JSON.stringify(networkConfig(plan, plan.subnets, CREATED)));
  return plugins.map(({ json }) => json);
}

const problem = (request: Partial<NetworkRequest>) =>
  assertThrows(() => planNetwork({ name: "web", ...request }), NetworkProblem).message;

Deno.test("U57 each wrong member of a request is named, with the reason", () => {
  const cases: readonly (readonly [Partial<NetworkRequest>, string])[] = [
    [{ name: "" }, 'name: "": missing network name:'],
    [{ name: "a b" }, 'name: "a b": invalid characters found in network name'],
    [{ name: "podwire" }, 'name: "podwire" is the name of the embedded network'],
    [{ name: "a".repeat(250) }, "name: the name is too long for a file"],
    [{ driver: "vxlan" as never }, 'driver: there is no driver "vxlan"'],
    [{ subnets: ["10.1.0.0"] }, 'subnets: "10.1.0.0" is not a network, as 10.1.0.0/24 is'],
    [
      { subnets: ["10.1.0.1/24"] },
      "subnets: 10.1.0.1/24 has bits after the prefix: its network is 10.1.0.0/24",
    ],
    [
      { subnets: ["10.1.0.0/31"] },
      "subnets: 10.1.0.0/31 is too small: it needs two addresses beside its first and its last",
    ],
    [{ subnets: ["10.1.0.0/16", "10.1.2.0/24"] }, "subnets: 10.1.2.0/24 and 10.1.0.0/16 overlap"],
    [{ driver: "macvlan" }, "subnets: the driver macvlan needs the subnet that its parent is in"],
    [{ subnets: SUBNETS, gateways: ["10.1.0"] }, 'gateways: "10.1.0" is not a valid IP address'],
    [
      { subnets: SUBNETS, gateways: ["10.2.0.1"] },
      "gateways: 10.2.0.1 is in none of the subnets that are given",
    ],
    [
      { subnets: SUBNETS, gateways: ["10.1.0.255"] },
      "gateways: 10.1.0.255 is the address of the network 10.1.0.0/24 itself",
    ],
    [{ subnets: SUBNETS, gateways: ["10.1.0.1", "10.1.0.2"] }, "gateways: 10.1.0.0/24 has two gateways"],
    [{ subnets: SUBNETS, ranges: ["10.1.0.5"] }, 'ranges: "10.1.0.5" is neither FIRST-LAST nor a network'],
    [
      { subnets: SUBNETS, ranges: ["10.1.0.9-10.1.0.5"] },
      "ranges: 10.1.0.9-10.1.0.5: the first address comes after the last",
    ],
    [
      { subnets: SUBNETS, ranges: ["10.1.0.5-10.1.1.5"] },
      "ranges: 10.1.0.5-10.1.1.5 is in none of the subnets that are given",
    ],
    [
      { subnets: SUBNETS, ranges: ["10.1.0.5-10.1.0.9", "10.1.0.8/29"] },
      "ranges: 10.1.0.8 is in two ranges",
    ],
    [
      { driver: "ptp", isolate: true },
      "isolate: the driver ptp cannot isolate: only bridges have other networks beside them",
    ],
    [{ publishable: true }, "publishable: goes with internal: other networks can publish ports"],
    [{ mtu: 67 }, "mtu: 67 is not a whole number from 68 to 65535"],
    [{ mtu: 1279, ipv6: true }, "mtu: 1279 is not a whole number from 1280 to 65535"],
    [{ vlan: 0 }, "vlan: 0 is not a whole number from 1 to 4094"],
    [{ driver: "ptp", vlan: 5 }, "vlan: the driver ptp has no VLANs of its own"],
    [
      { vlan: 1000, options: { bridge: "office-lan0" } },
      'options: bridge: "office-lan0" is too long for a VLAN',
    ],
    [{ dns: ["ns1"] }, 'dns: "ns1" is not a valid IP address'],
    [{ options: { speed: "1" } }, 'options: the driver bridge has no option "speed"'],
    [{ options: { toString: "1" } }, 'options: the driver bridge has no option "toString"'],
    [{ options: { hairpin: "yes" } }, 'options: hairpin: "yes" is not one of true, false'],
    [
      { options: { bridge: "a/b" } },
      'options: bridge: "a/b": interface name contains / or : or whitespace characters',
    ],
    [
      { driver: "ipvlan", options: { ipam: "dhcp" }, subnets: SUBNETS },
      'options: ipam: "dhcp" is not one of host-local, none',
    ],
    [{ driver: "macvlan", options: { ipam: "dhcp" }, ipv6: true }, "ipv6: the plugin dhcp has no IPv6"],
    [
      { options: { ipam: "none" }, subnets: SUBNETS },
      "subnets: a network of the driver bridge with ipam=none has no subnets of its own",
    ],
    [{ pools: ["10.0.0.0"] }, 'pools: "10.0.0.0" is not a network, as 10.1.0.0/24 is'],
  ];
  for (const [request, message] of cases) assertEquals(problem(request), message);
});

Deno.test("U86 what is missing is chosen: IPv4 unless a subnet is given, IPv6 if it is wanted and not given", () => {
  const chosen = (request: Partial<NetworkRequest>) => planNetwork({ name: "web", ...request }).chosen;
  assertEquals(chosen({}), [4]);
  assertEquals(chosen({ ipv6: true }), [4, 6]);
  assertEquals(chosen({ subnets: SUBNETS }), []);
  assertEquals(chosen({ subnets: SUBNETS, ipv6: true }), [6]);
  assertEquals(chosen({ subnets: ["fd01::/64"], ipv6: true }), []);
  assertEquals(chosen({ options: { ipam: "none" } }), []);
  assertEquals(chosen({ driver: "macvlan", options: { ipam: "dhcp" } }), []);
});

Deno.test("the bridge of a network with a VLAN has a name with room for the number", () => {
  const bridge = (name: string, vlan?: number) => {
    const [plugin] = pluginsOf({ name, subnets: ["10.1.0.0/24"], vlan });
    return plugin?.bridge;
  };
  assertEquals(bridge("web-frontend"), "pw-web-frontend");
  assertEquals(bridge("web", 4094), "pw-web");
  for (const vlan of [7, 4094]) {
    const name = String(bridge("web-frontend", vlan));
    assertMatch(name, /^pw-[0-9a-f]{7,8}$/);
    assert(`${name}.${vlan}`.length <= 15, name);
  }
});

Deno.test("a bridge network gives addresses, publishes ports, masquerades, and is guarded", () => {
  const subnets = ["10.1.0.0/24", "fd01::/64"];
  const ranges = ["10.1.0.0/28", "10.1.0.240-10.1.0.255"];
  const more = { gateways: ["10.1.0.254"], mtu: 1400, vlan: 7, dns: ["10.1.0.53"], isolate: true };
  assertEquals(pluginsOf({ subnets, ranges, ...more }), [
    {
      type: "bridge",
      bridge: "pw-web",
      isGateway: true,
      ipMasq: true,
      hairpinMode: true,
      removeEmptyBridge: true,
      vlan: 7,
      mtu: 1400,
      capabilities: { ips: true, mac: true },
      ipam: {
        type: "host-local",
        ranges: [
          [
            { subnet: "10.1.0.0/24", gateway: "10.1.0.254", rangeStart: "10.1.0.1", rangeEnd: "10.1.0.15" },
            {
              subnet: "10.1.0.0/24",
              gateway: "10.1.0.254",
              rangeStart: "10.1.0.240",
              rangeEnd: "10.1.0.254",
            },
          ],
          [{ subnet: "fd01::/64" }],
        ],
        routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
      },
      dns: { nameservers: ["10.1.0.53"] },
    },
    { type: "portmap", capabilities: { portMappings: true } },
    { type: "firewall", ingressPolicy: "same-bridge", dropInvalid: true },
  ]);
});

Deno.test("U87 an internal network has no default route, no masquerading, and ports only if it is publishable", () => {
  const [bridge, ...others] = pluginsOf({ subnets: SUBNETS, internal: true });
  assertEquals(bridge?.ipMasq, false);
  assertEquals(bridge?.ipam, { type: "host-local", ranges: [[{ subnet: "10.1.0.0/24" }]] });
  assertEquals(others.map(({ type }) => type), ["firewall"]);
  const publishable = pluginsOf({ subnets: SUBNETS, internal: true, publishable: true });
  assertEquals(publishable.map(({ type }) => type), ["bridge", "portmap", "firewall"]);
  assertEquals(publishable[1]?.masqAll, true);
});

Deno.test("U64 the other drivers have what they can do, and nothing else", () => {
  const capabilities = { ips: true, mac: true };
  const ipam = {
    type: "host-local",
    ranges: [[{ subnet: "10.1.0.0/24" }]],
    routes: [{ dst: "0.0.0.0/0" }],
  };
  const options = { parent: "eth0", mode: "private" };
  assertEquals(pluginsOf({ driver: "macvlan", subnets: SUBNETS, options }), [
    { type: "macvlan", master: "eth0", mode: "private", capabilities, ipam },
  ]);
  assertEquals(pluginsOf({ driver: "ipvlan", subnets: SUBNETS, options: { mode: "l3" } }), [
    { type: "ipvlan", mode: "l3", capabilities: { ips: true }, ipam },
  ]);
  assertEquals(pluginsOf({ driver: "ptp", subnets: SUBNETS, options: { masquerade: "false" } }), [
    { type: "ptp", ipMasq: false, capabilities: { ips: true }, ipam },
    { type: "portmap", capabilities: { portMappings: true } },
    { type: "firewall" },
  ]);
  const masquerade = (value: string) =>
    pluginsOf({ driver: "ptp", subnets: SUBNETS, options: { masquerade: value } });
  assertEquals(
    masquerade("ipv4").map(({ ipMasq, ipMasqIPv6, dropInvalid }) => ({ ipMasq, ipMasqIPv6, dropInvalid })),
    [
      { ipMasq: true, ipMasqIPv6: false, dropInvalid: undefined },
      { ipMasq: undefined, ipMasqIPv6: undefined, dropInvalid: undefined },
      { ipMasq: undefined, ipMasqIPv6: undefined, dropInvalid: true },
    ],
  );
  assertEquals(masquerade("ipv6")[0]?.ipMasqIPv4, false);
  assertEquals(pluginsOf({ driver: "macvlan", options: { ipam: "dhcp" } }), [
    {
      type: "macvlan",
      capabilities: { mac: true },
      ipam: { type: "dhcp", provide: [{ option: "host-name", fromArg: "K8S_POD_NAME" }] },
    },
  ]);
  assertEquals(pluginsOf({ options: { ipam: "none", bridge: "br0", isolated: "true" } }), [
    { type: "bridge", bridge: "br0", hairpinMode: true, portIsolation: true, capabilities: { mac: true } },
  ]);
});

Deno.test("a long name gets a bridge with a name that fits, and different ones for different names", () => {
  const bridge = (name: string) => {
    const plan = planNetwork({ name, subnets: SUBNETS });
    return parseConfigList(JSON.stringify(networkConfig(plan, plan.subnets, CREATED))).plugins[0]?.json
      .bridge;
  };
  assertEquals(bridge("twelve-chars"), "pw-twelve-chars");
  assertEquals(bridge("thirteen-char"), "pw-d47f5099");
  assertEquals(bridge("thirteen-chas"), "pw-d37f4f06");
});

Deno.test("the subnets of a network are read from all forms of its IPAM", () => {
  const ipams = [
    { type: "host-local", subnet: "10.1.0.0/24" },
    { type: "host-local", ranges: [[{ subnet: "10.2.0.0/24" }, { subnet: "10.3.0.0/24" }], "x", [{}]] },
    { type: "static", addresses: [{ address: "10.4.0.5/24" }, 1] },
    { type: "dhcp" },
  ];
  const plugins = ipams.map((ipam) => ({ type: "bridge", ipam }));
  const list = parseConfigList(JSON.stringify({ cniVersion: "1.0.0", name: "n", plugins }));
  assertEquals(subnetTexts(list), ["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24", "10.4.0.5/24"]);
});
