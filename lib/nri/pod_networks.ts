import { type Clock, systemClock } from "../async/clock.ts";
import { Semaphore } from "../async/semaphore.ts";
import { Serial } from "../async/serial.ts";
import { delay, settled } from "../async/wait.ts";
import { CniError } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { asksForNetworks, type EnginePod, titleOf } from "./engine_pod.ts";
import { type AttachContext, attachPod, countAttached, detachPod } from "./pod_attachment.ts";

/** How {@linkcode PodNetworks} works. */
export interface PodNetworksOptions extends AttachContext {
  readonly runtime: AttachContext["runtime"] & { readonly recover: () => Promise<unknown> };
  /**
   * How many pods are attached at once, without those that only wait for a plugin. More would take so much of this process that it
   * misses the limit of the engine. @default {4}
   */
  readonly atOnce?: number | undefined;
  /** Gets how each attempt to attach a pod has ended. */
  readonly onAttempt?: ((outcome: AttemptOutcome) => void) | undefined;
  readonly clock?: Clock | undefined;
}

/** How an attempt to attach a pod ended; `late` means that containers of the pod ran before. */
export type AttemptOutcome = "attached" | "late" | "failed";

/** Handlers of engines wait no longer than this for plugins. */
const LONGEST_WAIT_MS = 500;
/** Engines without a word about their limit have that of containerd. */
const DEFAULT_REQUEST_MS = 2_000;
const AT_ONCE = 4;
/** An attempt that takes longer waits for a plugin, which is a process of its own. */
const BUSY_MS = 1_000;

/** An attempt to attach a pod. */
interface Attempt {
  readonly stop: AbortController;
  /** The moment until which the engine waits for it. */
  readonly until: number;
  /** Resolves when it has ended; never rejects. */
  readonly ended: Promise<void>;
  /** Undefined while it runs; null if it was a success. */
  error?: CniError | null;
  /** How many networks the pod asks for; undefined before that is known. */
  asked?: number;
}

/**
 * The networks that pods of a container engine ask for. An engine handles one request after another, of all pods, and throws a
 * plugin out that misses its limit; the pod then runs without its networks. So nothing here waits long for a plugin: attaching
 * goes on while the engine does, and creating the first container is refused until it has ended.
 */
export class PodNetworks {
  readonly #options: PodNetworksOptions;
  readonly #clock: Clock;
  readonly #slots: Semaphore;
  /** What is done with one pod is done in order. */
  readonly #serial = new Serial();
  readonly #attempts = new Map<string, Attempt>();
  readonly #running = new Set<Promise<void>>();
  #waitMs = waitFor(DEFAULT_REQUEST_MS);
  #overdue = 0;
  #isEnding = false;

  constructor(options: PodNetworksOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#slots = new Semaphore(options.atOnce ?? AT_ONCE);
  }

  /** Number of attempts and removals that run. */
  get underWay(): number {
    return this.#running.size;
  }

  /** Milliseconds that the engine gives a request; 0 if it does not say. */
  set requestMs(ms: number) {
    this.#waitMs = waitFor(ms > 0 ? ms : DEFAULT_REQUEST_MS);
  }

  /** Begins to attach a pod, if it asks for networks. */
  begin(pod: EnginePod): void {
    if (asksForNetworks(pod)) this.#begin(pod);
  }

