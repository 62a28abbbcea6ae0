import { once } from "../async/once.ts";
import type { LostRules } from "../attachment/rule_repair.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { ProbeNetwork } from "./status_check.ts";

/** Returns what the status of a network says of its attachments that are not as their ADD left them. */
export function driftWarnings(network: string, lost: readonly LostRules[]): readonly string[] {
  const own = lost.filter((one) => one.network === network && one.missing.length > 0);
  const [first] = own;
  if (first === undefined) return [];
  const { containerId, ifName, missing: [what = ""] } = first;
  const count = own.length === 1 ? "an attachment has" : `${own.length} attachments have`;
  return [
    `${count} drifted (${containerId}:${ifName}: ${what}): podwire repair puts back what rules are lost`,
  ];
}

/**
 * Asks networks, and adds {@linkcode driftWarnings}; `find` is called once for all networks. A caller that may not look at the
 * rules gets the answers without these warnings.
 */
export function withDriftWarnings(
  ask: ProbeNetwork,
  find: () => Promise<readonly LostRules[]>,
): ProbeNetwork {
  const lost = once(() =>
    find().catch((error: unknown) => {
      if (asCniError(error).kind !== "permission") throw error;
      return [];
    })
  );
  return async (list, signal) => {
    const answer = await ask(list, signal);
    return { ...answer, warnings: [...answer.warnings ?? [], ...driftWarnings(list.name, await lost())] };
  };
}
