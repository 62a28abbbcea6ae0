import { CniError, isCniError } from "../cni/error.ts";
import type { AttachmentStore } from "../state/attachment_store.ts";
import type { SandboxContext } from "./context.ts";
import type { DamagedSandboxes } from "./damaged_sandboxes.ts";
import { type FindOptions, findSandbox } from "./find_sandbox.ts";
import { isInTransition, type SandboxRecord } from "./record.ts";

/** The dependencies of {@linkcode withSandboxLock}. */
export interface SandboxLockContext extends Pick<SandboxContext, "sandboxes" | "locks" | "running"> {
  readonly store: Pick<AttachmentStore, "requireUnderstood">;
  readonly damagedSandboxes: Pick<DamagedSandboxes, "of">;
}

/**
 * Looks up a sandbox and runs `body` with its record while the container's lock is held. The record is read again under
 * the lock, because another process may have changed it. Returns undefined if the sandbox does not exist and `missingOk` is set.
 *
 * @throws {CniError} kind `not-found` unless `missingOk`, or the reason of the signal
 */
export async function withSandboxLock<T>(
  nameOrId: string,
  { namespace, missingOk = false, signal }: FindOptions & {
    /** Whether the operation succeeds without an effect if the sandbox does not exist. @default {false} */
    readonly missingOk?: boolean | undefined;
  },
  { sandboxes, store, locks, damagedSandboxes, running }: SandboxLockContext,
  body: (record: SandboxRecord) => Promise<T>,
): Promise<T | undefined> {
  signal?.throwIfAborted();
  const find = () => findSandbox(sandboxes, nameOrId, { namespace, damagedSandboxes });
  const found = await find().catch((error: unknown) => {
    if (missingOk && isCniError(error, "not-found")) return undefined;
    throw error;
  });
  if (found === undefined) return undefined;
  await using _lock = await locks.containers.hold(found.id, signal);
  await store.requireUnderstood(found.id);
  const record = await sandboxes.read(found.id) ?? await damagedSandboxes.of(found.id);
  // A sandbox with the same ID that was created since then is another one.
  if (record?.createdAt === found.createdAt) {
    // We hold the lock, so the interrupted operation was killed: a plugin of it may still be creating something.
    if (isInTransition(record.phase)) await running.endAbandonedOf(record.id);
    return await body(record);
  }
  if (missingOk) return undefined;
  throw new CniError("not-found", `the sandbox "${found.name}" is gone`);
}
