/** Chains of the reference plugins that begin with a bridge, as people write them. */
import { assert, assertEquals } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import {
  ADDRESS_GONE,
  BANDWIDTH,
  bridge,
  type Defects,
  everywhere,
  FIREWALL,
  has,
  hostLocal,
  IPTABLES,
  LINK_GONE,
  MAC,
  MASQUERADING,
  type PluginCase,
  PORTMAP,
  RATE,
  SHAPED,
  SUBNET4,
  tuning,
  TUNING_LEAK,
} from "./plugins_case.ts";
import type { PluginWorld } from "./plugins_world.ts";

const MASQUERADING_AND_TUNING = /CNI-[0-9a-f]{24}|^file: tuning\//;
/** It looks for the rules of IPv4 among those of IPv6. */
const PORTMAP_CHECK: Defects = { check: /could not check ipv6 dnat/ };

/** What the whole chain below makes, whichever tool writes the rules. */
async function chainEffect(world: PluginWorld): Promise<void> {
  const link = await world.link("eth0");
  assertEquals([link.mtu, link.address, link.promiscuity > 0], [1300, MAC, true]);
  assertEquals((await world.sh("sysctl -n net.core.somaxconn", world.path("pod"))).trim(), "777");
  const shaped = (await world.json("tc -j qdisc show")).filter(({ kind }) => /^(tbf|htb)$/.test(kind));
  assertEquals(new Set(shaped.map(({ dev }) => dev.slice(0, 3))), new Set(["vet", "bwp"]));
  await has(world, /18080.*10\.80\.0\.\d+|10\.80\.0\.\d+:80|dnat to 10\.80\.0/i);
  await has(world, /-A CNI-FORWARD -s 10\.80\.0\.\d+\/32 -j ACCEPT/);
}

const TUNED: JsonObject = { sysctl: { "net.core.somaxconn": "777" }, mtu: 1300, promisc: true, mac: MAC };

