import type { NetworkConfigList } from "../cni/config.ts";
import type { CniError } from "../cni/error.ts";
import type { AttachmentStore } from "../state/attachment_store.ts";
import { withDetails } from "./with_details.ts";

/** An address that an IPAM plugin keeps in a directory for a container. */
export interface StoredAddress {
  readonly dir: string;
  readonly address: string;
  readonly containerId: string;
}

/** Returns the addresses in the directories of a network's plugins, as far as their form is known. */
export type FindStoredAddresses = (list: NetworkConfigList) => Promise<readonly StoredAddress[]>;

/** Dependencies of {@linkcode unownedAddresses}. */
export interface UnownedAddressesContext {
  readonly store: Pick<AttachmentStore, "scanAll">;
  /** @default {finds none} */
  readonly storedAddresses?: FindStoredAddresses | undefined;
}

/** So many containers are named. */
const MOST_NAMED = 10;
/** What host-local, and the plugin of the CNI plugins project, say of a range without a free address. */
const EXHAUSTED = /\bno IP addresses available in range set\b/;

/**
 * Says which addresses of a network the directories of its plugins have for containers of which nothing is on record, a phrase
 * for each directory. They may be those of another runtime, so nothing frees them because of this.
 */
export async function unownedAddresses(
  list: NetworkConfigList,
  { store, storedAddresses }: UnownedAddressesContext,
): Promise<readonly string[]> {
  const stored = await storedAddresses?.(list) ?? [];
  if (stored.length === 0) return [];
  const { records, damaged } = await store.scanAll();
  const known = new Set([...records, ...damaged].map(({ containerId }) => containerId));
  const unowned = Map.groupBy(stored.filter(({ containerId }) => !known.has(containerId)), ({ dir }) => dir);
  return [...unowned].map(([dir, addresses]) => describe(dir, addresses));
}

/** Returns the error of a failed ADD; if a range had no free address, with the addresses of containers without a record. */
export async function withUnowned(
  error: CniError,
  list: NetworkConfigList,
  context: UnownedAddressesContext,
): Promise<CniError> {
  if (!EXHAUSTED.test(error.msg)) return error;
  try {
    const found = await unownedAddresses(list, context);
    return found.length === 0 ? error : withDetails(error, found.join("; "));
  } catch {
    // What cannot be read must not hide why the ADD failed.
    return error;
  }
}

function describe(dir: string, addresses: readonly StoredAddress[]): string {
  const containers = [...Map.groupBy(addresses, ({ containerId }) => containerId)];
  const named = containers.slice(0, MOST_NAMED).map(([id, held]) =>
    `"${id}" (${held.map(({ address }) => address).join(", ")})`
  );
  const more = containers.length - named.length;
  const count = addresses.length === 1 ? "1 address" : `${addresses.length} addresses`;
  const of = containers.length === 1 ? "a container" : `${containers.length} containers`;
  return `${count} in ${dir} of ${of} without a record: ${named.join(", ")}` +
    `${more > 0 ? ` and ${more} more` : ""}; another runtime may have them`;
}
