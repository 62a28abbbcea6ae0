import type { Logger } from "../host/log.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { Recovery } from "./recovery.ts";

/** Where no daemon runs, containers that could not be started are noticed when the next one is. */
export async function settleContainers(
  { recovery, log }: { readonly recovery: Pick<Recovery, "settleContainers">; readonly log: Logger },
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    const { removed, failed } = await recovery.settleContainers(signal);
    for (const { why, ...item } of removed) log.info(`taken down: ${why}`, { ...item });
    for (const { why, ...item } of failed) log.warn(`not taken down: ${why}`, { ...item });
  } catch (error) {
    signal?.throwIfAborted();
    log.warn(`containers that are gone were not looked for: ${asCniError(error).message}`);
  }
}
