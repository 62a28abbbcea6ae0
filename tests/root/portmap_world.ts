/** Pods with ports on the machine of the tests, for the plugin portmap and its original. */
import type { JsonObject } from "../../lib/cni/json.ts";
import { runCommand } from "../../lib/host/command.ts";
import { type Answer, assertDone, type Call, callBinary, callBuiltin } from "./builtin_call.ts";
import { sh, type World } from "./builtin_world.ts";
import { CNI_1_1_1, CNI_1_9_1, type Component } from "./need.ts";

/** Calls the plugin portmap of one origin. */
export type Caller = (call: Call) => Promise<Answer>;

/** The built-in plugin. */
export const OURS: Caller = (call) => callBuiltin("portmap", call);

/** The same one, as without the permission to call the C library: it starts programs for all that it does. */
export const THROUGH_PROGRAMS: Caller = (call) =>
  callBuiltin("portmap", call, (request) => runCommand(request));

/** The originals, with what a test needs for them. */
export const ORIGINALS: readonly (readonly [needs: Component, call: Caller])[] = [
  ["cni-1.1.1", (call) => callBinary(CNI_1_1_1, "portmap", call)],
  ["cni-1.9.1", (call) => callBinary(CNI_1_9_1, "portmap", call)],
];

/** Which addresses a pod has. */
export type Families = readonly (4 | 6)[];

/** Returns a call of portmap for a pod, which does not have to be there: no release looks into its namespace. */
export function callOf(
  world: World,
  netns: string,
  config: JsonObject,
  families: Families = [4, 6],
): Omit<Call, "verb"> {
  const ips = [
    ...families.includes(4) ? [{ address: `${world.subnet4}.7/24`, interface: 1 }] : [],
    ...families.includes(6) ? [{ address: `${world.subnet6}::7/64`, interface: 1 }] : [],
  ];
  return {
    ...{ containerId: `c-${world.tag}`, netns, ifName: "eth0" },
    config: {
      cniVersion: "1.0.0",
      name: `net-${world.tag}`,
      type: "portmap",
      ...config,
      prevResult: {
        cniVersion: "1.0.0",
        interfaces: [{ name: "veth0" }, { name: "eth0", sandbox: netns }],
        ips,
        dns: {},
      },
    },
  };
}

/** The lines of the tables `nat` that mention a name of this world, and those that all containers share, in their order. */
export async function natRules(chain: string, ...names: readonly string[]): Promise<readonly string[]> {
  const text = await sh("for each in iptables ip6tables; do echo $each; $each -w -t nat -S; done");
  return text.split("\n").filter((line) =>
    [chain, "CNI-HOSTPORT", ...names].some((name) => line.includes(name)) || /^ip6?tables$/.test(line)
  ).filter((line) => !line.includes(" CNI-DN-") || line.includes(chain));
}

/** The rules of nftables with that comment, by family and chain. */
export async function nftRules(containerId: string): Promise<readonly string[]> {
  const rules: string[] = [];
  for (const family of ["ip", "ip6"]) {
    const text = await sh(`nft list table ${family} cni_hostport 2>/dev/null || :`);
    let chain = "";
    for (const line of text.split("\n").map((line) => line.trim())) {
      if (line.startsWith("chain ")) chain = line.split(" ")[1] ?? "";
      if (line.includes(`comment "${containerId}"`)) rules.push(`${family} ${chain}: ${line}`);
    }
  }
  return rules;
}

/** Everything that is left of a container anywhere in the rules. */
export async function leftOf(world: World, chain: string): Promise<readonly string[]> {
  const text = await sh("iptables-save -t nat; ip6tables-save -t nat; nft list ruleset 2>/dev/null || :");
  return text.split("\n").filter((line) => line.includes(world.tag) || line.includes(chain));
}

/** Makes a pod on the bridge of a world, with addresses that end with that number; returns its namespace and the result. */
export async function bridgePod(
  world: World,
  name: string,
  last: number,
  more: JsonObject = {},
): Promise<{ readonly netns: string; readonly result: JsonObject }> {
  const netns = await world.netns(name);
  const config = {
    cniVersion: "1.0.0",
    name: `net-${world.tag}`,
    type: "bridge",
    bridge: world.bridge,
    isDefaultGateway: true,
    ipam: {
      type: "static",
      addresses: [
        { address: `${world.subnet4}.${last}/24`, gateway: `${world.subnet4}.1` },
        { address: `${world.subnet6}::${last}/64`, gateway: `${world.subnet6}::1` },
      ],
    },
    ...more,
  };
  const answer = await callBuiltin("bridge", {
    verb: "ADD",
    containerId: `${name}-${world.tag}`,
    netns,
    ifName: "eth0",
    config,
  });
  assertDone(answer);
  return { netns, result: answer.document };
}

/** A namespace beyond this machine, with a route to it; addresses `.2` there, `.1` here. */
export async function outside(
  world: World,
): Promise<{ readonly netns: string; readonly v4: string; readonly v6: string }> {
  const netns = await world.netns("out");
  const [a, b] = [Number.parseInt(world.tag.slice(0, 2), 16), Number.parseInt(world.tag.slice(2, 4), 16)];
  const [v4, v6] = [`172.${16 + a % 16}.${b}`, `fd01:${(0x1000 + a * 16 + b % 16).toString(16)}::`];
  const name = `o${world.tag}`;
  await sh(
    `ip link add ${name} type veth peer name eth0 netns ${netns.slice("/run/netns/".length)} &&
    ip addr add ${v4}.1/24 dev ${name} && ip addr add ${v4}.9/24 dev ${name} &&
    ip addr add ${v6}1/64 dev ${name} nodad && ip link set ${name} up`,
  );
  await sh(
    `ip addr add ${v4}.2/24 dev eth0 && ip addr add ${v6}2/64 dev eth0 nodad && ip link set eth0 up &&
    ip route add ${world.subnet4}.0/24 via ${v4}.1`,
    netns,
  );
  return { netns, v4, v6 };
}

/** Returns a call of portmap for a pod of {@linkcode bridgePod}. */
export function portmapOf(
  world: World,
  name: string,
  pod: { netns: string; result: JsonObject },
  config: JsonObject,
): Omit<Call, "verb"> {
  return {
    containerId: `${name}-${world.tag}`,
    netns: pod.netns,
    config: {
      ...{ cniVersion: "1.0.0", name: `net-${world.tag}`, type: "portmap" },
      ...config,
      prevResult: pod.result,
    },
  };
}
