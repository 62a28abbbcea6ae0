import type { CniError } from "../cni/error.ts";
import type { AttachmentStore } from "../state/attachment_store.ts";
import type { SandboxContext } from "./context.ts";
import type { FindOptions } from "./find_sandbox.ts";
import { type SandboxRecord, stopped } from "./record.ts";
import { type SandboxLockContext, withSandboxLock } from "./sandbox_lock.ts";
import { tearDown, tearDownHost } from "./tear_down.ts";
import { writePhase } from "./write_phase.ts";

/** How a sandbox is stopped. */
export interface StopOptions extends FindOptions {
  /** Whether a sandbox that does not exist counts as success. @default {false, and true for a forced removal} */
  readonly missingOk?: boolean | undefined;
}

/** The dependencies of {@linkcode stopSandbox}. */
export type StopContext = SandboxContext & SandboxLockContext & { readonly store: AttachmentStore };

/** As `Sandboxes.stop`. */
export async function stopSandbox(
  nameOrId: string,
  options: StopOptions,
  context: StopContext,
): Promise<readonly CniError[]> {
  const { signal } = options;
  const stop = (record: SandboxRecord) => stopLocked(record, signal, context);
  return await withSandboxLock(nameOrId, options, context, stop) ?? [];
}

async function stopLocked(
  record: SandboxRecord,
  signal: AbortSignal | undefined,
  context: StopContext,
): Promise<readonly CniError[]> {
  const { sandboxes } = context;
  // A stopped sandbox may still have a container, if its OCI runtime was missing at the first stop.
  if (record.phase === "stopped" && await sandboxes.has(record.id)) {
    const { failures, left } = await tearDownHost(record, context);
    if (left !== record.reason) await writePhase(stopped(record, left), context);
    return failures;
  }
  await writePhase({ ...record, phase: "stopping" }, context);
  const { failures, left } = await tearDown(record, context, { signal });
  await sandboxes.write(stopped(record, left));
  return failures;
}
