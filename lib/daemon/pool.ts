import { backoffMs } from "../async/backoff.ts";
import type { CallOptions } from "../async/call_options.ts";
import { type Clock, systemClock } from "../async/clock.ts";
import { inParallel } from "../async/parallel.ts";
import { delay } from "../async/wait.ts";
import { CniError } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { Logger } from "../host/log.ts";
import type { SandboxRequest } from "../sandbox/request.ts";
import type { Sandbox } from "../sandbox/view.ts";
import type { WarmSandbox, WarmSandboxes } from "../sandbox/warm_sandboxes.ts";

/** Which sandboxes are kept ready. */
export interface PoolSizes {
  /** How many, by network. */
  readonly sizes: ReadonlyMap<string, number>;
  /** After how many milliseconds an unused sandbox is replaced. @default {3_600_000} */
  readonly maxAgeMs?: number | undefined;
  /** Milliseconds between two checks that the sandboxes are unchanged. @default {5_000} */
  readonly checkMs?: number | undefined;
}

/** Why a request did not get a sandbox of the pool: there was none, or it had changed since it was made. */
export type PoolMiss = "empty" | "stale";

/** Counts what happens in the pools. */
export interface PoolObserver {
  /** Takes the number of sandboxes that are ready now. */
  onPoolSize(network: string, ready: number): void;
  /** Counts a request that got a sandbox of the pool. */
  onHandedOut(network: string): void;
  /** Counts a request that did not. */
  onPoolMiss(network: string, why: PoolMiss): void;
}

/** What makes, checks, hands out and removes the sandboxes of the pools. */
export type PoolSandboxes =
  & Pick<WarmSandboxes, "networkOf" | "make" | "isIntact" | "claim" | "tearDown">
  & AsyncDisposable;

/** Options of {@linkcode WarmPool}. */
export interface PoolOptions extends PoolSizes {
  /** Called once, when the pool starts. The pool disposes of the result. */
  readonly open: () => Promise<PoolSandboxes>;
  /** Whether the plugins of the network say that it can attach containers. */
  readonly isReady: (network: string) => Promise<boolean>;
  readonly observer: PoolObserver;
  readonly log: Logger;
  /** @default {systemClock} */
  readonly clock?: Clock | undefined;
}

const MADE_AT_ONCE = 2;
const REMOVED_AT_ONCE = 4;

/** Keeps sandboxes ready, hands them out and replaces them, until disposed of. */
export class WarmPool implements AsyncDisposable {
  readonly #options: PoolOptions;
  #warm: PoolSandboxes | undefined;
  readonly #networks = new Map<string, NetworkPool>();

  /** Makes an empty pool. */
  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** Begins to make sandboxes in the background. */
  async start(): Promise<void> {
    const warm = await this.#options.open();
    this.#warm = warm;
    for (const [network, size] of this.#options.sizes) {
      this.#networks.set(network, new NetworkPool(network, size, { ...this.#options, warm }));
    }
  }

  /** Hands out a warm sandbox if one fits the request; else calls `make`. */
  async run(
    request: SandboxRequest,
    make: () => Promise<Sandbox>,
    options: CallOptions = {},
  ): Promise<Sandbox> {
    const network = await this.#warm?.networkOf(request, options);
    const pool = network === undefined ? undefined : this.#networks.get(network);
    if (network === undefined || pool === undefined) return await make();
    const { observer } = this.#options;
    // There is no await between the check and the removal from the list, so no two requests get the same sandbox.
    const warm = pool.take();
    const sandbox = warm && await pool.claim(warm, request, options);
    if (sandbox === undefined) {
      observer.onPoolMiss(network, warm === undefined ? "empty" : "stale");
      return await make();
    }
    observer.onHandedOut(network);
    return sandbox;
  }

