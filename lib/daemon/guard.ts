import type { Logger } from "../host/log.ts";
import { messageOf } from "../errors/to_cni_error.ts";

/** How {@linkcode guardProcess} tells of what it caught. */
export interface GuardOptions {
  readonly log: Logger;
  /** Called for each error. */
  readonly onUncaught: () => void;
}

/**
 * Keeps an error that nothing has caught from ending the process, until disposed of: it is logged with where it came
 * from, and counted. A daemon has more to lose than the operation that the error belongs to.
 */
export function guardProcess({ log, onUncaught }: GuardOptions): Disposable {
  const note = (event: Event, error: unknown) => {
    event.preventDefault();
    onUncaught();
    log.error(`an error was not handled: ${messageOf(error)}`, { stack: stackOf(error) });
  };
  const onRejection = (event: PromiseRejectionEvent) => note(event, event.reason);
  const onError = (event: ErrorEvent) => note(event, event.error);
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
