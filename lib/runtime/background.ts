import type { CallOptions } from "../async/call_options.ts";
import { repeat } from "../async/repeat.ts";
import { Retrier } from "../attachment/retry.ts";
import { loadBuiltins } from "../builtin/mod.ts";
import type { CatalogSource } from "../catalog/source.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { keepIp } from "../kernel/ip_use.ts";
import { Readiness } from "../readiness/readiness.ts";
import type { RuntimeContext } from "./context.ts";

/** What a process that keeps running does in the background. */
export interface Background extends AsyncDisposable {
  readonly source: CatalogSource;
  readonly readiness: Readiness;
}

/** How a process that keeps running watches its directories and networks. */
export interface BackgroundOptions {
  /** Watches the directories; without, they are read at each call. @default {true} */
  readonly watch?: boolean | undefined;
  /**
   * Milliseconds between two readings of the directories without an event, and between two STATUS calls to a network.
   * @default {10_000}
   */
  readonly pollMs?: number | undefined;
  /** Milliseconds for which a network that was ready counts as ready while its STATUS fails. @default {30_000} */
  readonly graceMs?: number | undefined;
  /** Milliseconds between two garbage collections; 0 for none. @default {0} */
  readonly gcIntervalMs?: number | undefined;
}

/** What {@linkcode startBackground} needs to know beside the options of the caller. */
export interface BackgroundTasks {
  /** The name of the default network, if it is fixed. */
  readonly defaultNetwork: string | undefined;
  /** Collects garbage once, as a timer does. */
  readonly gc: (source: CatalogSource, signal: AbortSignal) => Promise<unknown>;
}

/**
 * Reads the configuration for the first time, then starts to watch the directories, to ask the networks, to retry what could
 * not be detached, and to collect garbage.
 */
export async function startBackground(
  context: RuntimeContext,
  { watch = true, pollMs, graceMs, gcIntervalMs = 0 }: BackgroundOptions,
  { defaultNetwork, gc }: BackgroundTasks,
  { signal }: CallOptions = {},
): Promise<Background> {
  const { sandboxContext, store, probeNetwork, attachments, failed, locks, readinessMemory } = context;
  const { log, running } = sandboxContext;
  await loadBuiltins();
  const source = watch ? await context.watchCatalog({ pollMs, signal }) : context.catalogSource;
  const retrier = new Retrier({ attachments, store, failed, locks, running, log });
  retrier.start();
  const readiness = Readiness.start({
    source,
    ask: probeNetwork,
    memory: readinessMemory,
    defaultNetwork,
    graceMs,
    intervalMs: pollMs,
    log,
  });
  // A caller that asks for the status at once gets the names of the networks.
  await readiness.begun;
  const onError = (error: unknown) => log.error(`Cannot collect garbage: ${asCniError(error).message}`);
  const collecting = gcIntervalMs > 0
    ? repeat(gcIntervalMs, (signal) => gc(source, signal), onError)
    : undefined;
  const ip = keepIp();
  let closing: Promise<unknown> | undefined;
  const close = async () => {
    await Promise.all([collecting, retrier, readiness].map((task) => task?.[Symbol.asyncDispose]()));
    await source[Symbol.asyncDispose]();
    await ip[Symbol.asyncDispose]();
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
