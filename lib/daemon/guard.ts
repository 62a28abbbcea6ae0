import { messageOf } from "../errors/to_cni_error.ts";
import type { Logger } from "../host/log.ts";

/** Options of {@linkcode guardProcess}. */
export interface GuardOptions {
  readonly log: Logger;
  /** Called for each error. */
  readonly onUncaught: () => void;
}

/**
 * Keeps uncaught errors from ending the process, until disposed of. Each is logged with its stack, and counted. A daemon
 * has more to lose than the one operation that failed.
 */
export function guardProcess({ log, onUncaught }: GuardOptions): Disposable {
  const report = (event: Event, error: unknown) => {
    event.preventDefault();
    onUncaught();
    log.error(`an error was not caught: ${messageOf(error)}`, { stack: stackOf(error) });
  };
  const onRejection = (event: PromiseRejectionEvent) => report(event, event.reason);
  const onError = (event: ErrorEvent) => report(event, event.error);
  globalThis.addEventListener("unhandledrejection", onRejection);
  globalThis.addEventListener("error", onError);
  return {
    [Symbol.dispose]() {
      globalThis.removeEventListener("unhandledrejection", onRejection);
      globalThis.removeEventListener("error", onError);
    },
  };
}

function stackOf(error: unknown): string | undefined {
  return error instanceof Error ? error.stack : undefined;
}
