import { type Clock, systemClock } from "../async/clock.ts";
import { Counter, Histogram } from "../daemon/exposition.ts";

/** A call that has been answered. */
export interface ServedCall {
  /** Its name, such as `RunPodSandbox`; `other` for a name that the CRI does not have. */
  readonly method: string;
  /** The name of its status, such as `OK` or `NOT_FOUND`. */
  readonly code: string;
  /** Milliseconds from its headers to its status. */
  readonly ms: number;
}

/** In seconds: from a list out of memory to a sandbox whose plugins wait. */
const DURATIONS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

/** Counts the calls of the CRI. */
export class CriMetrics {
  readonly #clock: Clock;
  readonly #calls = new Counter({
    name: "podwire_cri_calls_total",
    help: "Calls of the CRI that have been answered, by the code of their status.",
    labels: ["method", "code"],
  });
  readonly #duration = new Histogram({
    name: "podwire_cri_call_duration_seconds",
    help: "Duration of calls of the CRI, including those that failed.",
    labels: ["method"],
  }, DURATIONS);

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  /** Counts a call. */
  onCall({ method, code, ms }: ServedCall): void {
    const now = this.#clock.now();
    this.#calls.add({ method, code }, now);
    this.#duration.observe({ method }, ms / 1_000, now);
  }

  /** Returns the metrics in the text format. */
  write(): string {
    return this.#calls.write() + this.#duration.write();
  }
}
