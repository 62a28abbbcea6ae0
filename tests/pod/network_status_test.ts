import { assertEquals } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { networkStatusOf, networkStatusToJson } from "../../lib/pod/network_status.ts";

const DNS = {
  nameservers: ["10.1.0.1"],
  domain: "example.org",
  search: ["example.org"],
  options: ["ndots:2"],
};

/** What a bridge leaves: its own interface, the end on the host, and the one inside. */
const BRIDGED: JsonObject = {
  cniVersion: "1.1.0",
  interfaces: [
    { name: "cni0", mac: "02:00:00:00:00:01" },
    { name: "veth1", mac: "02:00:00:00:00:02" },
    { name: "net1", mac: "02:00:00:00:00:03", mtu: 1400, sandbox: "/run/netns/a" },
  ],
  ips: [
    { interface: 2, address: "10.1.0.5/24", gateway: "10.1.0.1" },
    { interface: 2, address: "fd00::5/64", gateway: "fd00::1" },
  ],
  routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0", gw: "fd00::9" }, { dst: "10.2.0.0/16" }],
  dns: DNS,
};

const status = (...networks: readonly JsonObject[]) =>
  networkStatusToJson(networkStatusOf(
    "shop",
    networks.map((result, index) => ({ name: "lan", ifName: `net${index + 1}`, title: "infra/lan", result })),
  ));

Deno.test("no network is an empty list", () => {
  assertEquals(status(), []);
});

Deno.test("one interface with both families: addresses without prefix, gateways, DNS, and default though it is false", () => {
  assertEquals(status(BRIDGED), [{
    name: "infra/lan",
    interface: "net1",
    ips: ["10.1.0.5", "fd00::5"],
    mac: "02:00:00:00:00:03",
    mtu: 1400,
    default: false,
    dns: DNS,
    gateway: ["10.1.0.1", "fd00::9"],
  }]);
});

Deno.test("an interface with IPv6 alone, and one without an address: dns is there in any case", () => {
  const only6: JsonObject = {
    cniVersion: "1.0.0",
    interfaces: [{ name: "net1", sandbox: "/run/netns/a" }],
    ips: [{ interface: 0, address: "fd00::5/64" }],
  };
  const none: JsonObject = { cniVersion: "0.4.0", interfaces: [{ name: "net2", mac: "x", sandbox: "/a" }] };
  assertEquals(status(only6, none), [
    { name: "infra/lan", interface: "net1", ips: ["fd00::5"], default: false, dns: {} },
    { name: "infra/lan", interface: "net2", mac: "x", default: false, dns: {} },
  ]);
});

Deno.test("a result with two interfaces inside has an object for each, and addresses go by their index, else to the last", () => {
  const two: JsonObject = {
    cniVersion: "1.1.0",
    interfaces: [
      { name: "host0" },
      { name: "net1", sandbox: "/a" },
      { name: "net1b", sandbox: "/a" },
    ],
    ips: [
      { interface: 1, address: "10.1.0.5/24" },
      { address: "10.1.1.5/24" },
      { interface: 2, address: "10.1.2.5/24" },
    ],
  };
  assertEquals(status(two), [
    { name: "infra/lan", interface: "net1", ips: ["10.1.0.5"], default: false, dns: {} },
    { name: "infra/lan", interface: "net1b", ips: ["10.1.1.5", "10.1.2.5"], default: false, dns: {} },
  ]);
});

Deno.test("three networks are listed in the order of attachment", () => {
  const names = status(BRIDGED, BRIDGED, BRIDGED).map((item) => item.interface);
  assertEquals(names, ["net1", "net1", "net1"]);
});

Deno.test("a result of an old version, which names no interface, is that of the attachment", () => {
  const old: JsonObject = { cniVersion: "0.2.0", ip4: { ip: "10.1.0.5/24", gateway: "10.1.0.1" } };
  assertEquals(status(old), [
    { name: "infra/lan", interface: "net1", ips: ["10.1.0.5"], default: false, dns: {} },
  ]);
});

Deno.test("of a sandbox that is not a pod's extra networks, the first is the default one, by the interface with the gateway", () => {
  const two: JsonObject = {
    cniVersion: "1.1.0",
    interfaces: [{ name: "eth0", sandbox: "/a" }, { name: "eth1", sandbox: "/a" }],
    ips: [{ interface: 0, address: "10.1.0.5/24" }, {
      interface: 1,
      address: "10.2.0.5/24",
      gateway: "10.2.0.1",
    }],
  };
  const networks = [{ name: "lan", ifName: "eth0", result: two }, {
    name: "b",
    ifName: "net1",
    result: BRIDGED,
  }];
  const shown = networkStatusOf("shop", networks).map(({ name, interface: ifName, default: isDefault }) =>
    `${name} ${ifName} ${isDefault}`
  );
  assertEquals(shown, ["shop/lan eth0 false", "shop/lan eth1 true", "shop/b net1 false"]);
  assertEquals(networkStatusOf("shop", [networks[1]!])[0]?.default, true);
});
