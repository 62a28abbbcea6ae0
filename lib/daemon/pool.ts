import { type Clock, systemClock } from "../async/clock.ts";
import type { Logger } from "../host/log.ts";
import { backoffMs } from "../async/backoff.ts";
import { inParallel } from "../async/parallel.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { SandboxRequest } from "../sandbox/request.ts";
import type { WarmSandbox, WarmSandboxes } from "../sandbox/warm_sandboxes.ts";
import type { Sandbox } from "../sandbox/view.ts";
import { CniError } from "../cni/error.ts";
import { delay } from "../async/wait.ts";

/** Which sandboxes are kept ready. */
export interface PoolSizes {
  /** How many, by network. */
  readonly sizes: ReadonlyMap<string, number>;
  /** After how many milliseconds one that nobody wanted is made anew. @default {3_600_000} */
  readonly maxAgeMs?: number;
  /** Milliseconds between two looks whether they are as they were made. @default {5_000} */
  readonly lookMs?: number;
}

/** Why a request was not given a spare: there was none, or it was not as it had been made. */
export type PoolMiss = "empty" | "stale";

/** Is told what happens to the pools; each call is one more, but a size is that of now. */
export interface PoolObserver {
  onPoolSize(network: string, ready: number): void;
  onHandedOut(network: string): void;
  onPoolMiss(network: string, why: PoolMiss): void;
}

/** What a {@linkcode WarmPool} works with. */
export interface PoolOptions extends PoolSizes {
  readonly spares: Pick<WarmSandboxes, "networkOf" | "make" | "isIntact" | "handOut" | "takeDown">;
  /** Whether its plugins say that the network can attach something. */
  readonly isReady: (network: string) => Promise<boolean>;
  readonly observer: PoolObserver;
  readonly log: Logger;
  /** @default {systemClock} */
  readonly clock?: Clock | undefined;
}

const MADE_AT_ONCE = 2;
const TAKEN_DOWN_AT_ONCE = 4;

/** Keeps sandboxes ready, hands them out, and makes others in their place, until it is disposed of. */
export class WarmPool implements AsyncDisposable {
  readonly #options: PoolOptions;
  readonly #networks: ReadonlyMap<string, NetworkPool>;

  /** Begins to make them, in the background. */
  constructor(options: PoolOptions) {
    this.#options = options;
    const pools = [...options.sizes].map(([network, size]) =>
      [network, new NetworkPool(network, size, options)] as const
    );
    this.#networks = new Map(pools);
  }

  /** Hands a spare out where one will do, else does what is asked for in the ordinary way. */
  async run(request: SandboxRequest, ordinary: () => Promise<Sandbox>): Promise<Sandbox> {
    const { spares, observer } = this.#options;
    const network = await spares.networkOf(request);
    const pool = network === undefined ? undefined : this.#networks.get(network);
    if (network === undefined || pool === undefined) return await ordinary();
    // Nothing is waited for in between, so no two requests get the same.
    const spare = pool.take();
    const sandbox = spare && await pool.handOut(spare, request);
    if (sandbox === undefined) {
      observer.onPoolMiss(network, spare === undefined ? "empty" : "stale");
      return await ordinary();
    }
    observer.onHandedOut(network);
    return sandbox;
  }

