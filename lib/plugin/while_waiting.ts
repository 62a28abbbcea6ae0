import type { Verb } from "./invocation.ts";

/** A plugin that has not answered for good yet. */
export interface PluginWait {
  readonly plugin: string;
  readonly verb: Verb;
  /** The name in the configuration. */
  readonly network: string;
  readonly containerId: string;
  /** Since it was called. */
  readonly ms: number;
  /** What it says meanwhile, if it says that it is to be asked again. */
  readonly answer?: string;
}

/** When somebody who waits is told that it goes on. */
export interface WaitPace {
  /** Milliseconds until the first time. @default {5_000} */
  readonly firstMs?: number | undefined;
  /** Milliseconds from one time to the next. @default {10_000} */
  readonly everyMs?: number | undefined;
}

/** Runs `body` and calls `tell`, with the milliseconds since the start, again and again as long as it goes on. */
export async function whileWaiting<T>(
  body: () => Promise<T>,
  tell: (ms: number) => void,
  { firstMs = 5_000, everyMs = 10_000 }: WaitPace = {},
): Promise<T> {
  const started = performance.now();
  const told = () => {
    timer = setTimeout(told, everyMs);
    tell(Math.round(performance.now() - started));
  };
  let timer = setTimeout(told, firstMs);
  try {
    return await body();
  } finally {
    clearTimeout(timer);
  }
}
