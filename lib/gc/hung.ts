import { type Clock, systemClock } from "../async/clock.ts";
import type { CniError } from "../cni/error.ts";

const FIRST_MS = 60_000;
const LONGEST_MS = 3_600_000;

/**
 * The plugins that did not answer to GC in time, by network. While a plugin hangs, nothing can be attached to its network.
 * So sweeps by a timer skip it for a period that doubles each time, from a minute to an hour.
 */
export class HungPlugins {
  readonly #clock: Clock;
  readonly #hung = new Map<string, { readonly times: number; readonly until: number }>();

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  /** Notes the answer of a plugin. Any answer shows that it does not hang, even an error. */
  note(network: string, type: string, failure: CniError | undefined): void {
    const key = keyOf(network, type);
    if (failure?.kind !== "timeout") return void this.#hung.delete(key);
    const times = (this.#hung.get(key)?.times ?? 0) + 1;
    const ms = Math.min(FIRST_MS * 2 ** (times - 1), LONGEST_MS);
    this.#hung.set(key, { times, until: this.#clock.now() + ms });
  }

  /** Returns when the plugin may be asked again, ISO 8601; undefined if that is now. */
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