  /**
   * Returns when a container of the pod may be created. A failed attempt is made again first.
   *
   * @throws {CniError} while the pod is being attached, or with the reason why it cannot be
   */
  async requireAttached(pod: EnginePod): Promise<void> {
    if (!asksForNetworks(pod)) return;
    const last = this.#attempts.get(pod.id);
    const attempt = last === undefined || last.error instanceof CniError ? this.#begin(pod) : last;
    await settled(attempt.ended, Math.max(0, attempt.until - this.#clock.now()));
    if (attempt.error === null) return;
    const reason = attempt.error ?? last?.error;
    if (attempt.error === undefined) throw await this.#stillAttaching(pod, attempt, reason ?? undefined);
    throw new CniError(
      "conflict",
      `${titleOf(pod)} is not attached to its networks: ${reason?.message ?? ""}`,
    );
  }

  /** Detaches a pod, or begins to: then it goes on by itself. Never throws. */
  async end(pod: EnginePod): Promise<void> {
    const attempt = this.#attempts.get(pod.id);
    if (attempt === undefined && !asksForNetworks(pod)) return;
    const detached = this.#detach(pod.id);
    // One DEL that hangs must not make the engine wait for each pod that ends.
    if (this.#overdue > 0) return;
    const isInTime = await settled(detached.then(() => true), this.#waitMs) ?? false;
    if (isInTime) return;
    this.#overdue++;
    void detached.then(() => this.#overdue--);
  }

  /**
   * Makes what is attached follow the pods that the engine has: attaches those that have slipped past, and detaches those that are
   * gone. `busy` are the pods that have containers.
   */
  async synchronize(pods: readonly EnginePod[], busy: ReadonlySet<string>): Promise<void> {
    const { runtime, log } = this.#options;
    const alive = new Set(pods.map(({ id }) => id));
    for (const id of this.#attempts.keys()) if (!alive.has(id)) void this.#detach(id);
    for (const pod of pods) {
      const last = this.#attempts.get(pod.id);
      const isOpen = last === undefined || last.error instanceof CniError;
      if (isOpen && asksForNetworks(pod)) this.#begin(pod, busy.has(pod.id));
    }
    try {
      for (const { id } of await runtime.sandboxes.list({ ofNri: true })) {
        // One that has an attempt by now was announced since.
        if (!alive.has(id) && !this.#attempts.has(id)) void this.#detach(id);
      }
      await runtime.recover();
    } catch (error) {
      log.error(`Cannot follow the pods of the engine: ${asCniError(error).message}`);
    }
  }

  /**
   * Detaches the pods whose namespace is gone. After a restart, containerd sends no more events of pods that it had before, not even
   * to a plugin that registers again.
   */
  async sweep(): Promise<void> {
    for (const { id, state, underWay } of await this.#options.runtime.sandboxes.list({ ofNri: true })) {
      const attempt = this.#attempts.get(id);
      const isAttaching = attempt !== undefined && attempt.error === undefined;
      if (state !== "ready" && !underWay && !isAttaching) await this.#detach(id);
    }
  }

  /** Begins no more attempts, and resolves when the last one has ended. */
  async drained(): Promise<void> {
    this.#isEnding = true;
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  /** Cancels the attempts that run. */
  cancel(): void {
    for (const { stop } of this.#attempts.values()) {
      stop.abort(new CniError("cancelled", "podwire is shutting down"));
    }
  }

  #begin(pod: EnginePod, isLate = false): Attempt {
    const ended = Promise.withResolvers<void>();
    const stop = new AbortController();
    const attempt: Attempt = { stop, until: this.#clock.now() + this.#waitMs, ended: ended.promise };
    this.#attempts.set(pod.id, attempt);
    const attach = async () => {
      // The engine gets its answer first.
      await delay(0);
      await this.#attach(pod, attempt, isLate);
    };
    this.#track(this.#serial.run(pod.id, attach).finally(ended.resolve));
    return attempt;
  }

  async #attach(pod: EnginePod, attempt: Attempt, isLate: boolean): Promise<void> {
    const { log, onAttempt } = this.#options;
    const { signal } = attempt.stop;
    const fields = { pod: `${pod.namespace}/${pod.name}`, sandbox: pod.id };
    try {
      if (this.#isEnding) throw new CniError("cancelled", "podwire is shutting down");
      const slot = await this.#slots.acquire(signal);
      const options = { signal, onAsked: (count: number) => attempt.asked = count };
      const attaching = attachPod(pod, options, this.#options);
      void settled(attaching.catch(() => {}), BUSY_MS).then(() => slot[Symbol.dispose]());
      const outcome = await attaching;
      attempt.error = null;
      if (outcome !== "attached") return;
      onAttempt?.(isLate ? "late" : "attached");
      if (isLate) log.warn("attached only after containers of the pod had started", fields);
      else log.info("attached", { ...fields, networks: attempt.asked });
    } catch (error) {
      attempt.error = asCniError(error);
      onAttempt?.("failed");
      if (!signal.aborted) log.error(`Cannot attach a pod: ${attempt.error.message}`, fields);
    }
  }

  #detach(id: string): Promise<void> {
    this.#attempts.get(id)?.stop.abort(new CniError("cancelled", "the pod has ended"));
    this.#attempts.delete(id);
    return this.#track(this.#serial.run(id, () => detachPod(id, this.#options)));
  }

  #track(work: Promise<void>): Promise<void> {
    this.#running.add(work);
    return work.finally(() => this.#running.delete(work));
  }

  async #stillAttaching(pod: EnginePod, { asked }: Attempt, last: CniError | undefined): Promise<CniError> {
    // Reading the records must not make it late either.
    const done = asked === undefined
      ? undefined
      : await settled(countAttached(pod.id, this.#options), this.#waitMs);
    const count = asked === undefined ? "" : `, ${Math.min(done ?? 0, asked)} of ${asked} networks`;
    const before = last === undefined ? "" : `; the last attempt failed: ${last.message}`;
    return new CniError("conflict", `${titleOf(pod)} is still attaching${count}${before}`);
  }
}

/** Returns how long a handler may wait: a quarter of its limit at most, because the engine counts its own work too. */
function waitFor(requestMs: number): number {
  return Math.min(LONGEST_WAIT_MS, requestMs / 4);
}
