import type { CniError } from "../cni/error.ts";
import type { PluginCall } from "./call.ts";

/** One plugin of one attachment that made rules, with the configuration that its CHECK would get. */
export type RuleOwner = Pick<PluginCall, "type" | "config" | "containerId" | "netns" | "ifName" | "args">;

/** What became of the rules of one plugin of one attachment. */
export interface RepairedRules {
  /** What was missing, as a CHECK says it; it is back unless there is an error or nothing was to be changed. */
  readonly missing: readonly string[];
  readonly error: CniError | undefined;
}

/** How rules are repaired. */
export interface RepairRulesOptions {
  /** Whether nothing is changed. @default {false} */
  readonly dryRun?: boolean | undefined;
  /** Whether the host is made to forward packets again, which concerns more than the rules of podwire. @default {false} */
  readonly forwarding?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The rules that the built-in plugins make, and how they are put back. */
export interface RuleKeeper {
  /** Whether the built-in plugin of a type makes rules. */
  makesRules(type: string): boolean;
  /**
   * Puts back the missing rules, in the order of the owners; writes nothing if none is missing. The caller holds the locks of the
   * containers, unless nothing is to be changed.
   */
  repairRules(owners: readonly RuleOwner[], options: RepairRulesOptions): Promise<readonly RepairedRules[]>;
}
