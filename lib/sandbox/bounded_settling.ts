import type { Logger } from "../host/log.ts";
import { Deadline } from "../plugin/deadline.ts";
import { whileWaiting } from "../plugin/while_waiting.ts";
import type { RecoverOptions } from "./recovery_report.ts";

/** How {@linkcode settleInTime} settles. */
export interface BoundedSettling {
  /** Takes it up for these containers. */
  readonly settle: (
    signal: AbortSignal,
    onProgress: NonNullable<RecoverOptions["onProgress"]>,
  ) => Promise<void>;
  /** Milliseconds until the caller goes on without. */
  readonly limitMs: number;
  readonly log: Logger;
  readonly signal?: AbortSignal | undefined;
}

const FIRST_NOTICE_MS = 1_000;
const NEXT_NOTICES_MS = 10_000;

/**
 * Settles what killed operations left of other containers, before something new is attached: that has its limit, and the
 * plugins that are asked meanwhile may be those of other networks. What is not settled by then stays on record.
 *
 * @throws The reason of `signal`, if that fires first.
 */
export async function settleInTime(
  containerIds: readonly string[],
  { settle, limitMs, log, signal }: BoundedSettling,
): Promise<void> {
  const left = new Set(containerIds);
  const what = () => `the end of what killed operations left of container ${[...left].join(", ")}`;
  using deadline = new Deadline(limitMs, signal);
  const onProgress = ({ item }: { readonly item: string }) => {
    // What was cut short has come to nothing.
    if (!deadline.signal.aborted) left.delete(item);
  };
  const body = () => settle(deadline.signal, onProgress);
  const tell = (ms: number) => log.warn(`still waiting for ${what()}, since ${Math.round(ms / 1_000)}s`);
  try {
    await whileWaiting(body, tell, { firstMs: FIRST_NOTICE_MS, everyMs: NEXT_NOTICES_MS });
  } catch (error) {
    signal?.throwIfAborted();
    if (!deadline.signal.aborted) throw error;
    log.warn(`going on without ${what()}, after ${limitMs / 1_000}s; \`podwire recover\` tries again`);
  }
}
