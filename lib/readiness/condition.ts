import type { NetworkAnswer, StatusReason } from "./status.ts";

/** How a network stands by the answers of its plugins, whatever grace it is given. */
export interface ReadyCondition {
  readonly ready: boolean;
  readonly reason: StatusReason | undefined;
  /** When it began to stand so, ISO 8601. */
  readonly since: string;
  /** When it ceased to be ready, ISO 8601; nothing while it is, and of one that never was. */
  readonly lastTransition: string | undefined;
}

/**
 * How it stands after that answer: the same object if that is nothing new. Nothing has been so since a moment to come:
 * the clock was set back.
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
 * Until when a network that fails counts as ready, ISO 8601, by the time of day alone: for processes that have nothing
 * else in common. A lapse that lies in the future is one before the clock was set back: it has no grace left.
 */
export function graceOf({ lastTransition }: ReadyCondition, graceMs: number, date: Date): string | undefined {
  if (lastTransition === undefined) return undefined;
  const elapsed = date.getTime() - Date.parse(lastTransition);
  return elapsed >= 0 && elapsed < graceMs
    ? new Date(Date.parse(lastTransition) + graceMs).toISOString()
    : undefined;
}
