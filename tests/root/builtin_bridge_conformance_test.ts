// The built-in bridge against the originals: the same result and the same state of the kernel for the same configuration.
import { assertEquals } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { type Answer, assertDone, type Call, callBinary, callBuiltin, resultOf } from "./builtin_call.ts";
import { inWorld, masqueradeRules, sh, type World } from "./builtin_world.ts";
import {
  answersIn,
  asBefore,
  entriesIn,
  FOLDERS,
  isKnownDefect,
  type Original,
  settled,
  steady,
} from "./link_conformance.ts";
import { need } from "./need.ts";

type Caller = (call: Call) => Promise<Answer>;

/** One configuration. */
interface Case {
  /** Without the version, the name, the type and the bridge. */
  readonly config: (world: World) => JsonObject;
  readonly args?: string;
  /** @default {"1.0.0"} */
  readonly version?: string;
  /** Run on the host before, with `$BRIDGE`. */
  readonly onHost?: (world: World) => string;
  /** @default {both} */
  readonly originals?: readonly Original[];
  /** @default {"eth0"} */
  readonly ifName?: string;
  /** The original asks for addresses in its CHECK where there is no IPAM plugin, and finds none. */
  readonly isLayer2?: boolean;
}

const NEWEST = ["cni-1.9.1"] as const;
const MAC = "02:00:00:00:00:aa";
const OTHER_MAC = "02:00:00:00:00:bb";

const V4 = ({ subnet4 }: World) => ({ address: `${subnet4}.7/24`, gateway: `${subnet4}.1` });
const V6 = ({ subnet6 }: World) => ({ address: `${subnet6}::7/64`, gateway: `${subnet6}::1` });

function ipam(addresses: readonly JsonObject[], more: JsonObject = {}): JsonObject {
  return { ipam: { type: "static", addresses, ...more } };
}

/** A case with an IPv4 address. */
const withV4 = (more: JsonObject, rest: Partial<Case> = {}): Case => ({
  config: (world) => ({ ...ipam([V4(world)]), ...more }),
  ...rest,
});

/** A case with addresses of both families. */
const withBoth = (more: JsonObject, rest: Partial<Case> = {}): Case => ({
  config: (world) => ({ ...ipam([V4(world), V6(world)]), ...more }),
  ...rest,
});

/** A case without addresses. */
const layer2 = (more: JsonObject, rest: Partial<Case> = {}): Case => ({
  config: () => more,
  isLayer2: true,
  ...rest,
});

const DNS = {
  nameservers: ["10.0.0.10"],
  domain: "example.net",
  search: ["example.net"],
  options: ["ndots:5"],
};
const THERE = (...more: readonly string[]) =>
  ["ip link add $BRIDGE type bridge", "ip link set $BRIDGE up", ...more].join(" && ");

