import type { NetworkAnswer, StatusReason } from "./status.ts";

/** Whether a network is ready by the answers of its plugins alone, without any grace. */
export interface ReadyCondition {
  readonly ready: boolean;
  readonly reason: StatusReason | undefined;
  /** Since when it has this readiness and reason, ISO 8601. */
  readonly since: string;
  /** When it stopped being ready, ISO 8601; undefined while it is ready, and if it never was. */
  readonly lastTransition: string | undefined;
}

/**
 * Returns the condition after an answer: the same object if nothing has changed. If `since` is in the future, the clock was
 * set back; then now is used.
 */
export function conditionAfter(
  before: ReadyCondition | undefined,
  { ready, reason }: Pick<NetworkAnswer, "ready" | "reason">,
  date: Date,
): ReadyCondition {
  const since = date.toISOString();
  if (before !== undefined && before.ready === ready && before.reason === reason) {
    return Date.parse(before.since) > date.getTime() ? { ...before, since } : before;
  }
  const lastTransition = ready ? undefined : before?.ready ? since : before?.lastTransition;
  return { ready, reason, since, lastTransition };
}

/**
 * Returns until when a network that fails counts as ready, ISO 8601. It uses the time of day alone, because the processes
 * have no other clock in common. If the transition is in the future, the clock was set back: then no grace is left.
 */
export function graceOf({ lastTransition }: ReadyCondition, graceMs: number, date: Date): string | undefined {
  if (lastTransition === undefined) return undefined;
  const elapsed = date.getTime() - Date.parse(lastTransition);
  return elapsed >= 0 && elapsed < graceMs
    ? new Date(Date.parse(lastTransition) + graceMs).toISOString()
    : undefined;
}
