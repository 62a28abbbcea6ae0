import type { NetworkAnswer } from "../network/status.ts";
import { asCniError } from "../plugin/failure.ts";
import { Slots } from "../plugin/slots.ts";
import type { NetworkConfigList } from "../spec/config.ts";
import { CniError } from "../spec/error.ts";
import { ASKED_AT_ONCE, type AskNetwork } from "./status_check.ts";

/** Ends with the question, and gives why it could not be put if so; never rejects. */
export type Put = Promise<CniError | undefined>;

/** What {@linkcode Questions} works with. */
export interface QuestionsOptions {
  readonly ask: AskNetwork;
  /** Takes each answer. */
  readonly onAnswer: (network: string, answer: NetworkAnswer) => void;
}

interface Question {
  readonly list: NetworkConfigList;
  readonly stop: AbortController;
  /** Never rejects. */
  done: Put;
  /** What it asks about has changed. */
  outdated: boolean;
  next?: Put;
}

/**
 * Puts questions to networks, one at a time to each. Who asks while one is under way gets that one's answer; if what
 * it asks about has changed meanwhile, the answer of the next one. So a plugin that hangs is asked once.
 */
export class Questions {
  readonly #options: QuestionsOptions;
  readonly #slots = new Slots(ASKED_AT_ONCE);
  readonly #underWay = new Map<string, Question>();
  readonly #latest = new Map<string, NetworkConfigList>();

  constructor(options: QuestionsOptions) {
    this.#options = options;
  }

  /** Asks a network as it is now. One that is urgent does not wait its turn behind other networks. */
  ask(list: NetworkConfigList, isUrgent = false): Put {
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

  #begin(list: NetworkConfigList, isUrgent: boolean): Put {
    const stop = new AbortController();
    const question: Question = { list, stop, outdated: false, done: Promise.resolve(undefined) };
    this.#underWay.set(list.name, question);
    return question.done = this.#put(list, stop.signal, isUrgent);
  }

  async #put(list: NetworkConfigList, signal: AbortSignal, isUrgent: boolean): Put {
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
