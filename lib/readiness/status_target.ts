import { failed, type NetworkAnswer, type NetworkStatus } from "./status.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { Catalog } from "../catalog/catalog.ts";
import type { CatalogEntry } from "../catalog/entry.ts";

/** Something of a catalogue of which there is to say whether it is ready: by its plugins, or without asking anybody. */
export type StatusTarget =
  & {
    /** The name of a network, the path of a file that cannot be used, or {@linkcode NO_DEFAULT}. */
    readonly key: string;
    readonly network: string | undefined;
    readonly file: string | undefined;
    /** What there is to say whatever the answer. */
    readonly note?: string | undefined;
  }
  & (
    | { readonly list: NetworkConfigList; readonly answer?: undefined }
    | { readonly list?: undefined; readonly answer: NetworkAnswer }
  );

/** The key of a default network that is not there; no network and no path is called so. */
export const NO_DEFAULT = "(default)";

/**
 * The networks of a catalogue in the order of their files, the files that cannot be used among them, and behind them
 * the default network if there is none.
 */
export function statusTargets(catalog: Catalog, defaultNetwork?: string): readonly StatusTarget[] {
  const lists = new Map(catalog.lists.map((list) => [list.name, list]));
  const subjects = catalog.entries.flatMap((entry): readonly StatusTarget[] => {
    if (entry.status === "rejected") return [rejectedSubject(entry)];
    const list = entry.status === "shadowed" ? undefined : lists.get(entry.name ?? "");
    return list === undefined ? [] : [networkTarget(list, entry)];
  });
  return [...subjects, ...missingDefault(catalog, defaultNetwork, subjects.length > 0 && lists.size === 0)];
}

/**
 * The network of that name.
 *
 * @throws {CniError} kind `not-found`
 */
export function namedTarget(catalog: Catalog, network: string): StatusTarget {
  const list = catalog.asCnitool(network);
  const isIts = ({ name, status }: CatalogEntry) =>
    name === network && (status === "used" || status === "stale");
  return networkTarget(list, catalog.entries.find(isIts));
}

/** A network that is to be asked. */
export function networkTarget(list: NetworkConfigList, entry?: CatalogEntry): StatusTarget {
  const { name } = list;
  const note = entry?.status === "stale" ? problemOf(entry).message : undefined;
  return { key: name, network: name, file: entry?.file, list, note };
}

/** The row of a subject that stands so. */
export function statusOf(
  { network, file, note }: StatusTarget,
  answer: NetworkAnswer,
  { since, graceUntil }: Pick<NetworkStatus, "since" | "graceUntil">,
): NetworkStatus {
  const words = [answer.msg, note].filter((text) => text !== undefined);
  return {
    network,
    ...answer,
    ready: answer.ready || graceUntil !== undefined,
    msg: words.length === 0 ? undefined : words.join("; "),
    since,
    graceUntil,
    file,
  };
}

/** Whether a row is that of a file that cannot be used, which stands in no network's way. */
export function isRejectedFile({ reason, error, file }: NetworkStatus): boolean {
  return reason === "invalid-config" && file !== undefined && error?.context.verb === undefined;
}

function rejectedSubject(entry: CatalogEntry): StatusTarget {
  const { file, name } = entry;
  const answer = failed(problemOf(entry), "invalid-config");
  return { key: file, network: name, file, answer };
}

function problemOf({ file, reason, line, column }: CatalogEntry): CniError {
  return new CniError("config", reason ?? "it cannot be used", {
    code: ERROR_CODES.invalidNetworkConfig,
    file,
    ...(line === undefined ? {} : { line }),
    ...(column === undefined ? {} : { column }),
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
    // The files say already why there is none, unless it is one of a certain name.
    if (onlyRejected && network === undefined) return [];
    const isUnusable = catalog.defaultChoice.by === "unusable";
    const answer = failed(asCniError(cause), isUnusable ? "invalid-config" : "no-config");
    return [{ key: NO_DEFAULT, network, file: undefined, answer }];
  }
}
