import type { CallOptions } from "../async/call_options.ts";
import type { Catalog } from "../catalog/catalog.ts";
import { isCreated } from "../catalog/created.ts";
import { EMBEDDED_FILE } from "../catalog/embedded_network.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { CniError } from "../cni/error.ts";
import { numberOf } from "../cni/json.ts";
import { removeIfThere, syncDir } from "../host/file.ts";
import type { AttachmentStore } from "../state/attachment_store.ts";
import type { Locks } from "../state/locks.ts";
import type { ResultCache } from "../state/result_cache.ts";
import { bridgeOf } from "./bridge_name.ts";

/** What {@linkcode removeNetwork} works with. */
export interface RemoveNetworkContext {
  readonly catalog: (signal?: AbortSignal) => Promise<Catalog>;
  readonly store: Pick<AttachmentStore, "ofNetwork">;
  readonly cache: Pick<ResultCache, "list">;
  readonly locks: { readonly networks: Pick<Locks["networks"], "exclude"> };
  /** Removes a bridge of the host if it has no port. */
  readonly removeBridge: (bridge: string, signal: AbortSignal | undefined) => Promise<void>;
  /** Removes the directories of addresses that host-local made for a network, if they have no address. */
  readonly removeAddressFolders: (list: NetworkConfigList, signal: AbortSignal | undefined) => Promise<void>;
}

/** How many containers a message names. */
const SHOWN = 8;

/**
 * Removes the file of a network that {@linkcode createNetwork} made, its bridge, and the empty directory of its addresses. It
 * refuses while a container is attached, also by another runtime. Returns the file.
 *
 * @throws {CniError} kind `not-found`, `usage` for a file that podwire has not made, or `conflict`
 */
export async function removeNetwork(
  name: string,
  { catalog, store, cache, locks, removeBridge, removeAddressFolders }: RemoveNetworkContext,
  { signal }: CallOptions = {},
): Promise<string> {
  const { file, list } = findNetwork(await catalog(signal), name);
  requireCreated(name, file, list);
  // No ADD runs while it is held, so nothing is attached after the look.
  using _lock = await locks.networks.exclude(name, signal);
  const onRecord = await store.ofNetwork(name);
  const inCache = (await cache.list()).entries.filter(({ network }) => network === name);
  const users = [
    ...new Set([...onRecord, ...inCache].map(({ containerId, ifName }) => `${containerId}:${ifName}`)),
  ];
  if (users.length > 0) throw inUse(name, users);
  await removeIfThere(file);
  await syncDir(file.slice(0, file.lastIndexOf("/")));
  const bridge = ownBridge(list);
  if (bridge !== undefined) await removeBridge(bridge, signal);
  await removeAddressFolders(list, signal);
  return file;
}

/**
 * Returns the file that pods use for a network.
 *
 * @throws {CniError} kind `not-found`
 */
export function findNetwork(
  catalog: Catalog,
  name: string,
): { readonly file: string; readonly list: NetworkConfigList } {
  const list = catalog.forPod(name);
  return { file: catalog.fileOf(name) ?? EMBEDDED_FILE, list };
}

/** Returns the bridge that nothing but the network uses; undefined if it has none. */
function ownBridge({ name, plugins }: NetworkConfigList): string | undefined {
  const [first] = plugins;
  const bridge = bridgeOf(name, numberOf(first?.json.vlan));
  // A bridge that was named was there before.
  const isOwn = first?.type === "bridge" && first.json.bridge === bridge &&
    first.json.removeEmptyBridge === true;
  return isOwn ? bridge : undefined;
}

function requireCreated(name: string, file: string, list: NetworkConfigList): void {
  if (file === EMBEDDED_FILE) {
    throw new CniError("usage", `"${name}" is the embedded network, which has no file`, {
      hint: "--no-embedded leaves it out",
    });
  }
  if (isCreated(list)) return;
  throw new CniError("usage", `Cannot remove the network "${name}": podwire has not made its file`, {
    file,
    hint: "remove the file when nothing is attached to the network any more",
  });
}

function inUse(name: string, users: readonly string[]): CniError {
  const more = users.length > SHOWN ? ` and ${users.length - SHOWN} more` : "";
  return new CniError("conflict", `Cannot remove the network "${name}": containers are attached to it`, {
    details: `${users.slice(0, SHOWN).join(", ")}${more}`,
    hint: `\`podwire network inspect ${name}\` shows them`,
  });
}
