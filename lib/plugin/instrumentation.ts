import type { ErrorKind } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { Span, SpanAttributes, Tracer } from "../host/telemetry.ts";
import { keepIp } from "../kernel/ip_use.ts";
import type { Verb } from "./invocation.ts";

/** How something ended: `ok`, or with an error of that kind. */
export type Outcome = "ok" | ErrorKind;

/** One call of one plugin, an executable or a built-in. A delegated call is a separate event. */
export interface PluginCallEvent {
  /** The verb of the call. */
  readonly verb: Verb;
  /** The name in the configuration; empty if the call is not for a network, such as VERSION. */
  readonly network: string;
  /** The plugin type, which is the name of the executable. */
  readonly type: string;
  /** Empty if the call is not for a container. */
  readonly containerId: string;
  /** Time from the search for the plugin to its last answer, including retries and their delays. */
  readonly ms: number;
  /** How the last try ended. */
  readonly outcome: Outcome;
  /** Number of retries after "try again later" or a busy executable. */
  readonly retries: number;
}

/** Kinds of locks that podwire waits for. */
export const LOCK_KINDS = ["boot", "gc", "container", "names", "ports", "interfaces", "files"] as const;

/** One of {@linkcode LOCK_KINDS}. */
export type LockKind = typeof LOCK_KINDS[number];

/** One wait for a lock, successful or not. */
export interface LockWaitEvent {
  /** The kind of lock. */
  readonly lock: LockKind;
  /** Time until the lock was held or the waiting was aborted. */
  readonly ms: number;
}

/** Operations of a runtime. */
export const OPERATIONS = ["run", "connect", "disconnect", "stop", "remove", "gc", "recover"] as const;

/** One of {@linkcode OPERATIONS}. */
export type Operation = typeof OPERATIONS[number];

/** One operation. */
export interface OperationEvent {
  /** The operation. */
  readonly operation: Operation;
  /** Time from the call to its result. */
  readonly ms: number;
  /** How it ended. Failures that the result of the operation lists are not an error of the operation. */
  readonly outcome: Outcome;
}

/**
 * Gets the events of a runtime, right after they happened. Errors that it throws are ignored: an observer must not change
 * the operation.
 */
export interface Observer {
  /** Called when a plugin has answered or failed. */
  onPluginCall?(event: PluginCallEvent): void;
  /** Called when the wait for a lock is over. */
  onLockWait?(event: LockWaitEvent): void;
  /** Called when an operation is over. */
  onOperation?(event: OperationEvent): void;
}

/** Observer and tracer of a runtime. */
export interface InstrumentationOptions {
  readonly observer?: Observer | undefined;
  readonly tracer?: Tracer | undefined;
}

/** Members of a plugin call that are known before the call. */
export type StartedPluginCall = Omit<PluginCallEvent, "ms" | "outcome" | "retries">;

const NO_SPAN: Span = { environment: {}, note() {} };

/** Reports operations, plugin calls and lock waits to an observer and a tracer, if there are any. */
export class Instrumentation {
  readonly #observer: Observer | undefined;
  readonly #tracer: Tracer | undefined;

  constructor({ observer, tracer }: InstrumentationOptions = {}) {
    this.#observer = observer;
    this.#tracer = tracer;
  }

  /** Runs an operation. */
  async operation<T>(operation: Operation, attributes: SpanAttributes, body: () => Promise<T>): Promise<T> {
    await using _ip = keepIp();
    if (this.#observer === undefined && this.#tracer === undefined) return await body();
    return await this.#span(`podwire ${operation}`, attributes, (span) =>
      this.#timed(body, (ms, outcome) => {
        span.note({ "podwire.outcome": outcome });
        this.#observer?.onOperation?.({ operation, ms, outcome });
      }));
  }

  /** Calls a plugin. The body calls `onRetry` before each retry. */
  async pluginCall<T>(
    call: StartedPluginCall,
    body: (span: Span, onRetry: () => void) => Promise<T>,
  ): Promise<T> {
    if (this.#observer === undefined && this.#tracer === undefined) return await body(NO_SPAN, () => {});
    const { verb, network, type, containerId } = call;
    const attributes = {
      "cni.verb": verb,
      "cni.plugin": type,
      ...(network === "" ? {} : { "cni.network": network }),
      ...(containerId === "" ? {} : { "cni.container_id": containerId }),
    };
    let retries = 0;
    return await this.#span(
      `CNI ${verb} ${type}`,
      attributes,
      (span) =>
        this.#timed(() => body(span, () => void retries++), (ms, outcome) => {
          span.note({ "podwire.outcome": outcome, "podwire.retries": retries });
          this.#observer?.onPluginCall?.({ verb, network, type, containerId, ms, outcome, retries });
        }),
    );
  }

  /** Waits for a lock. */
  async lockWait<T>(lock: LockKind, wait: () => Promise<T>): Promise<T> {
    if (this.#observer === undefined) return await wait();
    return await this.#timed(wait, (ms) => this.#observer?.onLockWait?.({ lock, ms }));
  }

  async #span<T>(name: string, attributes: SpanAttributes, body: (span: Span) => Promise<T>): Promise<T> {
    if (this.#tracer === undefined) return await body(NO_SPAN);
    return await this.#tracer.span(name, attributes, body);
  }

  async #timed<T>(body: () => Promise<T>, report: (ms: number, outcome: Outcome) => void): Promise<T> {
    const started = performance.now();
    const over = (outcome: Outcome) => {
      const ms = performance.now() - started;
      try {
        report(ms, outcome);
      } catch {
        // An error of the observer must not change the result.
      }
    };
    try {
      const value = await body();
      over("ok");
      return value;
    } catch (error) {
      over(asCniError(error).kind);
      throw error;
    }
  }
}
