import { Debouncer } from "../async/debounce.ts";
import { delay } from "../async/wait.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { Logger } from "../host/log.ts";
import { attachmentId } from "../state/attachment_key.ts";
import type { Drifts } from "./drifts.ts";
import type { LostRules, RuleRepair } from "./rule_repair.ts";

/** Options of {@linkcode RuleWatch}. */
export interface RuleWatchOptions {
  readonly rules: Pick<RuleRepair, "find" | "repair">;
  readonly drifts: Drifts;
  /** Whether lost rules are put back; otherwise they are only reported. */
  readonly repairs: boolean;
  readonly log: Logger;
  /** Milliseconds between two looks without an event. */
  readonly pollMs: number;
  /** Milliseconds for which events are collected before a look. @default {100} */
  readonly gatherMs?: number | undefined;
}

/** The longest time from an event to the look, in milliseconds. */
const LONGEST_GATHER_MS = 500;
/** The next look waits so many times as long as the last one took: at most a sixth of the time is spent on short looks. */
const REST = 5;
/** A flush soon after another one must not wait longer, however long a look takes on a busy machine. */
const LONGEST_REST_MS = 500;
const BUSY_MS = 1_000;
/** So many repairs in a row are made at once; if another program removes the rules each time, the next ones wait. */
const REPAIRS_AT_ONCE = 4;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 60_000;
/** After so long without a repair the row has ended. */
const QUIET_MS = 60_000;

/**
 * Looks for lost rules after events and from time to time, and puts them back. What it writes itself are events too; the look
 * after them finds nothing and writes nothing.
 */
export class RuleWatch implements AsyncDisposable {
  readonly #options: RuleWatchOptions;
  readonly #debouncer: Debouncer;
  readonly #stop = new AbortController();
  #looking: Promise<void> = Promise.resolve();
  #restUntil = -Infinity;
  /** Looks in a row that had to repair something, and when the last one was. */
  #row = 0;
  #repairedAt = -Infinity;
  #lastProblem: string | undefined;

  constructor(options: RuleWatchOptions) {
    this.#options = options;
    this.#debouncer = new Debouncer({
      gatherMs: options.gatherMs ?? 100,
      longestMs: LONGEST_GATHER_MS,
      pollMs: options.pollMs,
      due: () => this.#looking = this.#look(),
      failed: (error) => this.#report(error),
    });
  }

  /** Looks now, and later after events. */
  start(): void {
    this.#debouncer.begin();
    this.#debouncer.hurry();
  }

  /** Call when rules may be lost. */
  hurry(): void {
    this.#debouncer.hurry();
  }

  /** Ends the watch, and waits for what it has in progress. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#debouncer[Symbol.dispose]();
    await this.#looking.catch(() => {});
  }

  async #look(): Promise<void> {
    const { signal } = this.#stop;
    const { rules, drifts } = this.#options;
    await delay(Math.max(0, this.#restUntil - performance.now()), signal);
    const started = performance.now();
    const lost = await rules.find({ forwarding: true, signal });
    const repaired = lost.length > 0 && this.#options.repairs ? await this.#repair(lost, signal) : [];
    const ids = new Set(repaired.map(attachmentId));
    const left = lost.filter((each) => !ids.has(attachmentId(each)));
    drifts.takeAll("rules", left.map((each) => ({ ...each, why: whyOf(each) })));
    this.#lastProblem = undefined;
    const ended = performance.now();
    const rest = Math.min(REST * (ended - started), LONGEST_REST_MS);
    this.#restUntil = Math.max(this.#restUntil, ended + rest);
  }

  /** Returns those whose rules were put back. */
  async #repair(found: readonly LostRules[], signal: AbortSignal): Promise<readonly LostRules[]> {
    const { rules, drifts, log } = this.#options;
    const { lost, busy } = await rules.repair({ found, skipBusy: true, signal });
    if (busy.length > 0) this.#debouncer.within(BUSY_MS);
    const repaired = lost.filter(({ error }) => error === undefined);
    const [first] = repaired;
    if (first === undefined) return [];
    for (const each of repaired) drifts.repaired(each, whyOf(each));
    const one = `${first.containerId}:${first.ifName}: ${whyOf(first)}`;
    log.warn("lost rules were put back", { attachments: repaired.length, one });
    // Something else may be wrong with them, and others may have lost theirs meanwhile.
    this.#debouncer.hurry();
    this.#slowDown();
    return repaired;
  }

  /** Another program that removes the rules each time must not keep this one busy. */
  #slowDown(): void {
    const now = performance.now();
    this.#row = now - this.#repairedAt > QUIET_MS ? 1 : this.#row + 1;
    this.#repairedAt = now;
    if (this.#row <= REPAIRS_AT_ONCE) return;
    const wait = Math.min(FIRST_WAIT_MS * 2 ** (this.#row - REPAIRS_AT_ONCE - 1), LONGEST_WAIT_MS);
    this.#restUntil = now + wait;
  }

  /** A problem that stays is logged once. */
  #report(error: unknown): void {
    if (this.#stop.signal.aborted) return;
    const { message } = asCniError(error);
    if (message !== this.#lastProblem) this.#options.log.error(`Cannot look for lost rules: ${message}`);
    this.#lastProblem = message;
  }
}

function whyOf({ missing, error }: LostRules): string {
  return [...missing, ...error === undefined ? [] : [error.message]].join("; ");
}
