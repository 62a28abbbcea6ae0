import type { Clock } from "../async/clock.ts";
import type { NetworkAnswer, NetworkStatus } from "./status.ts";
import type { CniError } from "../cni/error.ts";
import { conditionAfter, type ReadyCondition } from "./condition.ts";
import { statusOf, type StatusTarget } from "./status_target.ts";

/** How {@linkcode NetworkCondition} judges. */
export interface Judgement {
  readonly clock: Clock;
  readonly graceMs: number;
}

/** The last answer of one network, or what is known of a file, and how long it has been so. */
export class NetworkCondition {
  readonly #judgement: Judgement;
  readonly #remembered: ReadyCondition | undefined;
  #subject: StatusTarget;
  #answer: NetworkAnswer = PENDING;
  #standing: ReadyCondition;
  /** By a clock that cannot be set back, and for people. */
  #grace: { readonly end: number; readonly until: string } | undefined;

  /** `remembered` is how an earlier process saw it, which tells since when, and gives no grace. */
  constructor(subject: StatusTarget, judgement: Judgement, remembered: ReadyCondition | undefined) {
    this.#judgement = judgement;
    this.#remembered = remembered;
    this.#subject = subject;
    this.#standing = conditionAfter(undefined, PENDING, judgement.clock.date());
  }

  get subject(): StatusTarget {
    return this.#subject;
  }

  /** How it stands by its own answers; nothing before the first. */
  get standing(): ReadyCondition | undefined {
    return this.#isPending ? undefined : this.#standing;
  }

  /** What the catalogue says of it now. Tells whether that is something else to ask about. */
  become(subject: StatusTarget): boolean {
    const before = this.#subject;
    this.#subject = subject;
    return subject.list === undefined || subject.list.text !== before.list?.text;
  }

  /** Takes an answer, and gives how long the grace is that began with it, in milliseconds. */
  take(answer: NetworkAnswer): number {
    const { clock, graceMs } = this.#judgement;
    const wasReady = this.#answer.ready;
    const date = clock.date();
    this.#standing = conditionAfter(this.#isPending ? this.#remembered : this.#standing, answer, date);
    this.#answer = answer;
    if (answer.ready) this.#grace = undefined;
    if (answer.ready || !wasReady || graceMs <= 0) return 0;
    this.#grace = { end: clock.now() + graceMs, until: new Date(date.getTime() + graceMs).toISOString() };
    return graceMs;
  }

  /** What kept it from being asked, which takes nothing from an answer that is there. */
  miss(error: CniError): void {
    if (this.#isPending) this.#answer = { ...PENDING, msg: `${PENDING.msg}: ${error.message}`, error };
  }

  /** As of now. */
  status(): NetworkStatus {
    const inGrace = this.#grace !== undefined && this.#judgement.clock.now() < this.#grace.end;
    const graceUntil = inGrace ? this.#grace?.until : undefined;
    return statusOf(this.#subject, this.#answer, { since: this.#standing.since, graceUntil });
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
