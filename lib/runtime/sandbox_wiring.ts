import type { RuleRepair } from "../attachment/rule_repair.ts";
import type { Catalog } from "../catalog/catalog.ts";
import type { Instrumentation } from "../plugin/instrumentation.ts";
import type { SandboxContext } from "../sandbox/context.ts";
import { SandboxCreator } from "../sandbox/create.ts";
import { DamagedSandboxes } from "../sandbox/damaged_sandboxes.ts";
import { Orphans } from "../sandbox/orphans.ts";
import { Recovery, type RecoveryContext } from "../sandbox/recovery.ts";
import { Repair } from "../sandbox/repair.ts";
import { Sandboxes } from "../sandbox/sandbox.ts";

/** The dependencies of {@linkcode wireSandboxes}. */
export interface SandboxWiring extends SandboxContext, Omit<RecoveryContext, "orphans" | "damagedSandboxes"> {
  readonly instrumentation: Instrumentation;
  readonly catalog: (signal?: AbortSignal) => Promise<Catalog>;
  readonly rules: RuleRepair;
}

/** Creates each collaborator of the sandboxes once. */
export function wireSandboxes(context: SandboxWiring) {
  const damagedSandboxes = new DamagedSandboxes(context);
  const orphans = new Orphans({ ...context, damagedSandboxes });
  const recovery = new Recovery({ ...context, orphans, damagedSandboxes });
  const creator = new SandboxCreator(context);
  const repair = new Repair({ ...context, damagedSandboxes });
  const sandboxes = new Sandboxes({ ...context, creator, damagedSandboxes, recovery, repair });
  return { sandboxes, creator, damagedSandboxes, orphans, recovery };
}
