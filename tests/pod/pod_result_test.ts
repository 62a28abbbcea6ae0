import { assertEquals } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import type { PodNetwork } from "../../lib/pod/pod_network.ts";
import { combineResults } from "../../lib/pod/pod_result.ts";

function network(name: string, ifName: string, result: JsonObject): PodNetwork {
  return { name, ifName, result: { cniVersion: "1.1.0", ...result } };
}

Deno.test("G38 G40 interfaces with the same name in different networks and namespaces are all kept, in order", () => {
  const { interfaces } = combineResults([
    network("a", "eth0", {
      interfaces: [{ name: "veth1" }, { name: "eth0", mac: "0a:00:00:00:00:01", sandbox: "/run/netns/p" }],
      ips: [{ address: "10.1.0.2/24", gateway: "10.1.0.1", interface: 1 }],
    }),
    network("b", "eth0", {
      interfaces: [{ name: "eth0" }, { name: "eth0", sandbox: "/run/netns/p" }],
      ips: [{ address: "10.2.0.2/24", interface: 0 }, { address: "fd00::2/64", interface: 1 }],
    }),
  ]);
  assertEquals(
    interfaces.map(({ network, name, sandbox, mac, addresses }) => [
      network,
      name,
      sandbox,
      mac,
      addresses.map(({ address }) => address),
    ]),
    [
      ["a", "veth1", undefined, undefined, []],
      ["a", "eth0", "/run/netns/p", "0a:00:00:00:00:01", ["10.1.0.2/24"]],
      ["b", "eth0", undefined, undefined, ["10.2.0.2/24"]],
      ["b", "eth0", "/run/netns/p", undefined, ["fd00::2/64"]],
    ],
  );
  assertEquals(interfaces[1]?.addresses[0]?.gateway, "10.1.0.1");
});

Deno.test("G39 G45 an address without an interface is on the interface of its attachment", () => {
  const { interfaces, ips } = combineResults([
    network("old", "eth0", { ips: [{ address: "10.1.0.2/24" }] }),
    network("lazy", "net1", {
      interfaces: [{ name: "net1" }, { name: "net1", sandbox: "/run/netns/p" }],
      ips: [{ address: "10.2.0.2/24" }],
    }),
  ]);
  assertEquals(
    interfaces.map(({ network, name, sandbox, addresses }) => [network, name, sandbox, addresses.length]),
    [
      ["old", "eth0", undefined, 1],
      ["lazy", "net1", undefined, 0],
      ["lazy", "net1", "/run/netns/p", 1],
    ],
  );
  assertEquals(ips, ["10.1.0.2", "10.2.0.2"]);
});

Deno.test("G41 G42 an interface index that is out of range is harmless: the address is on the requested interface", () => {
  for (const index of [1, 7]) {
    const { interfaces } = combineResults([
      network("a", "eth0", {
        interfaces: [{ name: "eth0", sandbox: "/run/netns/p" }],
        ips: [{ address: "10.1.0.2/24", interface: index }],
      }),
    ]);
    assertEquals(interfaces.map(({ addresses }) => addresses.map(({ address }) => address)), [[
      "10.1.0.2/24",
    ]]);
  }
});

Deno.test("G30 G37 G43 G44 results, DNS settings and routes are combined in network order, each with its network", () => {
  const old = { ...network("old", "eth0", {}), result: { cniVersion: "0.2.0", ip4: { ip: "10.1.0.2/24" } } };
  const networks = [
    network("a", "eth1", {
      dns: { nameservers: ["10.0.0.53"] },
      routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.1" }],
    }),
    network("b", "eth2", { dns: {}, routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.1" }] }),
    old,
  ];
  const combined = combineResults(networks);
  assertEquals(combined.networks, networks);
  assertEquals(combined.dns, [{ nameservers: ["10.0.0.53"], network: "a" }]);
  assertEquals(combined.routes.map(({ network, dst, gw }) => [network, dst, gw]), [
    ["a", "0.0.0.0/0", "10.1.0.1"],
    ["b", "0.0.0.0/0", "10.1.0.1"],
  ]);
  assertEquals(combined.ips, ["10.1.0.2"]);
  // The version of that result has no interfaces.
  assertEquals(combined.interfaces, [
    { network: "old", name: "eth0", addresses: [{ address: "10.1.0.2/24", gateway: undefined }] },
  ]);
});

Deno.test("a pod with lo only has nothing", () => {
  assertEquals(combineResults([]), { networks: [], interfaces: [], ips: [], dns: [], routes: [] });
});
