import type { AttachRequest } from "../attachment/attachments.ts";
import type { Catalog } from "../catalog/catalog.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { isCniError } from "../cni/error.ts";
import { hasValidNames } from "../state/attachment_key.ts";
import type { AttachContext } from "./context.ts";

/** A network: its name in the configuration directory, or its configuration. */
export type NetworkRef = string | NetworkConfigList;

/** Returns the name of a network. */
export function nameOf(network: NetworkRef): string {
  return typeof network === "string" ? network : network.name;
}

/** Returns the network with that name in the directory. A configuration is returned as it is. */
export async function presentNetwork(
  network: NetworkRef,
  catalog: (signal?: AbortSignal) => Promise<Catalog>,
  signal: AbortSignal | undefined,
): Promise<NetworkConfigList> {
  return typeof network === "string" ? (await catalog(signal)).asCnitool(network) : network;
}

/**
 * Returns the network with that name; if the directory has none, the configuration of the ADD of the attachment.
 *
 * @throws {CniError} kind `not-found`, naming the files that were rejected
 */
export async function presentOrRecorded(
  network: NetworkRef,
  { containerId, ifName }: AttachRequest,
  context: Pick<AttachContext, "readOnlyCatalog" | "attachments">,
  signal: AbortSignal | undefined,
): Promise<NetworkConfigList> {
  try {
    return await presentNetwork(network, context.readOnlyCatalog, signal);
  } catch (error) {
    const key = { network: nameOf(network), containerId, ifName };
    const isMissing = isCniError(error, "not-found") || isCniError(error, "config");
    const recorded = isMissing && hasValidNames(key)
      ? await context.attachments.recordedList(key)
      : undefined;
    if (recorded === undefined) throw error;
    return recorded;
  }
}
