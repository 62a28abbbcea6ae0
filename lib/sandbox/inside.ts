import { messageOf } from "../errors/to_cni_error.ts";
import { insideNetworks, type InsideSandbox } from "../inside/inside_sandbox.ts";
import type { AttachmentStore } from "../state/attachment_store.ts";
import type { SandboxContext } from "./context.ts";
import { criDns, hasCriDns } from "./cri_record.ts";
import { putNetworkStatus, sweepNetworkStatus } from "./network_status_file.ts";
import type { SandboxRecord } from "./record.ts";

/** The dependencies of {@linkcode putInside}. */
export interface InsideContext extends Pick<SandboxContext, "inside" | "sandboxes" | "log" | "stateDir"> {
  readonly store: Pick<AttachmentStore, "ofContainer">;
}

/**
 * Whether a sandbox has a `resolv.conf` and a `hosts` of its own while it is ready. In the namespace of the host those of the
 * host are right, unless a client of the CRI has said how names are looked up; a container engine makes those of its pods itself,
 * whether it attaches them through podwire or beside it; and a warm sandbox has no name yet.
 */
export function hasInsideFiles(
  { phase, hostNetwork, owner, pool, cri, nri }: SandboxRecord,
): boolean {
  if (phase !== "ready" || owner !== undefined || pool !== undefined || nri !== undefined) return false;
  return !hostNetwork || cri !== undefined && hasCriDns(cri);
}

/** Makes the files of a sandbox as its records are now, and its names known to the others on its networks. Failures are logged. */
export async function putInside(record: SandboxRecord, context: InsideContext): Promise<void> {
  await putNetworkStatus(record, context);
  if (!hasInsideFiles(record)) return;
  let sandbox: InsideSandbox;
  try {
    sandbox = await insideSandbox(record, context);
  } catch (error) {
    const why = messageOf(error);
    context.log.warn(`Cannot write the hosts and resolv.conf of a sandbox: ${why}`, { sandbox: record.id });
    return;
  }
  await context.inside.put(sandbox);
}

/** Makes the files of all sandboxes as their records are now. Failures are logged. */
export async function sweepInside(context: InsideContext): Promise<void> {
  await context.inside.sweep(async () => {
    const found: InsideSandbox[] = [];
    const records = await context.sandboxes.all();
    await sweepNetworkStatus(records, context);
    for (const record of records) {
      if (hasInsideFiles(record)) found.push(await insideSandbox(record, context));
      context.sandboxes.release(record);
    }
    return found;
  });
}

async function insideSandbox(
  { id, name, namespace, cri }: SandboxRecord,
  { store }: Pick<InsideContext, "store">,
): Promise<InsideSandbox> {
  const isGiven = cri !== undefined && hasCriDns(cri);
  // Its plugins may have got the same.
  const networks = insideNetworks(await store.ofContainer(id))
    .map((network) => isGiven ? { ...network, wanted: {} } : network);
  return { id, name, namespace, networks, wanted: isGiven ? criDns(cri) : undefined };
}
