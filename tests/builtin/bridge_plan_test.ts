import { assertEquals, assertThrows } from "@std/assert";
import { type BridgeConfig, readBridgeConfig } from "../../lib/builtin/bridge_config.ts";
import { bridgeAddressOperations, planAddresses } from "../../lib/builtin/bridge_plan.ts";
import {
  containerOperations,
  containerSysctls,
  forwardingSysctls,
} from "../../lib/builtin/container_plan.ts";
import { parseCidr } from "../../lib/cni/address.ts";
import { CniError } from "../../lib/cni/error.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import type { Result } from "../../lib/cni/result.ts";
import { ipLines } from "../../lib/kernel/ip_lines.ts";

const read = (json: JsonObject, args: [string, string][] = []): BridgeConfig =>
  readBridgeConfig(json, new Map(args));
const result = (members: Omit<Result, "cniVersion">): Result => ({ cniVersion: "1.1.0", ...members });
const cidrs = (...texts: string[]) => texts.map((text) => parseCidr(text)!);

Deno.test("the configuration has the defaults of the reference plugin", () => {
  const config = read({});
  assertEquals([config.bridge, config.mtu, config.isGateway, config.ipMasq, config.ipamType], [
    "cni0",
    0,
    false,
    [],
    "",
  ]);
  assertEquals([config.dns, config.mac, config.ipMasqBackend], [undefined, "", undefined]);
  assertEquals(read({ isDefaultGateway: true }).isGateway, true);
  assertEquals(read({ dns: {} }).dns, undefined);
  assertEquals(read({ dns: { nameservers: ["10.0.0.53"] } }).dns, { nameservers: ["10.0.0.53"] });
});

Deno.test("VLANs are read as the reference plugin reads them, in ranges", () => {
  const native = (id: number) => ({ first: id, last: id, isNative: true, isUntagged: true });
  const tagged = (first: number, last = first) => ({ first, last, isNative: false, isUntagged: false });
  const cases: [JsonObject, Partial<BridgeConfig["vlans"]>][] = [
    [{}, { filters: false, vlan: 0, ofPort: [], keepsDefault: false }],
    [{ vlan: 0, vlanTrunk: null }, { filters: false, ofPort: [] }],
    [{ vlan: 5, preserveDefaultVlan: true }, {
      filters: true,
      vlan: 5,
      ofPort: [native(5)],
      keepsDefault: true,
    }],
    [{ vlanTrunk: [] }, { filters: true, ofPort: [] }],
    [{ vlanTrunk: [{}] }, { filters: true, ofPort: [] }],
    [{ vlanTrunk: [{ id: 7 }, { minID: 3, maxID: 6 }] }, { vlan: 0, ofPort: [native(1), tagged(3, 7)] }],
    [{ vlanTrunk: [{ minID: 1, maxID: 3, id: 9 }] }, { ofPort: [native(1), tagged(2, 3), tagged(9)] }],
    // The original takes the tag off again: frames without a tag would be lost.
    [{ vlan: 4, vlanTrunk: [{ minID: 3, maxID: 5 }] }, { ofPort: [native(4), tagged(3), tagged(5)] }],
  ];
  for (const [json, expected] of cases) {
    const { vlans } = read(json);
    assertEquals({ json, vlans: { ...vlans, ...expected } }, { json, vlans });
  }
});

