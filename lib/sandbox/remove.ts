import type { CniError } from "../cni/error.ts";
import type { SandboxContext } from "./context.ts";
import { type SandboxRecord, stopped } from "./record.ts";
import { type SandboxLockContext, withSandboxLock } from "./sandbox_lock.ts";
import type { StopOptions } from "./stop.ts";
import { tearDown } from "./tear_down.ts";
import { writePhase } from "./write_phase.ts";

/** How a sandbox is removed. */
export interface RemoveOptions extends StopOptions {
  /** Whether the sandbox is forgotten even if not everything could be torn down. @default {false} */
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
