import type { Catalog } from "../catalog/catalog.ts";
import type { AttachmentStore } from "../state/attachment_store.ts";
import type { SandboxContext } from "./context.ts";
import type { PreparedSandbox, SandboxCreator } from "./create.ts";
import type { DamagedSandboxes } from "./damaged_sandboxes.ts";
import { tearDownEndedContainers } from "./ended_containers.ts";
import { putInside } from "./inside.ts";
import { evictNameHolders, findSameAttempt, isWorthRetry } from "./name_conflicts.ts";
import type { Recovery } from "./recovery.ts";
import { removeLocked, requireNotOwned } from "./remove.ts";
import type { RunOptions, SandboxRequest } from "./request.ts";
import { type Sandbox, viewSandbox } from "./view.ts";

/** The dependencies of {@linkcode runSandbox}. */
export interface RunContext extends SandboxContext {
  readonly creator: SandboxCreator;
  readonly damagedSandboxes: DamagedSandboxes;
  readonly recovery: Recovery;
  readonly store: AttachmentStore;
  readonly catalog: (signal?: AbortSignal) => Promise<Catalog>;
}

/** As `Sandboxes.run`. */
export async function runSandbox(
  request: SandboxRequest,
  context: RunContext,
  options: RunOptions = {},
): Promise<Sandbox> {
  const { creator, recovery, catalog } = context;
  const { signal } = options;
  const { replace = false } = request;
  creator.checkPermissions(request);
  // A sandbox of an earlier boot could still hold the addresses that the new one needs.
  await recovery.beforeFirstAdd(signal);
  if (request.source?.kind === "pid" && request.source.container !== undefined) {
    await tearDownEndedContainers(context, signal);
  }
  for (let round = 1;; round++) {
    const same = await findSameAttempt(request, context, options);
    if (same !== undefined) return same;
    const prepared = await creator.prepare(request, await catalog(signal), { signal });
    if (replace) await evict(prepared, context);
    try {
      return await create(prepared, context);
    } catch (error) {
      // If another run was faster, this one tries again after it.
      if (!await isWorthRetry(error, prepared, round, context)) throw error;
    }
  }
}

async function create(prepared: PreparedSandbox, context: RunContext): Promise<Sandbox> {
  const { creator, locks } = context;
  const { record: { id }, signal } = prepared;
  await using _lock = await locks.containers.hold(id, signal);
  const { record, networks } = await creator.create(prepared);
  await putInside(record, context);
  return await viewSandbox(record, {
    ...context,
    pods: { networks: () => Promise.resolve(networks), networksNow: () => networks },
  });
}

/** Removes by ID, and never by name: the name of another sandbox may be equal to that ID. */
async function evict(prepared: PreparedSandbox, context: RunContext): Promise<void> {
  const { sandboxes, damagedSandboxes } = context;
  const { signal } = prepared;
  await evictNameHolders(prepared, context, async (id) => {
    const record = await sandboxes.read(id) ?? await damagedSandboxes.of(id);
    if (record !== undefined && prepared.record.cri === undefined) requireNotOwned(record, "replaced");
    if (record !== undefined) return await removeLocked(record, { force: true, signal }, context);
    await sandboxes.forgetDamaged(id);
    return [];
  });
}
