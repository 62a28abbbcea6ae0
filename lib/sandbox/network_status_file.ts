import { printJson } from "../cni/json.ts";
import { messageOf } from "../errors/to_cni_error.ts";
import { listFilesIn, removeNow } from "../host/file.ts";
import { inDirNow, publishNow } from "../host/file_now.ts";
import type { Logger } from "../host/log.ts";
import { networkStatusOf, networkStatusToJson } from "../pod/network_status.ts";
import { networksOf } from "../pod/pod_network.ts";
import type { AttachmentStore } from "../state/attachment_store.ts";
import type { SandboxRecord } from "./record.ts";

/** What the files are made with. */
export interface NetworkStatusContext {
  readonly stateDir: string;
  readonly store: Pick<AttachmentStore, "ofContainer">;
  readonly log: Logger;
}

const ENDING = ".json";

/** Returns where the network-status of a sandbox is. It is there while annotations of a pod have networks attached to it. */
export function networkStatusPath(stateDir: string, id: string): string {
  return `${dirOf(stateDir)}/${id}${ENDING}`;
}

function dirOf(stateDir: string): string {
  return `${stateDir}/network-status`;
}

/**
 * Makes the file with the network-status of a sandbox as its records are now. Annotations of a pod cannot be written through NRI,
 * so others read this file. Failures are logged: nothing that a pod needs waits for it.
 */
export async function putNetworkStatus(record: SandboxRecord, context: NetworkStatusContext): Promise<void> {
  const { stateDir, store, log } = context;
  const { id, namespace, phase } = record;
  try {
    const networks = phase === "ready" ? networksOf(await store.ofContainer(id)) : [];
    // Other sandboxes are asked for by command or HTTP; a file for each of them would cost more than it is worth.
    if (networks.every(({ title }) => title === undefined)) return removeNetworkStatus(id, context);
    const json = networkStatusToJson(networkStatusOf(namespace, networks));
    inDirNow(dirOf(stateDir), () => publishNow(networkStatusPath(stateDir, id), `${printJson(json, 2)}\n`));
  } catch (error) {
    log.warn(`Cannot write the network-status of a sandbox: ${messageOf(error)}`, { sandbox: id });
  }
}

/** Removes the file of a sandbox. A failure is logged. */
export function removeNetworkStatus(
  id: string,
  { stateDir, log }: Omit<NetworkStatusContext, "store">,
): void {
  try {
    removeNow(networkStatusPath(stateDir, id));
  } catch (error) {
    log.warn(`Cannot remove the network-status of a sandbox: ${messageOf(error)}`, { sandbox: id });
  }
}

/** Makes the files that are there as all sandboxes are, and removes those of sandboxes that are gone. Failures are logged. */
export async function sweepNetworkStatus(
  records: readonly SandboxRecord[],
  context: NetworkStatusContext,
): Promise<void> {
  const byId = new Map(records.map((record) => [record.id, record]));
  for (const file of await listFilesIn(dirOf(context.stateDir))) {
    const id = file.endsWith(ENDING) ? file.slice(0, -ENDING.length) : undefined;
    const record = id === undefined ? undefined : byId.get(id);
    if (record !== undefined) await putNetworkStatus(record, context);
    else if (id !== undefined) removeNetworkStatus(id, context);
  }
}
