import type { NetworkAnswer } from "./status.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { Semaphore } from "../async/semaphore.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { CniError } from "../cni/error.ts";
import { ASKED_AT_ONCE, type ProbeNetwork } from "./status_check.ts";

/** Ends with the question, and gives why it could not be put if so; never rejects. */
export type ProbeResult = Promise<CniError | undefined>;

/** What {@linkcode Prober} works with. */
export interface ProberOptions {
  readonly ask: ProbeNetwork;
  /** Takes each answer. */
  readonly onAnswer: (network: string, answer: NetworkAnswer) => void;
}

interface Probe {
  readonly list: NetworkConfigList;
  readonly stop: AbortController;
  /** Never rejects. */
  done: ProbeResult;
  /** What it asks about has changed. */
  outdated: boolean;
  next?: ProbeResult;
}

/**
 * Puts questions to networks, one at a time to each. Who asks while one is under way gets that one's answer; if what
 * it asks about has changed meanwhile, the answer of the next one. So a plugin that hangs is asked once.
 */
export class Prober {
  readonly #options: ProberOptions;
  readonly #slots = new Semaphore(ASKED_AT_ONCE);
  readonly #underWay = new Map<string, Probe>();
  readonly #latest = new Map<string, NetworkConfigList>();

  constructor(options: ProberOptions) {
    this.#options = options;
  }

  /** Asks a network as it is now. One that is urgent does not wait its turn behind other networks. */
  ask(list: NetworkConfigList, isUrgent = false): ProbeResult {
    const { name } = list;
    this.#latest.set(name, list);
    const question = this.#underWay.get(name);
    if (question === undefined) return this.#begin(list, isUrgent);
    if (!question.outdated && question.list.text === list.text) return question.done;
    return question.next ??= question.done.then(() => {
      const latest = this.#latest.get(name);
      return latest === undefined ? undefined : this.#begin(latest, isUrgent);
    });
  }

  /** What is being asked now says nothing about how things are from now on. */
  outdate(): void {
    for (const question of this.#underWay.values()) question.outdated = true;
  }

  /** Ends the question to a network, and asks it no more. */
  drop(network: string): void {
    this.#latest.delete(network);
    const question = this.#underWay.get(network);
    if (question === undefined) return;
    question.outdated = true;
    question.stop.abort(new CniError("cancelled", "the network is not asked any more"));
  }

  /** Ends all of them; gives when they have ended. */
  async close(): Promise<void> {
    for (const network of [...this.#latest.keys()]) this.drop(network);
    await Promise.all([...this.#underWay.values()].map(({ done }) => done));
  }

  #begin(list: NetworkConfigList, isUrgent: boolean): ProbeResult {
    const stop = new AbortController();
    const question: Probe = { list, stop, outdated: false, done: Promise.resolve(undefined) };
    this.#underWay.set(list.name, question);
    return question.done = this.#put(list, stop.signal, isUrgent);
  }

  async #put(list: NetworkConfigList, signal: AbortSignal, isUrgent: boolean): ProbeResult {
    try {
      using _slot = isUrgent ? undefined : await this.#slots.take(signal);
      const answer = await this.#options.ask(list, signal);
      if (!signal.aborted) this.#options.onAnswer(list.name, answer);
      return undefined;
    } catch (error) {
      return signal.aborted ? undefined : asCniError(error, { network: list.name });
    } finally {
      this.#underWay.delete(list.name);
    }
  }
}
