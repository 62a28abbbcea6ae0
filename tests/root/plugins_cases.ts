/** Chains of the reference plugins as people write them, what each makes of the kernel, and how it can be damaged. */
import { assert, assertEquals } from "@std/assert";
import type { AttachRequest } from "../../lib/network/network.ts";
import type { JsonObject } from "../../lib/spec/json.ts";
import type { Result } from "../../lib/spec/result.ts";
import type { SpecVersion } from "../../lib/spec/version.ts";
import type { Feature } from "./plugins_kernel.ts";
import type { PluginWorld, Release } from "./plugins_world.ts";

/** Something that somebody else does to an attachment, and the plugin that has to notice. */
export interface Damage {
  readonly script: string;
  /** @default {"pod"} */
  readonly where?: "pod" | "node";
  readonly noticedBy: string;
}

export interface PluginCase {
  readonly name: string;
  readonly plugins: (world: PluginWorld) => readonly JsonObject[];
  readonly needs?: readonly Feature[];
  /** @default {both} */
  readonly releases?: readonly Release[];
  /** The first version that all plugins of the chain know. @default {"0.3.1"} */
  readonly since?: SpecVersion;
  readonly request?: Partial<AttachRequest>;
  /** Run in pod and node before the ADD. */
  readonly prepare?: (world: PluginWorld) => Promise<unknown>;
  /** Beside what the result says, which is compared with the kernel for every case. */
  readonly effect?: (world: PluginWorld, result: Result) => Promise<void>;
  readonly damages: readonly Damage[];
  /** Rather than only the newest of each release and one of the older ones. @default {false} */
  readonly allVersions?: boolean;
  /** What these plugins do not do as the specification asks, so that no runtime can, in their own words. */
  readonly defects?: Partial<Record<Release, Defects>>;
  /** What no DEL of theirs finds any more when the interface is gone, or its addresses. */
  readonly leaks?: RegExp;
}

export interface Defects {
  /** CHECK fails though all is well. */
  readonly check?: RegExp;
  /** DEL does its work and fails; the next one succeeds. */
  readonly del?: RegExp;
  /** DEL of what is gone already fails. */
  readonly delAgain?: RegExp;
  /** DEL without a namespace fails, and keeps those before it in the chain from theirs. */
  readonly delGone?: RegExp;
}

const MAC = "02:11:22:33:44:55";
const RATE = { ingressRate: 8_000_000, ingressBurst: 800_000, egressRate: 4_000_000, egressBurst: 400_000 };
const PORTS = [{ hostPort: 18080, containerPort: 80, protocol: "tcp" }];
const SHAPED = { capabilityArgs: { portMappings: PORTS, bandwidth: RATE } };

export const SUBNET4 = "10.80.0.0/24";
export const SUBNET6 = "fd00:80::/64";

export function hostLocal(world: PluginWorld, ...subnets: string[]): JsonObject {
  const ranges = (subnets.length === 0 ? [SUBNET4, SUBNET6] : subnets).map((subnet) => [{ subnet }]);
  return { type: "host-local", dataDir: world.ipamDir, ranges };
}

export function bridge(world: PluginWorld, more: JsonObject = {}): JsonObject {
  return {
    type: "bridge",
    bridge: world.bridge,
    isDefaultGateway: true,
    ipMasq: true,
    ipam: hostLocal(world),
    ...more,
  };
}

const PORTMAP = { type: "portmap", capabilities: { portMappings: true } };
const FIREWALL = { type: "firewall" };
const BANDWIDTH = { type: "bandwidth", capabilities: { bandwidth: true } };

function tuning(world: PluginWorld, more: JsonObject = {}): JsonObject {
  return { type: "tuning", dataDir: world.tuningDir, ...more };
}

const LINK_GONE = (noticedBy: string): Damage => ({ script: "ip link delete dev eth0", noticedBy });
const ADDRESS_GONE = (noticedBy: string): Damage => ({
  script: "ip addr flush dev eth0 scope global",
  noticedBy,
});
const IPTABLES: readonly Feature[] = ["iptables"];
/** They ask the interface for the addresses that they masqueraded. */
const MASQUERADING = /CNI-[0-9a-f]{24}/;
const MASQUERADING_AND_TUNING = /CNI-[0-9a-f]{24}|^file: tuning\//;
/** They restore the link, and forget its settings only then. */
const TUNING = /^file: tuning\//;
/** It looks for the rules of IPv4 among those of IPv6. */
const PORTMAP_CHECK: Defects = { check: /could not check ipv6 dnat/ };
/** It moves the routes on whose presence those before it in the chain insist. */
const SBR_CHECK = /Failed to find Gateway/;
const SBR_DEFECTS: Defects = { check: SBR_CHECK, delGone: /no such file or directory/ };
const SBR = { "1.1.1": { ...SBR_DEFECTS, delAgain: /Failed to get link/ }, "1.9.1": SBR_DEFECTS };
const everywhere = (defects: Defects) => ({ "1.1.1": defects, "1.9.1": defects });