/** Chains with a bridge, and the loopback that every pod has. */
export const BRIDGE_CASES: readonly PluginCase[] = [
  {
    name: "loopback",
    plugins: () => [{ type: "loopback" }],
    request: { ifName: "lo" },
    prepare: (world) => world.sh("ip link set lo down", world.path("pod")),
    effect: async (world) => {
      const { flags, addr_info } = await world.link("lo");
      assert(flags.includes("UP"));
      // deno-lint-ignore no-explicit-any
      assertEquals(addr_info.map(({ local }: any) => local), ["127.0.0.1", "::1"]);
    },
    damages: [{ script: "ip link set lo down", noticedBy: "loopback" }],
  },
  {
    name: "bridge with host-local, a gateway, masquerading, hairpin and a chosen MAC",
    allVersions: true,
    leaks: MASQUERADING,
    needs: IPTABLES,
    plugins: (world) => [bridge(world, { mtu: 1400, hairpinMode: true, capabilities: { mac: true } })],
    request: { capabilityArgs: { mac: MAC } },
    effect: async (world) => {
      const { address, mtu } = await world.link("eth0");
      assertEquals({ address, mtu }, { address: MAC, mtu: 1400 });
      const ports = await world.json(`ip -j -d link show master ${world.bridge}`);
      assertEquals(ports.map(({ linkinfo }) => linkinfo.info_slave_data.hairpin), [true]);
      await has(world, /-A POSTROUTING -s 10\.80\.0\.2\/32 .*-j CNI-/);
      await has(world, /-A POSTROUTING -s fd00:80::2\/128 .*-j CNI-/);
    },
    damages: [ADDRESS_GONE("bridge"), LINK_GONE("bridge")],
  },
  {
    name: "bridge with static addresses requested by a capability",
    plugins: (world) => [{
      type: "bridge",
      bridge: world.bridge,
      capabilities: { ips: true },
      ipam: {
        type: "static",
        routes: [{ dst: "10.99.0.0/16", gw: "10.80.0.1" }],
      },
    }],
    request: { capabilityArgs: { ips: ["10.80.0.77/24", "fd00:80::77/64"] } },
    effect: (_, { ips }) => {
      assertEquals(ips?.map(({ address }) => address), ["10.80.0.77/24", "fd00:80::77/64"]);
      return Promise.resolve();
    },
    damages: [{ script: "ip route delete 10.99.0.0/16", noticedBy: "bridge" }, ADDRESS_GONE("bridge")],
  },
  {
    name: "bridge with an address requested in CNI_ARGS",
    plugins: (world) => [bridge(world, { ipMasq: false, ipam: hostLocal(world, SUBNET4) })],
    request: { args: [["IgnoreUnknown", "1"], ["K8S_POD_NAME", "p"], ["IP", "10.80.0.99"]] },
    effect: (_, { ips }) => {
      assertEquals(ips?.map(({ address }) => address), ["10.80.0.99/24"]);
      return Promise.resolve();
    },
    damages: [ADDRESS_GONE("bridge")],
  },
  {
    name: "bridge without addresses, with a check of the MAC",
    leaks: /macspoofchk|cni-br-iface/,
    // It asks the plugin for addresses that it lacks.
    defects: everywhere({ check: /no plugin name provided/ }),
    needs: ["nftables-bridge"],
    plugins: (world) => [{ type: "bridge", bridge: world.bridge, macspoofchk: true }],
    effect: async (world, { interfaces = [] }) => {
      const mac = interfaces.find(({ sandbox }) => sandbox)?.mac;
      const rules = await world.sh("nft list ruleset bridge");
      assert(rules.includes(`ether saddr ${mac}`) || rules.includes(`ether saddr != ${mac}`), rules);
    },
    damages: [LINK_GONE("bridge")],
  },
  {
    name: "bridge with a VLAN",
    needs: ["bridge-vlan"],
    plugins: (world) => [bridge(world, { vlan: 100, ipMasq: false, isDefaultGateway: false })],
    effect: async (world) => {
      const ports = await world.json("bridge -j vlan show");
      assert(
        ports.some(({ ifname, vlans }) =>
          ifname.startsWith("veth") &&
          // deno-lint-ignore no-explicit-any
          vlans.some((each: any) => each.vlan === 100 && each.flags?.includes("PVID"))
        ),
        JSON.stringify(ports),
      );
    },
    damages: [LINK_GONE("bridge")],
  },
  {
    name: "bridge, portmap, firewall, tuning and bandwidth",
    allVersions: true,
    defects: { "1.1.1": PORTMAP_CHECK },
    leaks: MASQUERADING_AND_TUNING,
    needs: ["iptables", "bandwidth"],
    since: "0.4.0",
    plugins: (world) => [
      bridge(world, { ipam: hostLocal(world, SUBNET4) }),
      PORTMAP,
      FIREWALL,
      tuning(world, TUNED),
      BANDWIDTH,
    ],
    request: SHAPED,
    effect: chainEffect,
    damages: [
      { script: "ip link set dev eth0 mtu 1299", noticedBy: "tuning" },
      { script: "iptables -w -F CNI-FORWARD", where: "node", noticedBy: "firewall" },
      { script: "iptables -w -t nat -F CNI-HOSTPORT-DNAT", where: "node", noticedBy: "portmap" },
      ADDRESS_GONE("bridge"),
    ],
  },
  {
    name: "bridge, firewall, tuning and bandwidth",
    leaks: TUNING_LEAK,
    needs: ["iptables", "bandwidth"],
    since: "0.4.0",
    plugins: (world) => [bridge(world, { ipMasq: false }), FIREWALL, tuning(world, { mtu: 1300 }), BANDWIDTH],
    request: { capabilityArgs: { bandwidth: RATE } },
    damages: [
      { script: "ip link set dev eth0 mtu 1299", noticedBy: "tuning" },
      { script: "iptables -w -F CNI-FORWARD", where: "node", noticedBy: "firewall" },
      LINK_GONE("bridge"),
    ],
  },
  {
    name: "bridge, portmap, firewall, tuning and bandwidth for IPv4 and IPv6",
    needs: ["iptables", "bandwidth"],
    since: "0.4.0",
    plugins: (world) => [bridge(world), PORTMAP, FIREWALL, tuning(world, TUNED), BANDWIDTH],
    request: SHAPED,
    effect: async (world) => {
      await chainEffect(world);
      await has(world, /DNAT --to-destination \[fd00:80::\w+\]:80/);
      await has(world, /-A CNI-FORWARD -s fd00:80::\w+\/128 -j ACCEPT/);
    },
    defects: { "1.1.1": PORTMAP_CHECK },
    leaks: MASQUERADING_AND_TUNING,
    damages: [],
  },
  {
    name: "bridge, portmap and bandwidth, with nftables and subnets that are not shaped",
    // It then looks for chains of iptables, and does not know the message of iptables that there are none.
    defects: { "1.9.1": { del: /does not exist/ } },
    leaks: /masquerade/,
    releases: ["1.9.1"],
    needs: ["nftables", "unshaped-subnets"],
    plugins: (world) => [
      bridge(world, { ipMasqBackend: "nftables" }),
      { ...PORTMAP, backend: "nftables" },
      { ...BANDWIDTH, unshapedSubnets: ["10.81.0.0/16"] },
    ],
    request: SHAPED,
    effect: async (world) => {
      await has(world, /ip saddr 10\.80\.0\.2.*masquerade/);
      await has(world, /dport 18080 dnat/);
    },
    damages: [ADDRESS_GONE("bridge")],
  },
  {
    name: "bridge and a firewall that isolates bridges",
    leaks: MASQUERADING,
    needs: IPTABLES,
    since: "0.4.0",
    plugins: (world) => [bridge(world), { type: "firewall", ingressPolicy: "same-bridge" }],
    effect: async (world) => {
      const isolation = `-A CNI-ISOLATION-STAGE-1 -i ${world.bridge} ! -o ${world.bridge}`;
      assert((await world.sh("iptables-save")).includes(isolation));
    },
    damages: [ADDRESS_GONE("bridge")],
  },
];