const CASES: Readonly<Record<string, Case>> = {
  "the defaults": withV4({}),
  "the defaults, both families": withBoth({}),
  "a gateway": withV4({ isGateway: true }),
  "a gateway of both families": withBoth({ isGateway: true }),
  "a default gateway": withV4({ isDefaultGateway: true }),
  "a default gateway of IPv6": { config: (world) => ({ ...ipam([V6(world)]), isDefaultGateway: true }) },
  "a default gateway of both families": withBoth({ isDefaultGateway: true }),
  "a gateway that the IPAM plugin does not name": {
    config: ({ subnet4 }) => ({ ...ipam([{ address: `${subnet4}.7/24` }]), isGateway: true }),
  },
  "masquerading": withBoth({ isGateway: true, ipMasq: true }),
  "masquerading by iptables": withBoth({ isGateway: true, ipMasq: true, ipMasqBackend: "iptables" }, {
    originals: NEWEST,
  }),
  "masquerading by nftables": withBoth({ isGateway: true, ipMasq: true, ipMasqBackend: "nftables" }, {
    originals: NEWEST,
  }),
  "an MTU": withV4({ isGateway: true, mtu: 1400 }),
  "an MTU of 0, which is none": withV4({ mtu: 0 }),
  "the smallest MTU of IPv6": { config: (world) => ({ ...ipam([V6(world)]), mtu: 1280 }) },
  "hairpin mode": withV4({ hairpinMode: true }),
  "promiscuous": withV4({ isGateway: true, promiscMode: true }),
  "isolated ports": withV4({ portIsolation: true }, { originals: NEWEST }),
  "a MAC address of CNI_ARGS": withV4({}, { args: `IgnoreUnknown=1;MAC=${MAC}` }),
  "a MAC address of the runtime, which wins over CNI_ARGS": withV4({ runtimeConfig: { mac: OTHER_MAC } }, {
    args: `IgnoreUnknown=1;MAC=${MAC}`,
  }),
  "a MAC address of args": withV4({ args: { cni: { mac: MAC } } }, { originals: NEWEST }),
  "unknown CNI_ARGS that are to be ignored": withV4({}, { args: "IgnoreUnknown=1;K8S_POD_NAME=web" }),
  "no addresses": layer2({}),
  "an empty ipam": layer2({ ipam: {} }),
  "no addresses, and a MAC address of the runtime": layer2({ runtimeConfig: { mac: MAC } }),
  "no addresses, and an interface that stays down": layer2({ disableContainerInterface: true }, {
    originals: NEWEST,
  }),
  "duplicates are searched for": withBoth({ isGateway: true, enabledad: true }, { originals: NEWEST }),
  "a route by another next hop": {
    config: (world) =>
      ipam([V4(world)], {
        routes: [{ dst: "10.99.0.0/16", gw: `${world.subnet4}.9` }, { dst: "10.98.0.0/16" }],
      }),
  },
  "two addresses of IPv6": {
    config: (world) => ({
      ...ipam([V6(world), { address: "fd99::7/64", gateway: "fd99::1" }]),
      isGateway: true,
    }),
  },
  "DNS of the plugin, which wins over that of the IPAM plugin": {
    config: (world) => ({ ...ipam([V4(world)], { dns: { nameservers: ["10.0.0.11"] } }), dns: DNS }),
  },
  "DNS of the IPAM plugin": { config: (world) => ipam([V4(world)], { dns: DNS }), originals: NEWEST },
  "addresses by host-local": {
    config: ({ subnet4, subnet6, dir }) => ({
      isDefaultGateway: true,
      ipam: {
        ...{ type: "host-local", dataDir: dir, routes: [{ dst: "10.97.0.0/16" }] },
        ranges: [[{ subnet: `${subnet4}.0/24` }], [{ subnet: `${subnet6}::/64` }]],
      },
    }),
  },
  "addresses of the runtime": {
    config: ({ subnet4 }) => ({
      isGateway: true,
      ...{ ipam: { type: "static" }, runtimeConfig: { ips: [`${subnet4}.77/24`] } },
    }),
  },
  "a bridge that is there, with another MTU": withV4({ isGateway: true }, {
    onHost: () => THERE("ip link set $BRIDGE mtu 1400"),
  }),
  "a bridge that is there, with the address": withV4({ isGateway: true }, {
    onHost: ({ subnet4 }) => THERE(`ip addr add ${subnet4}.1/24 dev $BRIDGE`),
  }),
  "a bridge with another address, which is replaced": withV4({ isGateway: true, forceAddress: true }, {
    onHost: () => THERE("ip addr add 10.198.0.1/24 dev $BRIDGE"),
  }),
  "an interface with another name": withBoth({ isDefaultGateway: true }, { ifName: "net1" }),
  "version 0.3.1": withBoth({ isDefaultGateway: true }, { version: "0.3.1" }),
  "version 0.4.0": withBoth({ isDefaultGateway: true }, { version: "0.4.0" }),
  "version 1.1.0": withBoth({ isDefaultGateway: true }, { version: "1.1.0", originals: NEWEST }),
};

function callOf(world: World, { config, args, version, ifName }: Case, netns: string): Omit<Call, "verb"> {
  return {
    ...{ containerId: `c-${world.tag}`, netns, ifName: ifName ?? "eth0" },
    ...(args === undefined ? {} : { args }),
    config: {
      ...{ cniVersion: version ?? "1.0.0", name: `net-${world.tag}`, type: "bridge", bridge: world.bridge },
      ...config(world),
    },
  };
}

/** Replaces names and addresses of the link layer that chance decides. */
function withoutChance(text: string, world: World): string {
  return text.replaceAll(/(?:[0-9a-f]{2}:){5}[0-9a-f]{2}/g, (mac) => {
    return [MAC, OTHER_MAC, "ff:ff:ff:ff:ff:ff"].includes(mac) ? mac : "RANDOM";
  }).replaceAll(/veth[0-9a-f]+/g, "VETH").replaceAll(/pwt-[0-9a-f]+-[a-z]+/g, "NETNS")
    .replaceAll(world.bridge, "BRIDGE");
}