async function has(world: PluginWorld, pattern: RegExp): Promise<void> {
  const rules = await world.rules();
  assert(rules.some((line) => pattern.test(line)), `no rule ${pattern} in\n${rules.join("\n")}`);
}

/** What the whole chain below makes, whatever the rules are written with. */
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

export const CASES: readonly PluginCase[] = [
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
      assertEquals([address, mtu], [MAC, 1400]);
      const ports = await world.json(`ip -j -d link show master ${world.bridge}`);
      assertEquals(ports.map(({ linkinfo }) => linkinfo.info_slave_data.hairpin), [true]);
      await has(world, /-A POSTROUTING -s 10\.80\.0\.2\/32 .*-j CNI-/);
      await has(world, /-A POSTROUTING -s fd00:80::2\/128 .*-j CNI-/);
    },
    damages: [ADDRESS_GONE("bridge"), LINK_GONE("bridge")],
  },
  {
    name: "bridge with static addresses asked for as a capability",
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
    name: "bridge with an address asked for in CNI_ARGS",
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
    // It asks the plugin for addresses that it has not.
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
    leaks: TUNING,
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
    // It then looks for chains of iptables, and does not know in what words iptables says that there are none.
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
    name: "bridge and a firewall that parts bridges",
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
  {
    name: "ptp with masquerading, the resolv.conf of the node and a default route",
    allVersions: true,
    leaks: MASQUERADING,
    needs: IPTABLES,
    plugins: (world) => [{
      type: "ptp",
      ipMasq: true,
      mtu: 1400,
      ipam: {
        ...hostLocal(world),
        resolvConf: `${world.dir}/resolv.conf`,
        routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
      },
    }],
    prepare: (world) =>
      Deno.writeTextFile(`${world.dir}/resolv.conf`, "nameserver 10.80.9.9\nsearch a.test\n"),
    effect: async (world, { dns }) => {
      assertEquals((await world.link("eth0")).mtu, 1400);
      assertEquals([dns?.nameservers, dns?.search], [["10.80.9.9"], ["a.test"]]);
      await has(world, /-A POSTROUTING -s 10\.80\.0\.2\/32 .*-j CNI-/);
      assert((await world.json("ip -j route")).some(({ dst }) => dst === "10.80.0.2"));
    },
    damages: [ADDRESS_GONE("ptp"), LINK_GONE("ptp")],
  },
  {
    name: "ptp, tuning with everything and sbr",
    leaks: TUNING,
    defects: SBR,
    plugins: (world) => [
      { type: "ptp", ipam: { ...hostLocal(world), routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }] } },
      tuning(world, { capabilities: { mac: true }, mtu: 1350, allmulti: true }),
      { type: "sbr" },
    ],
    request: { capabilityArgs: { mac: MAC } },
    effect: (world) => sourceBased(world),
    damages: [{ script: "ip link set dev eth0 mtu 1300", noticedBy: "tuning" }, ADDRESS_GONE("ptp")],
  },
  {
    name: "bridge and sbr",
    defects: SBR,
    plugins: (world) => [bridge(world, { ipMasq: false }), { type: "sbr" }],
    effect: (world) => sourceBased(world),
    damages: [ADDRESS_GONE("bridge")],
  },
  {
    name: "bridge and vrf",
    needs: ["vrf"],
    plugins: (
      world,
    ) => [bridge(world, { ipMasq: false, isDefaultGateway: false }), {
      type: "vrf",
      vrfname: "blue",
      table: 77,
    }],
    effect: async (world) => {
      const pod = world.path("pod");
      assertEquals((await world.link("blue")).linkinfo.info_data.table, 77);
      assertEquals((await world.link("eth0")).master, "blue");
      const routes = await world.json("ip -j route show table 77", pod);
      assert(routes.some(({ dst, dev }) => dst === "10.80.0.0/24" && dev === "eth0"), JSON.stringify(routes));
    },
    damages: [{ script: "ip link set dev eth0 nomaster", noticedBy: "vrf" }],
  },
  {
    name: "macvlan on a parent",
    needs: ["macvlan"],
    plugins: (world) => [{
      type: "macvlan",
      master: "up0",
      mode: "bridge",
      mtu: 1400,
      capabilities: { mac: true },
      ipam: hostLocal(world),
    }],
    request: { capabilityArgs: { mac: MAC } },
    effect: async (world) => {
      const { linkinfo, mtu, address } = await world.link("eth0");
      assertEquals([linkinfo.info_kind, linkinfo.info_data.mode, mtu, address], [
        "macvlan",
        "bridge",
        1400,
        MAC,
      ]);
    },
    damages: [ADDRESS_GONE("macvlan"), LINK_GONE("macvlan")],
  },
  {
    name: "ipvlan on a parent",
    needs: ["ipvlan"],
    plugins: (world) => [{ type: "ipvlan", master: "up0", mode: "l2", mtu: 1400, ipam: hostLocal(world) }],
    effect: async (world) => {
      const { linkinfo, mtu } = await world.link("eth0");
      assertEquals([linkinfo.info_kind, linkinfo.info_data.mode, mtu], ["ipvlan", "l2", 1400]);
    },
    damages: [ADDRESS_GONE("ipvlan"), LINK_GONE("ipvlan")],
  },
  {
    name: "vlan on a parent",
    needs: ["vlan"],
    plugins: (world) => [{ type: "vlan", master: "up0", vlanId: 42, mtu: 1400, ipam: hostLocal(world) }],
    effect: async (world) => {
      const { linkinfo, mtu } = await world.link("eth0");
      assertEquals([linkinfo.info_kind, linkinfo.info_data.id, mtu], ["vlan", 42, 1400]);
    },
    damages: [ADDRESS_GONE("vlan"), LINK_GONE("vlan")],
  },
  {
    name: "macvlan on a parent inside the pod",
    releases: ["1.9.1"],
    needs: ["macvlan"],
    plugins: (world) => [{
      type: "macvlan",
      master: "inner0",
      linkInContainer: true,
      ipam: hostLocal(world),
    }],
    prepare: (world) =>
      world.sh(
        "ip link add inner0 type veth peer name inner1 && ip link set inner0 up && ip link set inner1 up",
        world.path("pod"),
      ),
    damages: [ADDRESS_GONE("macvlan")],
  },
  {
    name: "dummy",
    releases: ["1.9.1"],
    needs: ["dummy"],
    plugins: (world) => [{ type: "dummy", ipam: hostLocal(world) }],
    effect: async (world) => assertEquals((await world.link("eth0")).linkinfo.info_kind, "dummy"),
    damages: [ADDRESS_GONE("dummy"), LINK_GONE("dummy")],
  },
  {
    name: "tap",
    releases: ["1.9.1"],
    needs: ["tap"],
    plugins: (world) => [{ type: "tap", multiQueue: true, ipam: hostLocal(world, SUBNET4) }],
    effect: async (world) => assertEquals((await world.link("eth0")).linkinfo.info_kind, "tun"),
    damages: [ADDRESS_GONE("tap"), LINK_GONE("tap")],
  },
  {
    name: "host-device",
    defects: everywhere({ delAgain: /failed to find "eth0"/ }),
    // The kernel takes the device, which is virtual here, with the namespace; the address stays taken.
    leaks: /^node: h[dp]-|^file: ipam\//,
    plugins: (world) => [{ type: "host-device", device: `hd-${world.tag}`, ipam: hostLocal(world, SUBNET4) }],
    prepare: (world) => world.sh(`ip link add hd-${world.tag} type veth peer name hp-${world.tag}`),
    damages: [ADDRESS_GONE("host-device")],
  },
];

/** Each address has a rule that leads to a table of its own, and that table leads out. */
async function sourceBased(world: PluginWorld): Promise<void> {
  const pod = world.path("pod");
  for (const [family, source] of [["-4", "10.80.0.2"], ["-6", "fd00:80::2"]] as const) {
    const rules = await world.json(`ip ${family} -j rule`, pod);
    const table = rules.find(({ src }) => src === source)?.table;
    assert(table !== undefined, JSON.stringify(rules));
    const routes = await world.json(`ip ${family} -j route show table ${table}`, pod);
    assert(routes.some(({ dst, dev }) => dst === "default" && dev === "eth0"), JSON.stringify(routes));
  }
}