Deno.test("an invalid field is refused with code 7 and its name", () => {
  const cases: [JsonObject, string][] = [
    [{ bridge: "a/b" }, "bridge is not the name of an interface: a/b"],
    [{ vlan: 4095 }, "vlan must be a whole number from 0 to 4094, not 4095"],
    [{ vlan: "5" }, "vlan must be a number, not a string"],
    [{ vlanTrunk: {} }, "vlanTrunk must be an array, not an object"],
    [{ vlanTrunk: [{ id: 0 }] }, "vlanTrunk[0].id must be a whole number from 1 to 4094, not 0"],
    [{ vlanTrunk: [{ minID: 5 }] }, "vlanTrunk[0].maxID is missing: minID and maxID belong together"],
    [{ vlanTrunk: [{}, { maxID: 5 }] }, "vlanTrunk[1].minID is missing: minID and maxID belong together"],
    [{ vlanTrunk: [{ minID: 6, maxID: 5 }] }, "vlanTrunk[0].minID is greater than maxID: 6 and 5"],
    [
      { bridge: "bridge-number12", vlan: 100, isGateway: true, ipam: { type: "host-local" } },
      'bridge is too long for a gateway in a VLAN: "bridge-number12.100" is not the name of an interface',
    ],
    [{ mtu: "1500" }, "mtu must be a number, not a string"],
    [{ mtu: -1 }, "mtu must be a whole number from 0 to 65535, not -1"],
    [{ isGateway: "yes" }, "isGateway must be true or false, not a string"],
    [{ hairpinMode: true, promiscMode: true }, "hairpinMode and promiscMode cannot both be set"],
    [
      { disableContainerInterface: true, ipam: { type: "host-local" } },
      "disableContainerInterface and ipam cannot both be set: the interface stays down",
    ],
    [{ ipMasqBackend: "ebtables" }, 'ipMasqBackend must be one of iptables, nftables, not "ebtables"'],
    [{ runtimeConfig: { mac: "1:2:3" } }, "runtimeConfig.mac is not a MAC address: 1:2:3"],
    [{ ipam: [] }, "ipam must be an object, not an array"],
  ];
  for (const [json, msg] of cases) {
    const error = assertThrows(() => read(json), CniError);
    assertEquals({ code: error.code, msg: error.msg }, { code: 7, msg });
  }
  assertEquals(assertThrows(() => read({}, [["MAC", "x"]]), CniError).code, 4);
});

Deno.test("of several requested MAC addresses that of runtimeConfig wins, then args, then CNI_ARGS", () => {
  const args: [string, string][] = [["MAC", "02:00:00:00:00:01"]];
  const withArgs = { args: { cni: { mac: "02:00:00:00:00:02" } } };
  assertEquals(read({}, args).mac, "02:00:00:00:00:01");
  assertEquals(read(withArgs, args).mac, "02:00:00:00:00:02");
  assertEquals(
    read({ ...withArgs, runtimeConfig: { mac: "02:00:00:00:00:AA" } }, args).mac,
    "02:00:00:00:00:aa",
  );
});

Deno.test("without isGateway no gateway is added", () => {
  const ipam = result({ ips: [{ address: "10.1.0.2/24" }], routes: [{ dst: "0.0.0.0/0" }] });
  const plan = planAddresses(ipam, read({}));
  assertEquals(plan.ips, [{ interface: 2, address: "10.1.0.2/24" }]);
  assertEquals([plan.routes, plan.bridgeAddresses], [[{ dst: "0.0.0.0/0" }], []]);
  assertThrows(() => planAddresses(result({}), read({})), Error, "IPAM plugin returned missing IP config");
});

Deno.test("isGateway adds the first address of the network, isDefaultGateway one default route for each family", () => {
  const ips = [{ address: "10.1.0.2/24" }, { address: "10.2.0.2/24", gateway: "10.2.0.9" }, {
    address: "fd00::2/64",
  }];
  const plan = planAddresses(result({ ips }), read({ isDefaultGateway: true }));
  assertEquals(plan.ips.map(({ gateway }) => gateway), ["10.1.0.1", "10.2.0.9", "fd00::1"]);
  assertEquals(plan.routes, [{ dst: "0.0.0.0/0", gw: "10.1.0.1" }, { dst: "::/0", gw: "fd00::1" }]);
  assertEquals(plan.bridgeAddresses, cidrs("10.1.0.1/24", "10.2.0.9/24", "fd00::1/64"));
});

Deno.test("a default route of the IPAM plugin stays", () => {
  const routes = [{ dst: "0.0.0.0/0", gw: "10.1.0.254" }];
  const plan = planAddresses(
    result({ ips: [{ address: "10.1.0.2/24" }], routes }),
    read({ isDefaultGateway: true }),
  );
  assertEquals(plan.routes, routes);
});

