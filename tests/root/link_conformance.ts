// A plugin that gives a container one interface against the original: the same configuration, and everything that `ip` shows.
import { assertEquals } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { type Answer, assertDone, type Call, callBinary, callBuiltin, resultOf } from "./builtin_call.ts";
import { until } from "../until.ts";
import { sh } from "./builtin_world.ts";
import { inMasterWorld, MAC, type MasterWorld, OTHER_MAC } from "./master_world.ts";
import { CNI_1_1_1, CNI_1_9_1 } from "./need.ts";
import { type LinkKind, needLinks } from "./need_links.ts";

export type Caller = (call: Call) => Promise<Answer>;

/** Where the originals are. */
export const FOLDERS = { "cni-1.1.1": CNI_1_1_1, "cni-1.9.1": CNI_1_9_1 } as const;

export type Original = keyof typeof FOLDERS;

/** One configuration. */
export interface LinkCase {
  /** Without the version, the name and the type. `dir` is a directory for an IPAM plugin. */
  readonly config: (world: MasterWorld, dir: string) => JsonObject;
  /** `CNI_ARGS`. */
  readonly args?: string;
  /** @default {"1.0.0"} */
  readonly version?: string;
  /** Run on the host, with `$MASTER`. */
  readonly onHost?: string;
  /** Run in the container before. */
  readonly inPod?: string;
  /** @default {both} */
  readonly originals?: readonly Original[];
  /** The name of the interface. @default {"eth0"} */
  readonly ifName?: string;
}

function callOf(
  type: string,
  world: MasterWorld,
  { config, args, version, ifName }: LinkCase,
  at: string,
  netns: string,
): Omit<Call, "verb"> {
  return {
    containerId: `c-${world.tag}`,
    netns,
    ifName: ifName ?? "eth0",
    ...(args === undefined ? {} : { args }),
    config: {
      cniVersion: version ?? "1.0.0",
      name: `net-${world.tag}`,
      type,
      ...config(world, `${world.dir}/${at}`),
    },
  };
}

const RANDOM_MAC = /(?:[0-9a-f]{2}:){5}[0-9a-f]{2}/g;

function withoutChance(text: string, masterMac: string): string {
  return text.replaceAll(RANDOM_MAC, (mac) => {
    if (mac === masterMac) return "MASTER";
    return mac === MAC || mac === OTHER_MAC || mac === "ff:ff:ff:ff:ff:ff" ? mac : "RANDOM";
  }).replaceAll(/pwt-[0-9a-f]+-[a-z]+/g, "NETNS");
}

/** Facts of `ip` that chance or time decide, or that only say who made the interface. */
const UNSTEADY = /^(?:ifindex|link_netnsid|ifalias|usedbcqueuelen|operstate|cacheinfo|.*_life_time)$/;
/** How an address came to be usable at once is a difference that the documentation lists. */
const OF_DUPLICATES = /^(?:nodad|tentative|dadfailed|optimistic|stable-privacy)$/;

/** The scope of an IPv4 route on the link is a difference that the documentation lists. */
function scoped(value: object): object {
  const isOnLink = "dst" in value && "scope" in value && !("gateway" in value) && value.scope === "global";
  return isOnLink && !String(value.dst).includes(":") ? { ...value, scope: "link" } : value;
}

/** Returns a value without what chance or time decide. */
export function steady(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(steady);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(scoped(value)).filter(([key]) => !UNSTEADY.test(key) && !OF_DUPLICATES.test(key))
      .map(([key, inner]) => [key, steady(inner)]),
  );
}

/** What is in the namespace of the container: each command prints one answer. */
const SHOW: readonly string[] = [
  "ip -d -j address show",
  "ip -d -j -4 route show table all",
  "ip -d -j -6 route show table all",
  "ip -d -j neigh show nud permanent",
  "ip -j rule; ip -6 -j rule",
  'grep -H "" /proc/sys/net/ipv[46]/conf/$DEV/* 2>/dev/null | grep -v stable_secret',
];

/** One run of a shell, because a process takes a second under an emulated kernel. */
export async function answersIn(netns: string, ifName: string): Promise<string[]> {
  const text = await sh(`DEV=${ifName}; ${SHOW.join("; echo; echo %%; ")}`, netns);
  return text.split("%%\n").map((answer) => answer.trim());
}

type Shown = Record<string, unknown> & { readonly addr_info?: readonly Shown[] };

/** The entries of a list, without those of the link layer's own network, which depends on the MAC address. */
export function entriesIn(text = ""): unknown[] {
  const list: Shown[] = text === "" ? [] : JSON.parse(text);
  const isOwn = ({ dst, local }: Shown) => /^(?:fe80|ff00)/.test(String(dst ?? local));
  return list.filter((entry) => !isOwn(entry)).map(({ addr_info: addresses, ...entry }) =>
    steady({ ...entry, ...(addresses && { addresses: addresses.filter((one) => !isOwn(one)) }) })
  );
}

