import { messageOf } from "../errors/to_cni_error.ts";
import type { Logger } from "../host/log.ts";
import type { NetworkStatus } from "./status.ts";

/** The listeners to network statuses. */
export class StatusListeners {
  readonly #log: Logger;
  readonly #listeners = new Set<(status: NetworkStatus) => void>();
  /** What was emitted last for each key. */
  readonly #emitted = new Map<string, string>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Calls `listener` with each status that is emitted, until disposed of. */
  add(listener: (status: NetworkStatus) => void): Disposable {
    // Its own object: the same function may be added twice.
    const own = (status: NetworkStatus) => listener(status);
    this.#listeners.add(own);
    return { [Symbol.dispose]: () => void this.#listeners.delete(own) };
  }

  /** Emits a status unless the one before it under that key had the same readiness, reason and warnings. */
  emitIfChanged(key: string, status: NetworkStatus): void {
    const summary = [status.ready, status.reason, ...status.warnings ?? []].join(" ");
    if (this.#emitted.get(key) === summary) return;
    this.#emitted.set(key, summary);
    this.emit(status);
  }

  /** Emits a status. An error of a listener is logged. */
  emit(status: NetworkStatus): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(status);
      } catch (error) {
        this.#log.error(`a listener of network statuses failed: ${messageOf(error)}`);
      }
    }
  }

  /** Forgets what was emitted for a key. Returns whether anything was. */
  forget(key: string): boolean {
    return this.#emitted.delete(key);
  }

  /** Removes all listeners. */
  clear(): void {
    this.#listeners.clear();
  }
}
