/** What a case of the reference plugins consists of, and the vocabulary in which cases are written. */
import { assert } from "@std/assert";
import type { AttachRequest } from "../../lib/attachment/attachments.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import type { Result } from "../../lib/cni/result.ts";
import type { SpecVersion } from "../../lib/cni/version.ts";
import type { Feature } from "./plugins_kernel.ts";
import type { PluginWorld, Release } from "./plugins_world.ts";

/** A change to an attachment from outside, and the plugin that must notice it. */
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
  /** Runs in pod and node before the ADD. */
  readonly prepare?: (world: PluginWorld) => Promise<unknown>;
  /** Beside the result, which every case compares with the kernel. */
  readonly effect?: (world: PluginWorld, result: Result) => Promise<void>;
  readonly damages: readonly Damage[];
  /** Instead of only the newest of each release and one of the older ones. @default {false} */
  readonly allVersions?: boolean;
  /**
   * Where these plugins deviate from the specification, so that no runtime can follow it, in their own
   * messages.
   */
  readonly defects?: Partial<Record<Release, Defects>>;
  /** What their DEL no longer finds when the interface is gone, or its addresses. */
  readonly leaks?: RegExp;
}

export interface Defects {
  /** CHECK fails although nothing is wrong. */
  readonly check?: RegExp;
  /** DEL does its work and fails; the next one succeeds. */
  readonly del?: RegExp;
  /** DEL of what is gone already fails. */
  readonly delAgain?: RegExp;
  /** DEL without a namespace fails, and blocks the plugins before it in the chain. */
  readonly delGone?: RegExp;
}

export const MAC = "02:11:22:33:44:55";
export const RATE = {
  ingressRate: 8_000_000,
  ingressBurst: 800_000,
  egressRate: 4_000_000,
  egressBurst: 400_000,
};
export const PORTS = [{ hostPort: 18080, containerPort: 80, protocol: "tcp" }];
export const SHAPED = { capabilityArgs: { portMappings: PORTS, bandwidth: RATE } };

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

export const PORTMAP = { type: "portmap", capabilities: { portMappings: true } };
export const FIREWALL = { type: "firewall" };
export const BANDWIDTH = { type: "bandwidth", capabilities: { bandwidth: true } };

export function tuning(world: PluginWorld, more: JsonObject = {}): JsonObject {
  return { type: "tuning", dataDir: world.tuningDir, ...more };
}

export const LINK_GONE = (noticedBy: string): Damage => ({ script: "ip link delete dev eth0", noticedBy });
export const ADDRESS_GONE = (noticedBy: string): Damage => ({
  script: "ip addr flush dev eth0 scope global",
  noticedBy,
});
export const IPTABLES: readonly Feature[] = ["iptables"];

/** They ask the interface for the addresses that they masqueraded. */
export const MASQUERADING = /CNI-[0-9a-f]{24}/;
/** They restore the link, and only then drop its settings. */
export const TUNING_LEAK = /^file: tuning\//;

export const everywhere = (defects: Defects) => ({ "1.1.1": defects, "1.9.1": defects });

export async function has(world: PluginWorld, pattern: RegExp): Promise<void> {
  const rules = await world.rules();
  assert(rules.some((line) => pattern.test(line)), `no rule ${pattern} in\n${rules.join("\n")}`);
}
