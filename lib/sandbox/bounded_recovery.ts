import type { Logger } from "../host/log.ts";
import { Deadline } from "../plugin/deadline.ts";
import { reportWait } from "../plugin/report_wait.ts";
import type { RecoverOptions } from "./recovery_report.ts";

/** How {@linkcode recoverInTime} recovers. */
export interface BoundedRecovery {
  /** Begins the recovery of these containers. */
  readonly recover: (
    signal: AbortSignal,
    onProgress: NonNullable<RecoverOptions["onProgress"]>,
  ) => Promise<void>;
  /** Milliseconds until the caller goes on without it. */
  readonly limitMs: number;
  readonly log: Logger;
  readonly signal?: AbortSignal | undefined;
}

const FIRST_NOTICE_MS = 1_000;
const NEXT_NOTICES_MS = 10_000;

/**
 * Recovers other containers from killed operations before something new is attached. It has a time limit, because it may
 * run plugins of networks that have nothing to do with the new attachment. What is not recovered by then stays on record.
 *
 * @throws The reason of `signal`, if that fires first.
 */
export async function recoverInTime(
  containerIds: readonly string[],
  { recover, limitMs, log, signal }: BoundedRecovery,
): Promise<void> {
  const left = new Set(containerIds);
  const what = () => `the recovery from killed operations on container ${[...left].join(", ")}`;
  using deadline = new Deadline(limitMs, signal);
  const onProgress = ({ item }: { readonly item: string }) => {
    // A recovery that was cut short has not recovered the container.
    if (!deadline.signal.aborted) left.delete(item);
  };
  const logWait = (ms: number) => log.warn(`still waiting for ${what()}, since ${Math.round(ms / 1_000)}s`);
  try {
    using _reports = reportWait(logWait, { firstMs: FIRST_NOTICE_MS, everyMs: NEXT_NOTICES_MS });
    await recover(deadline.signal, onProgress);
  } catch (error) {
    signal?.throwIfAborted();
    if (!deadline.signal.aborted) throw error;
    log.warn(`going on without ${what()}, after ${limitMs / 1_000}s; \`podwire recover\` tries again`);
  }
}