/** Waits until the kernel has found no duplicates: only then an address has its route. Without a carrier it does not look for them. */
export async function settled(netns: string, ifName: string): Promise<void> {
  const script =
    `! ip -o link show dev ${ifName} | grep -q LOWER_UP || ip -6 -o addr show dev ${ifName} tentative`;
  await until(async () => await sh(script, netns) === "");
}

/** What is in the namespace of the container, and what the master looks like. */
async function stateOf(
  { netns = "", ifName = "" }: Omit<Call, "verb">,
  world: MasterWorld,
): Promise<unknown> {
  await settled(netns, ifName);
  const [links, routes, routes6, neighbours, rules, sysctls = ""] = await answersIn(netns, ifName);
  const [master] = JSON.parse(await sh(`ip -d -j link show dev ${world.master}`));
  const text = JSON.stringify({
    links: entriesIn(links),
    routes: entriesIn(routes),
    routes6: entriesIn(routes6),
    neighbours: entriesIn(neighbours),
    rules,
    sysctls: sysctls.split("\n").sort(),
    master: steady(master),
  });
  return JSON.parse(withoutChance(text, master.address));
}

/** The result without what chance decides. An empty `dns` says the same as none. */
function resultState({ document }: Answer): unknown {
  const { dns = {}, ...result } = document;
  return JSON.parse(withoutChance(JSON.stringify({ ...result, dns }), ""));
}

async function assertNothingLeft({ netns, ifName }: Omit<Call, "verb">): Promise<void> {
  assertEquals(await sh(`ip -o link show dev ${ifName} 2>/dev/null || :`, netns), "");
}

/**
 * What the CHECK of an original says of what its own ADD made: that of 1.1.1 does not find a route without a next hop
 * (plugins#886), both find no route of another table, and want a route for an address that is a network of its own; those of
 * ipvlan want the name of a master, also if their ADD took that of the default route.
 */
export function isKnownDefect(original: Original, { code, document }: Answer): boolean {
  if (code !== 1) return false;
  return original === "cni-1.1.1" && /GW:<nil>\} not found in routing table/.test(document.msg) ||
    /Table:100 Scope:\S+ not found in routing table|Failed to find Gateway <nil>|failed to lookup master ""/
      .test(document.msg);
}

/** What 1.9.1 does and 1.1.1 did not yet: the length of the queue, and two parameters of IPv6. */
export function asBefore(original: Original, state: unknown): unknown {
  if (original !== "cni-1.1.1") return state;
  const text = JSON.stringify(state).replaceAll(/"txqlen":1000,?/g, "");
  return JSON.parse(text.replaceAll(/((?:ndisc_notify|keep_addr_on_down):)[01]/g, "$1"));
}

/** Registers one test for each configuration and each original. */
export function conformance(
  type: string,
  cases: Readonly<Record<string, LinkCase>>,
  kind: LinkKind,
): void {
  const ours: Caller = (call) => callBuiltin(type, call);
  for (const [name, each] of Object.entries(cases)) {
    for (const needs of each.originals ?? ["cni-1.1.1", "cni-1.9.1"] as const) {
      const original: Caller = (call) => callBinary(FOLDERS[needs], type, call);
      Deno.test({
        name:
          `${type}: ${name}: what the built-in one and that of ${needs} make is the same, and each checks and removes it`,
        ...needLinks([kind], needs),
        fn: inMasterWorld((world) => compare(world, { type, each, needs, ours, original })),
      });
    }
  }
}

async function compare(
  world: MasterWorld,
  { type, each, needs, ours, original }: {
    readonly type: string;
    readonly each: LinkCase;
    readonly needs: Original;
    readonly ours: Caller;
    readonly original: Caller;
  },
): Promise<void> {
  if (each.onHost !== undefined) await sh(`MASTER=${world.master}; ${each.onHost}`);
  const seen: unknown[] = [];
  for (const [at, add, other] of [["a", ours, original], ["b", original, ours]] as const) {
    const call = callOf(type, world, each, at, await world.pod(at));
    if (each.inPod !== undefined) await sh(each.inPod, call.netns);
    const answer = await add({ ...call, verb: "ADD" });
    resultOf(answer);
    seen.push({ result: resultState(answer), state: asBefore(needs, await stateOf(call, world)) });
    const config = { ...call.config, prevResult: answer.document };
    for (const caller of [add, other]) {
      const checked = await caller({ ...call, config, verb: "CHECK" });
      if (caller !== original || !isKnownDefect(needs, checked)) assertDone(checked);
    }
    assertDone(await other({ ...call, config, verb: "DEL" }));
    await assertNothingLeft(call);
    for (const caller of [add, other]) assertDone(await caller({ ...call, config, verb: "DEL" }));
  }
  assertEquals(seen[0], seen[1]);
}
