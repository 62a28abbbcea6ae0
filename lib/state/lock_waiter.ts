import { type RunCommand, runCommand } from "../host/command.ts";
import type { Lock } from "../host/lock.ts";
import { waitForLock } from "../host/lock_wait.ts";
import { type Logger, silentLogger } from "../host/log.ts";
import { Instrumentation, type LockKind } from "../plugin/instrumentation.ts";

/** Longest wait for a lock, in milliseconds: as long as an ADD may take. */
export const DEFAULT_LOCK_TIMEOUT_MS = 120_000;

/** Options of {@linkcode LockWaiter}. */
export interface LockWaiterOptions {
  /** Observes each wait. @default {none} */
  readonly instrumentation?: Instrumentation | undefined;
  /** Finds the processes that hold a lock. @default {runCommand} */
  readonly run?: RunCommand | undefined;
  /** Logs a wait that lasts longer than a second. @default {logs nothing} */
  readonly log?: Logger | undefined;
  /** Milliseconds after which a wait ends with an error of kind `timeout`. @default {DEFAULT_LOCK_TIMEOUT_MS} */
  readonly limitMs?: number | undefined;
}

/** One lock to wait for. */
export interface WantedLock {
  readonly kind: LockKind;
  readonly path: string;
  /** For messages, as in "the lock of container web". */
  readonly what: string;
  /** @default {false} */
  readonly shared?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Waits for locks across processes. Each wait is limited and measured, and logged if it takes long. */
export class LockWaiter {
  readonly #instrumentation: Instrumentation;
  readonly #run: RunCommand;
  readonly #log: Logger;
  readonly #limitMs: number;

  constructor(options: LockWaiterOptions = {}) {
    this.#instrumentation = options.instrumentation ?? new Instrumentation();
    this.#run = options.run ?? runCommand;
    this.#log = options.log ?? silentLogger;
    this.#limitMs = options.limitMs ?? DEFAULT_LOCK_TIMEOUT_MS;
  }

  /**
   * Waits until the lock is held.
   *
   * @throws {HostError} reason `lock-timeout`, naming the process that holds it
   * @throws the reason of the signal
   */
  async wait({ kind, path, ...lock }: WantedLock): Promise<Lock> {
    return await this.#instrumentation.lockWait(kind, () =>
      waitForLock(path, {
        ...lock,
        limitMs: this.#limitMs,
        run: this.#run,
        onSlow: (sentence) => this.#log.warn(sentence, { lock: kind }),
      }));
  }
}