  /** Call after a change of the networks: checks all sandboxes now, and retries what failed. */
  changed(): void {
    for (const pool of this.#networks.values()) pool.changed();
  }

  /** Removes all sandboxes that are still in the pool. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#networks.values()].map((pool) => pool[Symbol.asyncDispose]()));
    await this.#warm?.[Symbol.asyncDispose]();
  }
}

interface NetworkPoolOptions extends PoolOptions {
  readonly warm: PoolSandboxes;
}

/** The sandboxes on one network. The pools of different networks do not wait for each other. */
class NetworkPool implements AsyncDisposable {
  readonly #network: string;
  readonly #size: number;
  readonly #options: NetworkPoolOptions;
  readonly #clock: Clock;
  readonly #stop = new AbortController();
  readonly #madeAt = new Map<WarmSandbox, number>();
  /** Oldest first. */
  readonly #ready: WarmSandbox[] = [];
  /** Not handed out any more, and not removed yet. */
  readonly #leaving = new Set<WarmSandbox>();
  readonly #ended: Promise<void>;
  #wake = Promise.withResolvers<void>();
  /** Whether all ready sandboxes have to be checked. They are not checked each time that one is taken. */
  #isCheckDue = true;
  #checkedAt = performance.now();
  /** How many are taken and not handed out yet. Each of them may come back. */
  #underWay = 0;
  #failures = 0;
  #notBefore = -Infinity;

  constructor(network: string, size: number, options: NetworkPoolOptions) {
    this.#network = network;
    this.#size = size;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#reportSize();
    this.#ended = this.#keepFilled();
  }

  take(): WarmSandbox | undefined {
    const warm = this.#ready.shift();
    if (warm === undefined) return undefined;
    this.#underWay++;
    this.#reportSize();
    return warm;
  }

  /** Hands out a sandbox that was taken; undefined if it has changed since it was made. */
  async claim(
    warm: WarmSandbox,
    request: SandboxRequest,
    options: CallOptions,
  ): Promise<Sandbox | undefined> {
    try {
      const sandbox = await this.#options.warm.claim(warm, request, options);
      if (sandbox === undefined) {
        this.#leaving.add(warm);
        // What has changed this one may have changed all.
        this.#isCheckDue = true;
      }
      this.#madeAt.delete(warm);
      return sandbox;
    } catch (error) {
      // It is older than all that are ready now. A check finds out whether it is still intact.
      this.#ready.unshift(warm);
      this.#isCheckDue = true;
      this.#reportSize();
      throw error;
    } finally {
      this.#underWay--;
      this.#wake.resolve();
    }
  }

  changed(): void {
    this.#notBefore = -Infinity;
    this.#isCheckDue = true;
    this.#wake.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#ended;
    for (const warm of this.#ready.splice(0)) this.#leaving.add(warm);
    this.#reportSize();
    await this.#removeLeaving();
  }

  async #keepFilled(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      this.#wake = Promise.withResolvers();
      try {
        if (this.#isCheckDue) await this.#retire();
        await this.#removeLeaving();
        await this.#fill(signal);
      } catch (error) {
        if (!signal.aborted) this.#failed(error);
      }
      await this.#rest(signal);
    }
  }

  /** Waits until something has changed, the next check is due, or what failed may be retried. */
  async #rest(signal: AbortSignal): Promise<void> {
    const { checkMs = 5_000 } = this.#options;
    const now = performance.now();
    const untilRetry = this.#notBefore - this.#clock.now();
    const untilCheck = this.#checkedAt + checkMs - now;
    const woken = new AbortController();
    const end = AbortSignal.any([signal, woken.signal]);
    const wait = untilRetry > 0 ? Math.min(untilRetry, untilCheck) : untilCheck;
    const waiting = wait > 0 ? delay(wait, end).catch(() => {}) : Promise.resolve();
    await Promise.race([this.#wake.promise, waiting]);
    woken.abort();
    await waiting;
    if (performance.now() - this.#checkedAt >= checkMs) this.#isCheckDue = true;
  }

  /** Takes out the sandboxes that are too old, or have changed since they were made. */
  async #retire(): Promise<void> {
    const { maxAgeMs = 3_600_000, warm: sandboxes } = this.#options;
    this.#isCheckDue = false;
    this.#checkedAt = performance.now();
    for (const warm of [...this.#ready]) {
      const isOld = this.#clock.now() - (this.#madeAt.get(warm) ?? 0) > maxAgeMs;
      if (!isOld && await sandboxes.isIntact(warm)) continue;
      const at = this.#ready.indexOf(warm);
      // It may have been taken meanwhile.
      if (at < 0) continue;
      this.#ready.splice(at, 1);
      this.#leaving.add(warm);
      this.#reportSize();
    }
  }

  /** Removes the leaving sandboxes. The next check retries one that cannot be removed now. */
  async #removeLeaving(): Promise<void> {
    const { warm: sandboxes, log } = this.#options;
    const network = this.#network;
    await inParallel([...this.#leaving], REMOVED_AT_ONCE, async (warm) => {
      try {
        for (const failure of await sandboxes.tearDown(warm)) {
          log.warn(`left on record: ${failure.message}`, { sandbox: warm.id, network });
        }
        this.#leaving.delete(warm);
        this.#madeAt.delete(warm);
      } catch (error) {
        log.warn(`Cannot remove a sandbox of the pool: ${asCniError(error).message}`, {
          sandbox: warm.id,
          network,
        });
      }
    });
  }

  /** Makes as many as are missing now. Those that are taken meanwhile are replaced the next time. */
  async #fill(signal: AbortSignal): Promise<void> {
    const { warm: sandboxes, isReady } = this.#options;
    let missing = this.#size - this.#ready.length - this.#underWay;
    if (missing <= 0 || this.#clock.now() < this.#notBefore) return;
    if (!await isReady(this.#network)) throw new CniError("not-ready", "the network is not ready");
    for (; missing > 0; missing -= MADE_AT_ONCE) {
      signal.throwIfAborted();
      const making = Array.from({ length: Math.min(missing, MADE_AT_ONCE) }, async () => {
        const warm = await sandboxes.make(this.#network, signal);
        this.#madeAt.set(warm, this.#clock.now());
        this.#ready.push(warm);
        this.#reportSize();
      });
      const failure = (await Promise.allSettled(making)).find(({ status }) => status === "rejected");
      if (failure?.status === "rejected") throw failure.reason;
    }
    this.#failures = 0;
  }

  #failed(error: unknown): void {
    const ms = backoffMs(++this.#failures);
    this.#notBefore = this.#clock.now() + ms;
    this.#options.log.warn(`Cannot fill the pool: ${asCniError(error).message}`, {
      network: this.#network,
      againInMs: ms,
    });
  }

  #reportSize(): void {
    this.#options.observer.onPoolSize(this.#network, this.#ready.length);
  }
}