Deno.test("U79 addresses are usable immediately, and routes use the gateway of their family", () => {
  const ipam = result({
    ips: [{ address: "10.1.0.2/24", gateway: "10.1.0.1" }, { address: "fd00::2/64", gateway: "fd00::1" }, {
      address: "10.3.0.0/31",
    }],
    routes: [
      { dst: "10.9.0.0/16" },
      { dst: "fd09::/16", gw: "fd00::9", mtu: 1400, advmss: 1360, priority: 50, table: 100 },
      { dst: "10.8.1.1/16", scope: 253 },
    ],
  });
  assertEquals(ipLines(containerOperations("eth0", planAddresses(ipam, read({})))), [
    "address add 10.1.0.2/24 broadcast + dev eth0",
    "address add fd00::2/64 nodad dev eth0",
    "address add 10.3.0.0/31 dev eth0",
    "link set dev eth0 up",
    "route prepend 10.9.0.0/16 via 10.1.0.1 dev eth0",
    "route prepend fd09::/16 via fd00::9 dev eth0 metric 50 table 100 mtu 1400 advmss 1360",
    "route prepend 10.8.0.0/16 dev eth0 scope 253",
  ]);
});

Deno.test("IPv6 is enabled only if it is used", () => {
  const names = (...texts: string[]) => containerSysctls("eth0.5", cidrs(...texts)).map(({ name }) => name);
  assertEquals(names("10.1.0.2/24"), [
    "net/ipv6/conf/eth0.5/accept_ra",
    "net/ipv6/conf/eth0.5/accept_dad",
    "net/ipv4/conf/eth0.5/arp_notify",
  ]);
  assertEquals(names("fd00::2/64").includes("net/ipv6/conf/eth0.5/disable_ipv6"), true);
  assertEquals(forwardingSysctls(cidrs("10.1.0.1/24")).map(({ name }) => name), ["net/ipv4/ip_forward"]);
  assertEquals(forwardingSysctls(cidrs("fd00::1/64")).map(({ name }) => name), [
    "net/ipv6/conf/all/forwarding",
  ]);
  assertEquals(forwardingSysctls([]), []);
});

Deno.test("the bridge gets its missing addresses, and loses one only with forceAddress", () => {
  const lines = (force: boolean, present: string[], ...needed: string[]) =>
    ipLines(
      bridgeAddressOperations({ device: "cni0", forceAddress: force }, cidrs(...present), cidrs(...needed)),
    );
  assertEquals(lines(false, [], "10.1.0.1/24", "fd00::1/64"), [
    "address replace 10.1.0.1/24 broadcast + dev cni0",
    "address replace fd00::1/64 nodad dev cni0",
  ]);
  assertEquals(lines(false, ["10.1.0.1/24", "fe80::1/64"], "10.1.0.1/24"), []);
  assertThrows(
    () => lines(false, ["10.9.0.1/24"], "10.1.0.1/24"),
    Error,
    '"cni0" already has an IP address different from 10.1.0.1/24: 10.9.0.1/24',
  );
  assertEquals(lines(true, ["10.9.0.1/24", "fd01::1/64"], "10.1.0.1/24"), [
    "address delete 10.9.0.1/24 dev cni0",
    "address replace 10.1.0.1/24 broadcast + dev cni0",
  ]);
  const device = { device: "cni0", forceAddress: false, ports: 2 };
  assertThrows(
    () => bridgeAddressOperations(device, cidrs("10.9.0.1/24"), cidrs("10.1.0.1/24")),
    Error,
    "different from 10.1.0.1/24: 10.9.0.1/24, and 2 other ports",
  );
  // IPv6 networks can coexist unless they overlap.
  assertEquals(lines(false, ["fd01::1/64"], "fd00::1/64"), ["address replace fd00::1/64 nodad dev cni0"]);
  assertThrows(() => lines(false, ["fd00::5/48"], "fd00::1/64"), Error, "different from fd00::1/64");
});
