import type { Span, SpanAttributes, Tracer } from "../host/telemetry.ts";
import type { ErrorKind } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { Verb } from "./invocation.ts";

/** How something ended: well, or with an error of that kind. */
export type Outcome = "ok" | ErrorKind;

/** One call of one plugin, an executable or a built-in; what a plugin delegates to is a call of its own. */
export interface PluginCallEvent {
  /** What was asked of the plugin. */
  readonly verb: Verb;
  /** The name in the configuration; empty where the call is for no network, as VERSION is. */
  readonly network: string;
  /** The plugin type, which is the name of the executable. */
  readonly type: string;
  /** Empty where the call is for no container. */
  readonly containerId: string;
  /** From the look for the plugin to its last answer, retries and their pauses included. */
  readonly ms: number;
  /** How it ended in the end. */
  readonly outcome: Outcome;
  /** How often the plugin was asked again because it had said "try again later" or could not be started yet. */
  readonly retries: number;
}

/** The locks that podwire waits for. */
export const LOCK_KINDS = ["boot", "gc", "container", "names", "ports", "interfaces"] as const;

/** One of {@linkcode LOCK_KINDS}. */
export type LockKind = typeof LOCK_KINDS[number];

/** One waiting for a lock, be it in vain. */
export interface LockWaitEvent {
  /** Which lock. */
  readonly lock: LockKind;
  /** Until it was held, or the waiting was cut short. */
  readonly ms: number;
}

/** What a runtime does as a whole. */
export const OPERATIONS = ["run", "stop", "remove", "gc", "recover"] as const;

/** One of {@linkcode OPERATIONS}. */
export type Operation = typeof OPERATIONS[number];

/** One operation. */
export interface OperationEvent {
  /** What was done. */
  readonly operation: Operation;
  /** From the call to the answer. */
  readonly ms: number;
  /** How it ended; what could not be torn down and is given back is no error of the operation. */
  readonly outcome: Outcome;
}

/**
 * Is told what happens in a runtime, right after it happened. What it throws is ignored: who only looks on must not
 * change what is seen.
 */
export interface Observer {
  /** A plugin has answered, or failed. */
  onPluginCall?(seen: PluginCallEvent): void;
  /** The waiting for a lock is over. */
  onLockWait?(seen: LockWaitEvent): void;
  /** An operation is over. */
  onOperation?(seen: OperationEvent): void;
}

/** Who looks on. */
export interface InstrumentationOptions {
  readonly observer?: Observer | undefined;
  readonly tracer?: Tracer | undefined;
}

/** What is known of a plugin call before it is made. */
export type StartedPluginCall = Omit<PluginCallEvent, "ms" | "outcome" | "retries">;

const NO_SPAN: Span = { environment: {}, note() {} };

/** Runs things under the eyes of an observer and a tracer, if there are any. */
export class Instrumentation {
  readonly #observer: Observer | undefined;
  readonly #tracer: Tracer | undefined;

  constructor({ observer, tracer }: InstrumentationOptions = {}) {
    this.#observer = observer;
    this.#tracer = tracer;
  }

  /** Runs an operation. */
  async operation<T>(operation: Operation, attributes: SpanAttributes, body: () => Promise<T>): Promise<T> {
    if (this.#observer === undefined && this.#tracer === undefined) return await body();
    return await this.#span(`podwire ${operation}`, attributes, (span) =>
      this.#timed(body, (ms, outcome) => {
        span.note({ "podwire.outcome": outcome });
        this.#observer?.onOperation?.({ operation, ms, outcome });
      }));
  }

  /** Calls a plugin; the body says of each retry that it makes one. */
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

  async #timed<T>(body: () => Promise<T>, tell: (ms: number, outcome: Outcome) => void): Promise<T> {
    const started = performance.now();
    const over = (outcome: Outcome) => {
      const ms = performance.now() - started;
      try {
        tell(ms, outcome);
      } catch {
        // What was done stays done, whoever looked on.
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
