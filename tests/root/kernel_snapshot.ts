/** The kernel's state of a network, as lines that can be compared and assigned to their owners. */
import { sh } from "./builtin_world.ts";

/** One object: its name, and everything about it that may not change. */
export interface Thing {
  readonly value: string;
  /** The hardware address of the link that it is, or belongs to. */
  readonly mac?: string | undefined;
}

/** All objects of a place by their names. */
export type Things = ReadonlyMap<string, Thing>;

// deno-lint-ignore no-explicit-any
type Shown = Record<string, any>;

const BETWEEN = "%%%%";
const SHOWN = [
  "link show",
  "address show",
  "route show table all root 0.0.0.0/0",
  "route show table all root ::/0",
  "rule show",
];
/** In few processes: it runs after each step. */
const SCRIPT = `ip -d -j -batch - <<'END' || exit 1
${SHOWN.join("\n")}
END
echo ${BETWEEN}
nft -s list ruleset 2>/dev/null
echo ${BETWEEN}`;
/** If iptables is that of nftables, nftables has its rules too. */
const IPTABLES = "iptables-save 2>/dev/null; ip6tables-save 2>/dev/null";
const TTL = "net.ipv4.ip_default_ttl";

/** What of a network is compared. */
export interface SnapshotSelection {
  /** @default all links */
  readonly isLink?: (name: string, master: string | undefined) => boolean;
  /** Lines of nft and iptables that are compared. @default all */
  readonly isRule?: (line: string) => boolean;
  /** Tables of routes that are compared for their rules too. @default all rules */
  readonly isTable?: (table: string) => boolean;
}

/**
 * Takes a snapshot of a namespace, by default this process's own. It leaves out what comes and goes by
 * itself: addresses that the kernel gives to links, counters, the state of carriers.
 */
export async function kernelSnapshot(
  place: string,
  netns: string | undefined,
  { isLink = () => true, isRule = () => true, isTable = () => true }: SnapshotSelection = {},
): Promise<Things> {
  const script = `${SCRIPT}; ${netns === undefined ? IPTABLES : ":"}; ttl=$(cat /proc/sys/${
    TTL.replaceAll(".", "/")
  })
    echo ${BETWEEN} $ttl`;
  const [shown = "", nft = "", iptables = "", ttl = ""] = (await sh(script, netns)).split(BETWEEN);
  const [links = [], addresses = [], routes4 = [], routes6 = [], rules = []] = shown.trim().split("\n").map((
    line,
  ) => JSON.parse(line) as Shown[]);
  const things = new Map<string, Thing>();
  const macs = new Map<string, string>();
  for (const link of links.filter(({ ifname, master }) => isLink(ifname, master))) {
    macs.set(link.ifname, link.address);
    things.set(`${place} link ${link.ifindex} ${link.address}`, {
      value: linkToJson(link),
      mac: link.address,
    });
  }
  for (const { ifname, addr_info: infos } of addresses) {
    const mac = macs.get(ifname);
    if (mac === undefined) continue;
    for (const { family, local, prefixlen, scope } of infos as Shown[]) {
      if (isOfKernel(local)) continue;
      things.set(`${place} address ${ifname} ${local}`, {
        value: `${family} ${local}/${prefixlen} ${scope}`,
        mac,
      });
    }
  }
  for (const route of [...routes4, ...routes6]) {
    const mac = macs.get(route.dev);
    const { flags: _flags, cache: _cache, pref: _pref, ...rest } = route;
    if (mac === undefined || isOfKernel(route.dst) || route.type === "multicast") continue;
    things.set(`${place} route ${JSON.stringify(rest)}`, { value: "", mac });
  }
  for (const rule of rules) {
    if (isTable(`${rule.table}`)) things.set(`${place} rule ${JSON.stringify(rule)}`, { value: "" });
  }
  for (const line of `${nft}\n${iptables}`.split("\n").map((line) => line.trim())) {
    if (line === "" || line.startsWith("#") || !isRule(line)) continue;
    things.set(`${place} filter ${line.replace(/\[\d+:\d+\]/, "")}`, { value: "" });
  }
  things.set(`${place} ${TTL}`, { value: ttl.trim() });
  return things;
}

function isOfKernel(address: string): boolean {
  return /^(?:fe80|ff00)/.test(address);
}

function linkToJson(
  { ifname, address, mtu, master, flags, ifalias, altnames, linkinfo, link_index }: Shown,
): string {
  const kept = (flags as string[]).filter((flag) => ["UP", "NOARP", "PROMISC"].includes(flag));
  const kind = linkinfo?.info_kind;
  return JSON.stringify({ ifname, address, mtu, master, kind, link_index, ifalias, altnames, flags: kept });
}
