import { type Clock, systemClock } from "../async/clock.ts";
import type { CniError } from "../cni/error.ts";

const FIRST_MS = 60_000;
const LONGEST_MS = 3_600_000;

/**
 * The plugins that did not answer to GC in time, by network: while a plugin hangs, nothing can be attached to its
 * network, so a timer leaves it alone for a while that doubles with each time, from a minute to an hour.
 */
export class HungPlugins {
  readonly #clock: Clock;
  readonly #hung = new Map<string, { readonly times: number; readonly until: number }>();

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  /** Takes note of what became of a plugin that was asked; any answer is a sign of life, an error too. */
  note(network: string, type: string, failure: CniError | undefined): void {
    const key = keyOf(network, type);
    if (failure?.kind !== "timeout") return void this.#hung.delete(key);
    const times = (this.#hung.get(key)?.times ?? 0) + 1;
    const ms = Math.min(FIRST_MS * 2 ** (times - 1), LONGEST_MS);
    this.#hung.set(key, { times, until: this.#clock.now() + ms });
  }

  /** When the plugin may be asked again, in ISO 8601; undefined if that is now. */
  until(network: string, type: string): string | undefined {
    const until = this.#hung.get(keyOf(network, type))?.until;
    if (until === undefined) return undefined;
    const leftMs = until - this.#clock.now();
    return leftMs <= 0 ? undefined : new Date(this.#clock.date().getTime() + leftMs).toISOString();
  }
}

function keyOf(network: string, type: string): string {
  return `${network} ${type}`;
}
