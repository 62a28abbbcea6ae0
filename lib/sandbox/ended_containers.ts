import { asCniError } from "../errors/to_cni_error.ts";
import type { Logger } from "../host/log.ts";
import type { Recovery } from "./recovery.ts";
import { logReport, TEAR_DOWN_WORDS } from "./recovery_report.ts";

/** Tears down the sandboxes of containers that have ended. Without a daemon, the next run is what notices containers that could not be started. */
export async function tearDownEndedContainers(
  { recovery, log }: { readonly recovery: Pick<Recovery, "tearDownEndedContainers">; readonly log: Logger },
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    logReport(await recovery.tearDownEndedContainers(signal), log, TEAR_DOWN_WORDS);
  } catch (error) {
    signal?.throwIfAborted();
    log.warn(`Cannot look for containers that have ended: ${asCniError(error).message}`);
  }
}
