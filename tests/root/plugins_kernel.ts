/** What the kernel of this machine can do for the plugins. */
import { runCommand } from "../../lib/host/command.ts";
import { missing } from "./need.ts";

/** For each feature the commands that need it, run in a namespace that is removed afterwards. */
const PROBES = {
  dummy: "ip link add x0 type dummy",
  macvlan: "ip link add y0 type veth peer name y1 && ip link add x0 link y0 type macvlan",
  ipvlan: "ip link add y0 type veth peer name y1 && ip link add x0 link y0 type ipvlan",
  vlan: "ip link add y0 type veth peer name y1 && ip link add x0 link y0 type vlan id 5",
  vrf: "ip link add x0 type vrf table 10",
  tap: "ip tuntap add x0 mode tap",
  "bridge-vlan": "ip link add x0 type bridge vlan_filtering 1",
  bandwidth: "ip link add x0 type ifb && tc qdisc add dev x0 root tbf rate 1mbit burst 100kb latency 25ms",
  "unshaped-subnets": "ip link add x0 type ifb && tc qdisc add dev x0 root htb default 30",
  iptables: "iptables -w -t nat -S && ip6tables -w -t nat -S && iptables -w -S",
  nftables:
    "nft 'add table inet t; add chain inet t c { type nat hook postrouting priority 100; }; add rule inet t c masquerade'",
  "nftables-bridge":
    "nft 'add table bridge t; add chain bridge t c { type filter hook prerouting priority 0; }'",
} as const;

export type Feature = keyof typeof PROBES;

const refusals = new Map<Feature, string | undefined>();

if (missing(["root", "ip"]).length === 0) {
  for (const [feature, script] of Object.entries(PROBES)) {
    const { code, stderr } = await runCommand({ program: "unshare", args: ["--net", "sh", "-c", script] });
    refusals.set(feature as Feature, code === 0 ? undefined : stderr.trim().split("\n")[0] ?? "");
  }
}

/** The message with which this kernel refuses a feature; undefined if it has the feature. */
export function refusal(feature: Feature): string | undefined {
  return refusals.get(feature);
}

/**
 * Spread it into a test's definition: the test is ignored if the kernel lacks a feature, and its name says
 * why, because a runner shows nothing else of it.
 */
export function needKernel(name: string, ...features: readonly Feature[]): { name: string; ignore: boolean } {
  const lacking = features.find((feature) => refusal(feature) !== undefined);
  if (lacking === undefined) return { name, ignore: false };
  return { name: `${name} [no ${lacking} in this kernel: ${refusal(lacking)}]`, ignore: true };
}
