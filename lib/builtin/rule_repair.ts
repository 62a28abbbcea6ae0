import type { RepairRulesOptions } from "../plugin/rule_owner.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import type { Host } from "./host.ts";
import type { RuleBatch } from "./rule_batch.ts";

/** A host with the batch that takes the changes. */
export interface BatchHost extends Host {
  readonly batch: RuleBatch;
}

/** What is put back beside rules. */
export type RuleRepairOptions = Pick<RepairRulesOptions, "forwarding">;

/**
 * Puts back the rules of an attachment, from its result and its configuration, as far as they are missing; nothing in the
 * namespace of the container is touched. Returns what was missing, as a CHECK says it.
 *
 * @throws {CniError} If that cannot be found out.
 */
export type RepairRules = (
  request: PluginRequest,
  host: BatchHost,
  options: RuleRepairOptions,
) => Promise<readonly string[]>;
