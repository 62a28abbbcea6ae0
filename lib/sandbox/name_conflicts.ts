import { type CniError, isCniError } from "../cni/error.ts";
import type { AttachmentStore } from "../state/attachment_store.ts";
import type { SandboxContext } from "./context.ts";
import type { PreparedSandbox } from "./create.ts";
import { type DamagedRecord, isDamaged } from "./damaged_record.ts";
import type { SandboxRecord } from "./record.ts";
import { hasUniqueName, type RunOptions, type SandboxRequest } from "./request.ts";
import { isSameAttempt, NameTakenError } from "./name_taken.ts";
import type { SandboxStore } from "./store.ts";
import { validateName } from "./validate_name.ts";
import { type Sandbox, viewSandbox } from "./view.ts";

/**
 * Returns the sandbox that has the UID and the attempt of the request, if it is ready, and calls `onSame`. If that sandbox
 * is being created, waits for it.
 */
export async function findSameAttempt(
  request: SandboxRequest,
  context: SandboxContext,
  { signal, onSame }: RunOptions,
): Promise<Sandbox | undefined> {
  const { name, namespace = "default", uid, attempt = 0, id, replace = false } = request;
  if (name === undefined || uid === undefined || replace || hasUniqueName(request)) return undefined;
  // The name and the namespace become parts of a path.
  validateName("sandbox name", name);
  validateName("namespace", namespace);
  const { sandboxes: store, locks } = context;
  const same = (await store.named(namespace, name)).find((each) =>
    !isDamaged(each) && each.uid === uid && (each.attempt ?? 0) === attempt
  );
  if (same === undefined || (id !== undefined && id !== same.id)) return undefined;
  await using _lock = await locks.containers.hold(same.id, signal);
  const record = await store.read(same.id);
  if (record?.phase !== "ready") return undefined;
  const sandbox = await viewSandbox(record, context, signal);
  if (sandbox.state !== "ready") return undefined;
  onSame?.();
  return sandbox;
}

/** Returns the sandboxes that hold the wanted name: all of them, or only the one with the same UID and attempt. */
async function nameHolders(
  { record, request }: PreparedSandbox,
  store: SandboxStore,
): Promise<readonly (SandboxRecord | DamagedRecord)[]> {
  // The sandbox that wants the name has no record yet, or no longer has one.
  const named = await store.named(record.namespace, record.name);
  return hasUniqueName(request) ? named : named.filter((each) => isSameAttempt(record, each));
}

/**
 * Removes the sandboxes that hold the name of a sandbox which replaces them. It first checks that the new sandbox can be
 * created, so that none is removed in vain. `remove` runs with the lock of each.
 *
 * @throws {CniError} if the new sandbox cannot be created, or a newer version wrote one of the others
 */
export async function evictNameHolders(
  prepared: PreparedSandbox,
  { sandboxes, attachments, store, locks, log }: SandboxContext & { readonly store: AttachmentStore },
  remove: (id: string) => Promise<readonly CniError[]>,
): Promise<void> {
  const { record, plan, signal } = prepared;
  const ids = (await nameHolders(prepared, sandboxes)).map(({ id }) => id);
  if (ids.length === 0) return;
  await attachments.requirePossible(record.id, plan, { leaving: ids, signal });
  const evict = async (id: string) => {
    await using _lock = await locks.containers.hold(id, signal);
    await store.requireUnderstood(id);
    return await remove(id);
  };
  for (const id of ids) {
    for (const failure of await evict(id)) log.warn(`left on record: ${failure.message}`, { sandbox: id });
  }
}

/** How often a run is tried again because other runs were faster. */
const MOST_ROUNDS = 100;
/** Number of rounds in which a sandbox that is being torn down may still be in the way. */
const MOST_WITHOUT_HOLDERS = 5;

/** Whether a run that failed with a conflict is tried again, because another run was faster. */
export async function isWorthRetry(
  error: unknown,
  prepared: PreparedSandbox,
  round: number,
  { sandboxes }: SandboxContext,
): Promise<boolean> {
  const { request } = prepared;
  const { replace = false } = request;
  if (!isCniError(error, "conflict") || round === MOST_ROUNDS) return false;
  if (!replace && hasUniqueName(request)) return false;
  const holders = await nameHolders(prepared, sandboxes);
  if (replace) return error instanceof NameTakenError || holders.length > 0 || round <= MOST_WITHOUT_HOLDERS;
  // A sandbox that is ready by now is found, and returned, in the next round.
  return holders.some((each) =>
    !isDamaged(each) && (each.phase === "creating" || (each.phase === "ready" && round === 1))
  );
}
