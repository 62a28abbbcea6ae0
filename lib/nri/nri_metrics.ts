import { type Clock, systemClock } from "../async/clock.ts";
import { Counter, writeGauge } from "../daemon/exposition.ts";
import type { AttemptOutcome } from "./pod_networks.ts";

const CONNECTED = {
  name: "podwire_nri_connected",
  help: "1 while podwire is a plugin of a container engine and knows its pods, else 0.",
  labels: [],
} as const;

/** Counts what happens between podwire and a container engine. */
export class NriMetrics {
  readonly #clock: Clock;
  /** Whether podwire is a plugin of an engine now. */
  isConnected = false;
  readonly #connections = new Counter({
    name: "podwire_nri_connections_total",
    help: "How often podwire became a plugin of a container engine.",
    labels: [],
  });
  readonly #attempts = new Counter({
    name: "podwire_nri_attempts_total",
    help: "Attempts to attach a pod: attached, late (after its containers had started) or failed.",
    labels: ["outcome"],
  });

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  /** Counts a registration. */
  onConnected(): void {
    this.#connections.add({}, this.#clock.now());
  }

  /** Counts an attempt to attach a pod. */
  onAttempt(outcome: AttemptOutcome): void {
    this.#attempts.add({ outcome }, this.#clock.now());
  }

  /** Returns the metrics in the text format. */
  write(): string {
    return writeGauge(CONNECTED, [{ labels: {}, value: this.isConnected ? 1 : 0 }]) +
      this.#connections.write() + this.#attempts.write();
  }
}