  /** The networks are not what they were: has a look now, and tries again what had failed. */
  changed(): void {
    for (const pool of this.#networks.values()) pool.changed();
  }

  /** Takes all of them down. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#networks.values()].map((pool) => pool[Symbol.asyncDispose]()));
  }
}

/** The spares on one network: what becomes of another one holds up nothing here. */
class NetworkPool implements AsyncDisposable {
  readonly #network: string;
  readonly #size: number;
  readonly #options: PoolOptions;
  readonly #clock: Clock;
  readonly #stop = new AbortController();
  readonly #madeAt = new Map<WarmSandbox, number>();
  /** Oldest first. */
  readonly #ready: WarmSandbox[] = [];
  readonly #leaving = new Set<WarmSandbox>();
  readonly #ended: Promise<void>;
  #wake = Promise.withResolvers<void>();
  /** Whether all that are ready are to be looked at: not each time that one is taken. */
  #isLookDue = true;
  #lookedAt = performance.now();
  /** Taken, and not yet somebody's: each may come back. */
  #underWay = 0;
  #failures = 0;
  #notBefore = -Infinity;

  constructor(network: string, size: number, options: PoolOptions) {
    this.#network = network;
    this.#size = size;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#tell();
    this.#ended = this.#keep();
  }

  take(): WarmSandbox | undefined {
    const spare = this.#ready.shift();
    if (spare === undefined) return undefined;
    this.#underWay++;
    this.#tell();
    return spare;
  }

  /** Of one that was taken; undefined if it was not as it had been made. */
  async handOut(spare: WarmSandbox, request: SandboxRequest): Promise<Sandbox | undefined> {
    try {
      const sandbox = await this.#options.spares.handOut(spare, request);
      if (sandbox === undefined) {
        this.#leaving.add(spare);
        // What has befallen one may have befallen all.
        this.#isLookDue = true;
      }
      this.#madeAt.delete(spare);
      return sandbox;
    } catch (error) {
      // It was made before those that are there now; a look tells whether it is still good.
      this.#ready.unshift(spare);
      this.#isLookDue = true;
      this.#tell();
      throw error;
    } finally {
      this.#underWay--;
      this.#wake.resolve();
    }
  }

  changed(): void {
    this.#notBefore = -Infinity;
    this.#isLookDue = true;
    this.#wake.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#ended;
    for (const spare of this.#ready.splice(0)) this.#leaving.add(spare);
    this.#tell();
    await this.#takeDown();
  }

  async #keep(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      this.#wake = Promise.withResolvers();
      try {
        if (this.#isLookDue) await this.#retire();
        await this.#takeDown();
        await this.#fill(signal);
      } catch (error) {
        if (!signal.aborted) this.#failed(error);
      }
      await this.#rest(signal);
    }
  }

  /** Until something has changed, the next look is due, or what failed may be tried again. */
  async #rest(signal: AbortSignal): Promise<void> {
    const { lookMs = 5_000 } = this.#options;
    const now = performance.now();
    const again = this.#notBefore - this.#clock.now();
    const look = this.#lookedAt + lookMs - now;
    const woken = new AbortController();
    const end = AbortSignal.any([signal, woken.signal]);
    const wait = again > 0 ? Math.min(again, look) : look;
    const pausing = wait > 0 ? delay(wait, end).catch(() => {}) : Promise.resolve();
    await Promise.race([this.#wake.promise, pausing]);
    woken.abort();
    await pausing;
    if (performance.now() - this.#lookedAt >= lookMs) this.#isLookDue = true;
  }

  /** Those that are too old, or not as they were made. */
  async #retire(): Promise<void> {
    const { maxAgeMs = 3_600_000, spares } = this.#options;
    this.#isLookDue = false;
    this.#lookedAt = performance.now();
    for (const spare of [...this.#ready]) {
      const isOld = this.#clock.now() - (this.#madeAt.get(spare) ?? 0) > maxAgeMs;
      if (!isOld && await spares.isIntact(spare)) continue;
      const at = this.#ready.indexOf(spare);
      // It may have been taken meanwhile.
      if (at < 0) continue;
      this.#ready.splice(at, 1);
      this.#leaving.add(spare);
      this.#tell();
    }
  }

  /** One that cannot be taken down now is tried again at the next look. */
  async #takeDown(): Promise<void> {
    const { spares, log } = this.#options;
    const network = this.#network;
    await inParallel([...this.#leaving], TAKEN_DOWN_AT_ONCE, async (spare) => {
      try {
        for (const failure of await spares.takeDown(spare)) {
          log.warn(`left on record: ${failure.message}`, { sandbox: spare.id, network });
        }
        this.#leaving.delete(spare);
        this.#madeAt.delete(spare);
      } catch (error) {
        log.warn(`a sandbox of the pool is not taken down: ${asCniError(error).message}`, {
          sandbox: spare.id,
          network,
        });
      }
    });
  }

  /** As many as are missing now; those that are taken meanwhile are for the next time. */
  async #fill(signal: AbortSignal): Promise<void> {
    const { spares, isReady } = this.#options;
    let missing = this.#size - this.#ready.length - this.#underWay;
    if (missing <= 0 || this.#clock.now() < this.#notBefore) return;
    if (!await isReady(this.#network)) throw new CniError("not-ready", "the network is not ready");
    for (; missing > 0; missing -= MADE_AT_ONCE) {
      signal.throwIfAborted();
      const making = Array.from({ length: Math.min(missing, MADE_AT_ONCE) }, async () => {
        const spare = await spares.make(this.#network, signal);
        this.#madeAt.set(spare, this.#clock.now());
        this.#ready.push(spare);
        this.#tell();
      });
      const failure = (await Promise.allSettled(making)).find(({ status }) => status === "rejected");
      if (failure?.status === "rejected") throw failure.reason;
    }
    this.#failures = 0;
  }

  #failed(error: unknown): void {
    const ms = backoffMs(++this.#failures);
    this.#notBefore = this.#clock.now() + ms;
    this.#options.log.warn(`the pool is not filled: ${asCniError(error).message}`, {
      network: this.#network,
      againInMs: ms,
    });
  }

  #tell(): void {
    this.#options.observer.onPoolSize(this.#network, this.#ready.length);
  }
}
