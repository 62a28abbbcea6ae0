import type { Catalog } from "../catalog/catalog.ts";
import type { CatalogEntry } from "../catalog/entry.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { failed, type NetworkAnswer, type NetworkStatus } from "./status.ts";

/** Something in a catalog that has a status: a network whose plugins are asked, or something with a fixed answer. */
export type StatusTarget =
  & {
    /** The name of a network, the path of an unusable file, or {@linkcode NO_DEFAULT}. */
    readonly key: string;
    readonly network: string | undefined;
    readonly file: string | undefined;
    /** A text that is added to every answer. */
    readonly note?: string | undefined;
  }
  & (
    | { readonly list: NetworkConfigList; readonly answer?: undefined }
    | { readonly list?: undefined; readonly answer: NetworkAnswer }
  );

/** The key of a default network that does not exist. No network and no path has this name. */
export const NO_DEFAULT = "(default)";

/**
 * Returns the networks of a catalog and its unusable files, in the order of the files. If there is no default network, a
 * target for it is added at the end.
 */
export function statusTargets(catalog: Catalog, defaultNetwork?: string): readonly StatusTarget[] {
  const lists = new Map(catalog.lists.map((list) => [list.name, list]));
  const targets = catalog.entries.flatMap((entry): readonly StatusTarget[] => {
    if (entry.status === "rejected") return [rejectedTarget(entry)];
    const list = entry.status === "shadowed" ? undefined : lists.get(entry.name ?? "");
    return list === undefined ? [] : [networkTarget(list, entry)];
  });
  return [...targets, ...missingDefault(catalog, defaultNetwork, targets.length > 0 && lists.size === 0)];
}

/**
 * Returns the network of that name.
 *
 * @throws {CniError} kind `not-found`
 */
export function namedTarget(catalog: Catalog, network: string): StatusTarget {
  const list = catalog.asCnitool(network);
  const isInUse = ({ name, status }: CatalogEntry) =>
    name === network && (status === "used" || status === "stale");
  return networkTarget(list, catalog.entries.find(isInUse));
}

/** Makes the target of a network. */
export function networkTarget(list: NetworkConfigList, entry?: CatalogEntry): StatusTarget {
  const { name } = list;
  const note = entry?.status === "stale" ? problemOf(entry).message : undefined;
  return { key: name, network: name, file: entry?.file, list, note };
}

/** Makes the status of a target from its answer. */
export function statusOf(
  { network, file, note }: StatusTarget,
  answer: NetworkAnswer,
  { since, graceUntil }: Pick<NetworkStatus, "since" | "graceUntil">,
): NetworkStatus {
  const messages = [answer.msg, note].filter((text) => text !== undefined);
  return {
    network,
    ...answer,
    ready: answer.ready || graceUntil !== undefined,
    msg: messages.length === 0 ? undefined : messages.join("; "),
    since,
    graceUntil,
    file,
  };
}

/** Whether a status is that of an unusable file. Such a file hides no network. */
export function isRejectedFile({ reason, error, file }: NetworkStatus): boolean {
  return reason === "invalid-config" && file !== undefined && error?.context.verb === undefined;
}

function rejectedTarget(entry: CatalogEntry): StatusTarget {
  const { file, name } = entry;
  const answer = failed(problemOf(entry), "invalid-config");
  return { key: file, network: name, file, answer };
}

function problemOf({ file, reason, line, column }: CatalogEntry): CniError {
  return new CniError("config", reason ?? "it cannot be used", {
    code: ERROR_CODES.invalidNetworkConfig,
    file,
    line,
    column,
  });
}

function missingDefault(
  catalog: Catalog,
  defaultNetwork: string | undefined,
  onlyRejected: boolean,
): readonly StatusTarget[] {
  try {
    catalog.default();
    return [];
  } catch (cause) {
    const network = defaultNetwork ?? catalog.defaultChoice.pin?.network;
    // The unusable files already say why there is none, unless a certain name is expected.
    if (onlyRejected && network === undefined) return [];
    const isUnusable = catalog.defaultChoice.by === "unusable";
    const answer = failed(asCniError(cause), isUnusable ? "invalid-config" : "no-config");
    return [{ key: NO_DEFAULT, network, file: undefined, answer }];
  }
}
