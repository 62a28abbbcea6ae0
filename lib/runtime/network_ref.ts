import type { AttachRequest } from "../attachment/attachments.ts";
import { hasValidNames } from "../state/attachment_key.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { isCniError } from "../cni/error.ts";
import type { Catalog } from "../catalog/catalog.ts";
import type { Parts } from "./wiring.ts";

/** A network: its name in the configuration directory, or its configuration. */
export type NetworkRef = string | NetworkConfigList;

/** The name of a network. */
export function nameOf(network: NetworkRef): string {
  return typeof network === "string" ? network : network.name;
}

/** The network of that name in the directory. A configuration is given back as it is. */
export async function presentNetwork(
  network: NetworkRef,
  catalog: () => Promise<Catalog>,
): Promise<NetworkConfigList> {
  return typeof network === "string" ? (await catalog()).asCnitool(network) : network;
}

/**
 * The network of that name, or what the attachment was made with where the directory has none.
 *
 * @throws {CniError} kind `not-found`, naming the files that were rejected
 */
export async function presentOrRecorded(
  network: NetworkRef,
  { containerId, ifName }: AttachRequest,
  parts: Pick<Parts, "seenCatalog" | "attachments">,
): Promise<NetworkConfigList> {
  try {
    return await presentNetwork(network, parts.seenCatalog);
  } catch (error) {
    const key = { network: nameOf(network), containerId, ifName };
    const isMissing = isCniError(error, "not-found") || isCniError(error, "config");
    const recorded = isMissing && hasValidNames(key) ? await parts.attachments.recordedList(key) : undefined;
    if (recorded === undefined) throw error;
    return recorded;
  }
}
