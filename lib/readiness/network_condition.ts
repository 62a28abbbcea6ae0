import type { Clock } from "../async/clock.ts";
import type { CniError } from "../cni/error.ts";
import { conditionAfter, type ReadyCondition } from "./condition.ts";
import type { NetworkAnswer, NetworkStatus } from "./status.ts";
import { statusOf, type StatusTarget } from "./status_target.ts";

/** Options of {@linkcode NetworkCondition}. */
export interface ConditionOptions {
  readonly clock: Clock;
  /** How long a network that was ready and fails still counts as ready, in milliseconds. */
  readonly graceMs: number;
}

/** The last answer of one network, or what is known about an unusable file, and since when it is so. */
export class NetworkCondition {
  readonly #options: ConditionOptions;
  readonly #remembered: ReadyCondition | undefined;
  #target: StatusTarget;
  #answer: NetworkAnswer = PENDING;
  #condition: ReadyCondition;
  /** The end of the grace, by a clock that cannot be set back, and as text. */
  #grace: { readonly end: number; readonly until: string } | undefined;

  /** `remembered` is the condition that an earlier process saw. It gives the time of the transition, but no grace. */
  constructor(target: StatusTarget, options: ConditionOptions, remembered: ReadyCondition | undefined) {
    this.#options = options;
    this.#remembered = remembered;
    this.#target = target;
    this.#condition = conditionAfter(undefined, PENDING, options.clock.date());
  }

  get target(): StatusTarget {
    return this.#target;
  }

  /** The condition by its own answers; undefined before the first answer. */
  get condition(): ReadyCondition | undefined {
    return this.#isPending ? undefined : this.#condition;
  }

  /** Takes over the target of a newer catalog. Returns whether the network has to be asked again. */
  update(target: StatusTarget): boolean {
    const before = this.#target;
    this.#target = target;
    return target.list === undefined || target.list.text !== before.list?.text;
  }

  /** Takes an answer. Returns the length of the grace that begins with it, in milliseconds; 0 if none does. */
  take(answer: NetworkAnswer): number {
    const { clock, graceMs } = this.#options;
    const wasReady = this.#answer.ready;
    const date = clock.date();
    this.#condition = conditionAfter(this.#isPending ? this.#remembered : this.#condition, answer, date);
    this.#answer = answer;
    if (answer.ready) this.#grace = undefined;
    if (answer.ready || !wasReady || graceMs <= 0) return 0;
    this.#grace = { end: clock.now() + graceMs, until: new Date(date.getTime() + graceMs).toISOString() };
    return graceMs;
  }

  /** Notes why the network could not be asked. An answer that exists already stays. */
  noteFailedProbe(error: CniError): void {
    if (this.#isPending) this.#answer = { ...PENDING, msg: `${PENDING.msg}: ${error.message}`, error };
  }

  /** Returns the status at this moment. */
  status(): NetworkStatus {
    const inGrace = this.#grace !== undefined && this.#options.clock.now() < this.#grace.end;
    const graceUntil = inGrace ? this.#grace?.until : undefined;
    return statusOf(this.#target, this.#answer, { since: this.#condition.since, graceUntil });
  }

  get #isPending(): boolean {
    return this.#answer.reason === "pending";
  }
}

/** The answer of a network that was not asked yet. */
export const PENDING: NetworkAnswer = {
  ready: false,
  reason: "pending",
  msg: "it has not been asked yet",
  error: undefined,
};
