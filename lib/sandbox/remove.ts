import { CniError } from "../cni/error.ts";
import type { SandboxContext } from "./context.ts";
import { type SandboxRecord, stopped } from "./record.ts";
import { type SandboxLockContext, withSandboxLock } from "./sandbox_lock.ts";
import type { StopOptions } from "./stop.ts";
import { tearDown } from "./tear_down.ts";
import { writePhase } from "./write_phase.ts";

/** How a sandbox is removed. */
export interface RemoveOptions extends StopOptions {
  /**
   * Whether the sandbox is forgotten even if not everything could be torn down, and removed even if it belongs to a client of the
   * CRI, or to a pod of a container engine. @default {false}
   */
  readonly force?: boolean | undefined;
}

/** As `Sandboxes.remove`. */
export async function removeSandbox(
  nameOrId: string,
  options: RemoveOptions,
  context: SandboxContext & SandboxLockContext,
): Promise<readonly CniError[]> {
  const { force = false, missingOk = force } = options;
  const remove = (record: SandboxRecord) => removeLocked(record, options, context);
  return await withSandboxLock(nameOrId, { ...options, missingOk }, context, remove) ?? [];
}

/** Removes a sandbox by its record. The caller holds the container's lock. */
export async function removeLocked(
  record: SandboxRecord,
  { force = false, signal }: Pick<RemoveOptions, "force" | "signal">,
  context: SandboxContext,
): Promise<readonly CniError[]> {
  if (!force) requireNotOwned(record, "removed");
  await writePhase({ ...record, phase: force ? "removing" : "stopping" }, context);
  const { failures, left } = await tearDown(record, context, { signal });
  const [first] = failures;
  if (first !== undefined && !force) {
    await writePhase(stopped(record, left), context);
    throw first.within({
      hint: "`podwire rm -f` forgets the sandbox all the same; the attachment stays on record",
    });
  }
  await context.sandboxes.remove(record);
  return failures;
}

/**
 * Refuses a sandbox that belongs to a client of the CRI, which would make it again at once, or to a pod of a container engine.
 *
 * @throws {CniError} kind `conflict`
 */
export function requireNotOwned(record: SandboxRecord, done: "removed" | "replaced"): void {
  const { id, name, namespace } = record;
  const owner = ownerOf(record);
  if (owner === undefined) return;
  const msg = `the sandbox "${namespace}/${name}" belongs to ${owner.name}, and is not ${done}`;
  throw new CniError("conflict", msg, {
    hint: `${owner.instead}; \`podwire rm -f ${id}\` removes the sandbox all the same`,
  });
}

function ownerOf(
  { cri, nri }: SandboxRecord,
): { readonly name: string; readonly instead: string } | undefined {
  if (cri !== undefined) {
    return { name: "a kubelet, or another client of the CRI", instead: "remove its pod from the kubelet" };
  }
  if (nri === undefined) return undefined;
  return { name: `a pod of ${nri.engine}`, instead: "remove the pod, which is then detached" };
}
