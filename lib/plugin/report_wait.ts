import type { Verb } from "./invocation.ts";

/** A plugin that has not given its final answer yet. */
export interface PluginWait {
  readonly plugin: string;
  readonly verb: Verb;
  /** The name in the configuration. */
  readonly network: string;
  readonly containerId: string;
  /** Time since the call. */
  readonly ms: number;
  /** Its last answer, if that was "try again later". */
  readonly answer?: string | undefined;
}

/** Times at which a wait is reported. */
export interface WaitPace {
  /** Milliseconds until the first report. @default {5_000} */
  readonly firstMs?: number | undefined;
  /** Milliseconds from one report to the next. @default {10_000} */
  readonly everyMs?: number | undefined;
}

/**
 * Calls `report` again and again with the milliseconds since the start, until the end of the block:
 * `using _reports = reportWait(report)`.
 */
export function reportWait(
  report: (ms: number) => void,
  { firstMs = 5_000, everyMs = 10_000 }: WaitPace = {},
): Disposable {
  const started = performance.now();
  const repeat = () => {
    timer = setTimeout(repeat, everyMs);
    report(Math.round(performance.now() - started));
  };
  let timer = setTimeout(repeat, firstMs);
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}
