import { repeat } from "../async/repeat.ts";
import { Retrier } from "../attachment/retry.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { CatalogSource } from "../catalog/source.ts";
import { Readiness } from "../readiness/readiness.ts";
import type { Parts } from "./wiring.ts";

/** What runs beside the calls of a process that lasts. */
export interface Background extends AsyncDisposable {
  readonly source: CatalogSource;
  readonly readiness: Readiness;
}

/** How a process that lasts keeps things up. */
export interface BackgroundOptions {
  /** Notices changes of the directories by itself. @default {true} */
  readonly watch?: boolean | undefined;
  /** Milliseconds between two looks at the directories, and between two questions to the networks. @default {10_000} */
  readonly pollMs?: number | undefined;
  /** For how many milliseconds a network that was ready and fails counts as ready. @default {30_000} */
  readonly graceMs?: number | undefined;
  /** Milliseconds between two sweeps; 0 for none. @default {0} */
  readonly gcIntervalMs?: number | undefined;
  readonly defaultNetwork?: string | undefined;
  /** One sweep. */
  readonly gc: (source: CatalogSource, signal: AbortSignal) => Promise<unknown>;
}

/** Reads the configuration for the first time, and starts to watch, to ask, to try again and to sweep. */
export async function startBackground(
  parts: Parts,
  options: BackgroundOptions,
  signal?: AbortSignal,
): Promise<Background> {
  const { watch = true, pollMs, graceMs, gcIntervalMs = 0, defaultNetwork, gc } = options;
  const { common, store, ask, attachments, failed, locks, readiness: memory } = parts;
  const { log, running } = common;
  const source = watch
    ? await parts.watchCatalog({ ...(pollMs && { pollMs }), signal })
    : parts.catalogSource;
  const retrier = new Retrier({ attachments, store, failed, locks, running, log });
  retrier.start();
  const readiness = Readiness.start({
    source,
    ask,
    memory,
    defaultNetwork,
    graceMs,
    intervalMs: pollMs,
    log,
  });
  // Whoever asks at once gets the names of the networks.
  await readiness.begun;
  const told = (error: unknown) => log.error(`the sweep failed: ${asCniError(error).message}`);
  const sweeping = gcIntervalMs > 0 ? repeat(gcIntervalMs, (signal) => gc(source, signal), told) : undefined;
  let closing: Promise<unknown> | undefined;
  const close = async () => {
    await Promise.all([sweeping, retrier, readiness].map((part) => part?.[Symbol.asyncDispose]()));
    await source[Symbol.asyncDispose]();
  };
  return {
    source,
    readiness,
    async [Symbol.asyncDispose]() {
      // A second call waits for the first.
      await (closing ??= close());
    },
  };
}
