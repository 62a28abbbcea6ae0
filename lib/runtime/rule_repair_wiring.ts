import type { Attachments } from "../attachment/attachments.ts";
import { RuleRepair, type RuleRepairContext } from "../attachment/rule_repair.ts";
import { once } from "../async/once.ts";
import { type RunCommand, runningAs } from "../host/command.ts";
import type { RuleKeeper } from "../plugin/rule_owner.ts";

/** What {@linkcode wireRuleRepair} works with. */
export interface RuleRepairWiring extends Pick<RuleRepairContext, "store" | "locks" | "runner"> {
  readonly attachments: Attachments;
  readonly run: RunCommand;
  /** The search path of programs. */
  readonly path: string;
}

/** Creates what puts back lost rules. */
export function wireRuleRepair(
  { attachments, store, locks, runner, run, path }: RuleRepairWiring,
): RuleRepair {
  return new RuleRepair({
    store,
    locks,
    runner,
    removal: attachments.removal,
    keeper: keepingRules(run, path),
  });
}

/** Loads what puts back the rules of built-in plugins, with the programs that these find. */
function keepingRules(run: RunCommand, PATH: string): () => Promise<RuleKeeper> {
  const withPath = runningAs(
    run,
    (request) => run({ ...request, env: { PATH, LC_ALL: "C", ...request.env } }),
    PATH,
  );
  return once(async () => {
    const { makesRules, repairRules } = await import("../builtin/repair_rules.ts");
    return {
      makesRules,
      repairRules: async (owners, { signal = new AbortController().signal, ...options }) =>
        await repairRules(owners, { run: withPath, signal }, options),
    };
  });
}
