import type { CallOptions } from "../async/call_options.ts";
import { type Clock, systemClock } from "../async/clock.ts";
import { Semaphore } from "../async/semaphore.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { conditionAfter, graceOf, type ReadyCondition } from "./condition.ts";
import type { ReadinessMemory } from "./memory.ts";
import type { NetworkAnswer, NetworkStatus } from "./status.ts";
import { statusOf, type StatusTarget } from "./status_target.ts";

/** Asks the plugins of a network. */
export type ProbeNetwork = (
  list: NetworkConfigList,
  signal: AbortSignal | undefined,
) => Promise<NetworkAnswer>;

/** Options of a status check. */
export interface StatusOptions extends CallOptions {
  /**
   * How long a network that was ready and fails still counts as ready, in milliseconds, if it is remembered that it
   * was. @default {0}
   */
  readonly graceMs?: number | undefined;
}

/** Options of {@linkcode checkStatus}. */
export interface StatusCheckOptions extends StatusOptions {
  readonly ask: ProbeNetwork;
  readonly memory: ReadinessMemory;
  /** Whether the targets are all that exist. */
  readonly all: boolean;
  /** @default {systemClock} */
  readonly clock?: Clock | undefined;
}

/** Number of networks that are asked at the same time: each is at least one process, and one that hangs keeps its slot. */
export const MAX_CONCURRENT_PROBES = 16;

/** Asks all targets now, and remembers their conditions. */
export async function checkStatus(
  targets: readonly StatusTarget[],
  options: StatusCheckOptions,
): Promise<readonly NetworkStatus[]> {
  const { memory, all, graceMs = 0, clock = systemClock } = options;
  const answers = await allAnswers(targets, options);
  const before = await memory.read();
  const date = clock.date();
  const conditions = new Map<string, ReadyCondition>();
  for (const [index, { key }] of targets.entries()) {
    const answer = answers[index];
    if (answer !== undefined) conditions.set(key, conditionAfter(before.get(key), answer, date));
  }
  const isOnDisk = await memory.write({ conditions, all });
  return targets.flatMap((target, index) => {
    const [answer, condition] = [answers[index], conditions.get(target.key)];
    if (answer === undefined || condition === undefined) return [];
    // If it is not on disk, the next call starts again: then its beginning is unknown.
    if (!isOnDisk && condition !== before.get(target.key)) {
      return [statusOf(target, answer, { since: undefined, graceUntil: undefined })];
    }
    const graceUntil = graceOf(condition, graceMs, date);
    return [statusOf(target, answer, { since: condition.since, graceUntil })];
  });
}

async function allAnswers(
  targets: readonly StatusTarget[],
  { ask, signal }: StatusCheckOptions,
): Promise<readonly NetworkAnswer[]> {
  const semaphore = new Semaphore(MAX_CONCURRENT_PROBES);
  const stop = new AbortController();
  const either = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  const answers = targets.map(async (target) => {
    if (target.list === undefined) return target.answer;
    using _slot = await semaphore.acquire(either);
    return await ask(target.list, either);
  });
  try {
    return await Promise.all(answers);
  } catch (error) {
    // The error concerns all networks, and no plugin may outlive the call.
    stop.abort(error);
    await Promise.allSettled(answers);
    throw error;
  }
}
