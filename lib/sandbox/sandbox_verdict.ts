import type { ProcessState } from "../host/process.ts";
import type { ContainerEnd } from "./container_end.ts";
import type { SandboxContext } from "./context.ts";
import { isInTransition, type SandboxRecord, type TransitionPhase } from "./record.ts";
import { infraProblem } from "./problem.ts";

const INTERRUPTED: Readonly<Record<TransitionPhase, string>> = {
  creating: "its run was interrupted",
  stopping: "its stop was interrupted",
  removing: "its removal was interrupted",
};

/**
 * Returns why a sandbox has to be torn down; undefined if it does not have to. The caller holds the container's lock, or only
 * finds out which sandboxes are in order.
 */
export async function sandboxVerdict(
  sandbox: SandboxRecord,
  end: ContainerEnd | undefined,
  context: Pick<SandboxContext, "attachments" | "locks" | "run">,
  processes?: ReadonlyMap<number, ProcessState>,
): Promise<string | undefined> {
  const { phase, bootId, reason, pool } = sandbox;
  if (isInTransition(phase)) return INTERRUPTED[phase];
  if (phase === "ready" && bootId !== await context.attachments.boot()) return "the machine was restarted";
  if (pool !== undefined && !await context.locks.pools.isHeld(pool)) {
    return "the process that kept it ready for others is gone";
  }
  if (end?.isOver) return end.why;
  if (phase === "ready") return await infraProblem(sandbox, context, processes);
  return reason === undefined ? undefined : "its stop had failed";
}
