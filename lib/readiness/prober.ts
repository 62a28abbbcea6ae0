import { Semaphore } from "../async/semaphore.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { CniError } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { NetworkAnswer } from "./status.ts";
import { MAX_CONCURRENT_PROBES, type ProbeNetwork } from "./status_check.ts";

/** Resolves when the probe ends, with the reason if the network could not be asked. Never rejects. */
export type ProbeResult = Promise<CniError | undefined>;

/** Options of {@linkcode Prober}. */
export interface ProberOptions {
  readonly ask: ProbeNetwork;
  /** Called with each answer. */
  readonly onAnswer: (network: string, answer: NetworkAnswer) => void;
}

interface Probe {
  readonly list: NetworkConfigList;
  readonly stop: AbortController;
  /** Never rejects. */
  done: ProbeResult;
  /** The network or its plugins have changed since it began. */
  outdated: boolean;
  next?: ProbeResult;
}

/**
 * Asks networks, each with at most one probe at a time. A caller that asks during a probe gets the result of that probe. If
 * the network has changed meanwhile, the caller gets the result of the next one. So a plugin that hangs is asked once.
 */
export class Prober {
  readonly #options: ProberOptions;
  readonly #semaphore = new Semaphore(MAX_CONCURRENT_PROBES);
  readonly #inProgress = new Map<string, Probe>();
  readonly #latest = new Map<string, NetworkConfigList>();

  constructor(options: ProberOptions) {
    this.#options = options;
  }

  /** Asks a network as it is now. An urgent probe does not wait for the probes of other networks. */
  probe(list: NetworkConfigList, isUrgent = false): ProbeResult {
    const { name } = list;
    this.#latest.set(name, list);
    const current = this.#inProgress.get(name);
    if (current === undefined) return this.#begin(list, isUrgent);
    if (!current.outdated && current.list.text === list.text) return current.done;
    return current.next ??= current.done.then(() => {
      const latest = this.#latest.get(name);
      return latest === undefined ? undefined : this.#begin(latest, isUrgent);
    });
  }

  /** Marks all probes in progress as outdated: their answers say nothing about the state from now on. */
  outdate(): void {
    for (const probe of this.#inProgress.values()) probe.outdated = true;
  }

  /** Ends the probe of a network, and does not ask that network again. */
  drop(network: string): void {
    this.#latest.delete(network);
    const probe = this.#inProgress.get(network);
    if (probe === undefined) return;
    probe.outdated = true;
    probe.stop.abort(new CniError("cancelled", "the network is not asked any more"));
  }

  /** Ends all probes. Resolves when they have ended. */
  async close(): Promise<void> {
    for (const network of [...this.#latest.keys()]) this.drop(network);
    await Promise.all([...this.#inProgress.values()].map(({ done }) => done));
  }

  #begin(list: NetworkConfigList, isUrgent: boolean): ProbeResult {
    const stop = new AbortController();
    const probe: Probe = { list, stop, outdated: false, done: Promise.resolve(undefined) };
    this.#inProgress.set(list.name, probe);
    return probe.done = this.#run(list, stop.signal, isUrgent);
  }

  async #run(list: NetworkConfigList, signal: AbortSignal, isUrgent: boolean): ProbeResult {
    try {
      using _slot = isUrgent ? undefined : await this.#semaphore.acquire(signal);
      const answer = await this.#options.ask(list, signal);
      if (!signal.aborted) this.#options.onAnswer(list.name, answer);
      return undefined;
    } catch (error) {
      return signal.aborted ? undefined : asCniError(error, { network: list.name });
    } finally {
      this.#inProgress.delete(list.name);
    }
  }
}