async function stateOf({ netns = "", ifName = "", containerId = "" }: Omit<Call, "verb">, world: World) {
  await settled(netns, ifName);
  const [links, routes, routes6, neighbours, rules, sysctls = ""] = await answersIn(netns, ifName);
  const port = (await sh(`ip -br link show master ${world.bridge}`)).split("@")[0] ?? "";
  const outside = (await sh(
    `for dev in ${world.bridge} ${port}; do ip -d -j address show dev $dev; echo; done; echo %%
    ip -d -j -4 route show dev ${world.bridge}; echo; ip -d -j -6 route show dev ${world.bridge}; echo; echo %%
    cat /proc/sys/net/ipv6/conf/${port}/accept_ra`,
  )).split("%%\n");
  const lists = (text = "") => text.trim().split("\n").flatMap((line) => entriesIn(line));
  const state = {
    // The other end of a pair has a number of its own each time.
    links: entriesIn(links).map((link) => ({ ...link as JsonObject, link_index: undefined })),
    routes: entriesIn(routes),
    routes6: entriesIn(routes6),
    neighbours: entriesIn(neighbours),
    rules,
    sysctls: sysctls.split("\n").map(advertised).sort(),
    outside: lists(outside[0]).map(ofHost),
    routesOutside: lists(outside[1]),
    host: outside[2],
    masquerade: (await masqueradeRules(containerId)).sort(),
  };
  return steady(JSON.parse(withoutChance(JSON.stringify(state), world)));
}

/** That an interface with addresses takes none of routers is a difference that the documentation lists. */
function advertised(line: string): string {
  return line.replace(/(?<=\/accept_ra:)0$/, "1");
}

/**
 * A link of the host without what depends on time, and without the length of a queue that it does not have: for the end on the
 * host that is a difference that the documentation lists.
 */
function ofHost(shown: unknown): unknown {
  const isUnsteady = (key: string) =>
    /_timer$|_id$|^designated_|^topology_change|^(?:state|no|port|txqlen)$/.test(key);
  return JSON.parse(JSON.stringify(shown), (key, value) => isUnsteady(key) ? undefined : value);
}

for (const [name, each] of Object.entries(CASES)) {
  for (const needs of each.originals ?? ["cni-1.1.1", "cni-1.9.1"] as const) {
    Deno.test({
      name:
        `bridge: ${name}: what the built-in one and that of ${needs} make is the same, and each checks and removes it`,
      ...need("root", "ip", "nft", "iptables", needs),
      fn: inWorld((world) => compare(world, each, needs)),
    });
  }
}

/** With nftables that of 1.9.1 removes everything, and then says that there is no chain in iptables. */
function isAboutIptables({ code, document }: Answer): boolean {
  return code === 1 && String(document.msg).includes("does not exist");
}

async function compare(world: World, each: Case, needs: Original): Promise<void> {
  const ours: Caller = (call) => callBuiltin("bridge", call);
  const original: Caller = (call) => callBinary(FOLDERS[needs], "bridge", call);
  const seen: unknown[] = [];
  for (const [at, add, other] of [["a", ours, original], ["b", original, ours]] as const) {
    if (each.onHost !== undefined) await sh(`BRIDGE=${world.bridge}; ${each.onHost(world)}`);
    const call = callOf(world, each, await world.netns(at));
    const answer = await add({ ...call, verb: "ADD" });
    resultOf(answer);
    const { dns = {}, ...result } = answer.document;
    const text = withoutChance(JSON.stringify({ ...result, dns }), world);
    seen.push({ result: JSON.parse(text), state: asBefore(needs, await stateOf(call, world)) });
    const config = { ...call.config, prevResult: answer.document };
    const hasCheck = each.version !== "0.3.1";
    for (const caller of hasCheck ? [add, other] : []) {
      const checked = await caller({ ...call, config, verb: "CHECK" });
      if (caller === original && (each.isLayer2 || isKnownDefect(needs, checked))) continue;
      assertDone(checked);
    }
    for (const caller of [other, add]) {
      const removed = await caller({ ...call, config, verb: "DEL" });
      if (caller !== original || !isAboutIptables(removed)) assertDone(removed);
    }
    assertEquals(await sh(`ip -o link show dev ${call.ifName} 2>/dev/null || :`, call.netns), "");
    assertEquals(await masqueradeRules(call.containerId ?? ""), []);
    await sh(`ip link del ${world.bridge}; rm -rf ${world.dir}/net-*`);
  }
  assertEquals(seen[0], seen[1]);
}
