import type { CallOptions } from "../async/call_options.ts";
import { type Clock, systemClock } from "../async/clock.ts";
import type { NetworkAnswer, NetworkStatus } from "./status.ts";
import { Semaphore } from "../async/semaphore.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import type { ReadinessMemory } from "./memory.ts";
import { conditionAfter, graceOf, type ReadyCondition } from "./condition.ts";
import { statusOf, type StatusTarget } from "./status_target.ts";

/** Asks the plugins of a network. */
export type ProbeNetwork = (
  list: NetworkConfigList,
  signal: AbortSignal | undefined,
) => Promise<NetworkAnswer>;

/** How the status of networks is asked for. */
export interface StatusOptions extends CallOptions {
  /**
   * How long a network that was ready and fails still counts as ready, in milliseconds, if it is remembered that it
   * was. @default {0}
   */
  readonly graceMs?: number | undefined;
}

/** How {@linkcode checkStatus} asks. */
export interface StatusCheckOptions extends StatusOptions {
  readonly ask: ProbeNetwork;
  readonly memory: ReadinessMemory;
  /** Whether there are no others beside these. */
  readonly all: boolean;
  /** @default {systemClock} */
  readonly clock?: Clock | undefined;
}

/** How many networks are asked at the same time: each is a process or more, and one that hangs keeps its place. */
export const ASKED_AT_ONCE = 16;

/** Asks all of these now, and remembers how they stand. */
export async function checkStatus(
  subjects: readonly StatusTarget[],
  options: StatusCheckOptions,
): Promise<readonly NetworkStatus[]> {
  const { memory, all, graceMs = 0, clock = systemClock } = options;
  const answers = await allAnswers(subjects, options);
  const before = await memory.read();
  const date = clock.date();
  const standings = new Map<string, ReadyCondition>();
  for (const [index, { key }] of subjects.entries()) {
    const answer = answers[index];
    if (answer !== undefined) standings.set(key, conditionAfter(before.get(key), answer, date));
  }
  const isKept = await memory.write({ standings, all });
  return subjects.flatMap((subject, index) => {
    const [answer, standing] = [answers[index], standings.get(subject.key)];
    if (answer === undefined || standing === undefined) return [];
    // What nobody will remember began at every call anew.
    if (!isKept && standing !== before.get(subject.key)) {
      return [statusOf(subject, answer, { since: undefined, graceUntil: undefined })];
    }
    const graceUntil = graceOf(standing, graceMs, date);
    return [statusOf(subject, answer, { since: standing.since, graceUntil })];
  });
}

async function allAnswers(
  subjects: readonly StatusTarget[],
  { ask, signal }: StatusCheckOptions,
): Promise<readonly NetworkAnswer[]> {
  const slots = new Semaphore(ASKED_AT_ONCE);
  const stop = new AbortController();
  const either = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  const answers = subjects.map(async (subject) => {
    if (subject.list === undefined) return subject.answer;
    using _slot = await slots.take(either);
    return await ask(subject.list, either);
  });
  try {
    return await Promise.all(answers);
  } catch (error) {
    // What was thrown concerns them all; no plugin may outlive the call.
    stop.abort(error);
    await Promise.allSettled(answers);
    throw error;
  }
}
