import { withContainerLock } from "../state/container_locks.ts";
import type { AttachmentStore } from "../state/attachment_store.ts";
import { type CniError, isCniError } from "../cni/error.ts";
import type { PreparedSandbox } from "./create.ts";
import { validateName } from "./name.ts";
import type { SandboxContext } from "./context.ts";
import type { SandboxRecord } from "./record.ts";
import { hasUniqueName, type SandboxRequest } from "./request.ts";
import type { DamagedRecord } from "./damaged_record.ts";
import { isSameAttempt, NameTakenError, type SandboxStore } from "./store.ts";
import { type Sandbox, viewSandbox } from "./view.ts";

/**
 * The sandbox of the very UID and attempt that is asked for, if it is ready; one that is being made is waited for. If
 * there is one, `onSame` is called.
 */
export async function sameAttempt(
  request: SandboxRequest,
  parts: SandboxContext,
  onSame?: () => void,
): Promise<Sandbox | undefined> {
  const { name, namespace = "default", uid, attempt = 0, id, replace = false, signal } = request;
  if (name === undefined || uid === undefined || replace || hasUniqueName(request)) return undefined;
  // Both become parts of a path.
  validateName("sandbox name", name);
  validateName("namespace", namespace);
  const { sandboxes: store, locks } = parts;
  const same = (await store.named(namespace, name)).find((each) =>
    !("text" in each) && each.uid === uid && (each.attempt ?? 0) === attempt
  );
  if (same === undefined || (id !== undefined && id !== same.id)) return undefined;
  return await withContainerLock(locks, same.id, signal, async () => {
    const record = await store.read(same.id);
    if (record?.phase !== "ready") return undefined;
    const sandbox = await viewSandbox(record, parts, signal);
    if (sandbox.state !== "ready") return undefined;
    onSame?.();
    return sandbox;
  });
}

/** The sandboxes that have the name which one wants: all of them, or only that of the same UID and attempt. */
export async function rivalsOf(
  { record, request }: PreparedSandbox,
  store: SandboxStore,
): Promise<readonly (SandboxRecord | DamagedRecord)[]> {
  // Nothing is on record yet of the one that wants it, or not any more.
  const named = await store.named(record.namespace, record.name);
  return hasUniqueName(request) ? named : named.filter((each) => isSameAttempt(record, each));
}

/**
 * Takes down those that have the name of a sandbox which is to replace them. They must not go for one that cannot be
 * made. `forget` runs with the lock of each.
 *
 * @throws {CniError} if it cannot be made, or one of them is of a newer version
 */
export async function evictRivals(
  prepared: PreparedSandbox,
  { sandboxes, attachments, store, locks, log }: SandboxContext & { readonly store: AttachmentStore },
  forget: (id: string) => Promise<readonly CniError[]>,
): Promise<void> {
  const { record, plan, request: { signal } } = prepared;
  const owners = (await rivalsOf(prepared, sandboxes)).map(({ id }) => id);
  if (owners.length === 0) return;
  await attachments.requirePossible(record.id, plan, { leaving: owners, signal });
  for (const owner of owners) {
    const failures = await withContainerLock(locks, owner, signal, async () => {
      await store.requireUnderstood(owner);
      return await forget(owner);
    });
    for (const failure of failures) log.warn(`left on record: ${failure.message}`, { sandbox: owner });
  }
}

/** How often a run is tried again because others were faster. */
const MOST_ROUNDS = 100;
/** What is just being taken down may be in the way for so many rounds. */
const MOST_WITHOUT_RIVALS = 5;

/** Whether a run that came into conflict is to be tried again, as another one was faster: it goes after that. */
export async function isWorthAnother(
  error: unknown,
  prepared: PreparedSandbox,
  round: number,
  { sandboxes }: SandboxContext,
): Promise<boolean> {
  const { request } = prepared;
  const { replace = false } = request;
  if (!isCniError(error, "conflict") || round === MOST_ROUNDS) return false;
  if (!replace && hasUniqueName(request)) return false;
  const rivals = await rivalsOf(prepared, sandboxes);
  if (replace) return error instanceof NameTakenError || rivals.length > 0 || round <= MOST_WITHOUT_RIVALS;
  // One that is there by now was found, and given, in the round after this one.
  return rivals.some((each) =>
    "phase" in each && (each.phase === "creating" || (each.phase === "ready" && round === 1))
  );
}
