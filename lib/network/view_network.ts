import { podInArgs } from "../attachment/pod_args.ts";
import { CREATED } from "../catalog/created.ts";
import type { CatalogEntry } from "../catalog/entry.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { type JsonObject, member, numberOf } from "../cni/json.ts";
import { asResult } from "../cni/result.ts";
import type { AttachmentRecord, AttachmentState } from "../state/attachment_store.ts";
import { subnetTexts } from "./network_subnets.ts";

/** A container on a network. */
export interface NetworkAttachment {
  /** The ID of the container. */
  readonly containerId: string;
  /** The interface in the container. */
  readonly ifName: string;
  /** The pod, as `NAMESPACE/NAME`; null for an attachment without one. */
  readonly pod: string | null;
  /** Whether it is attached, or something is in progress or failed. */
  readonly state: AttachmentState;
  /** The MAC address of the interface; null if the result has none. */
  readonly mac: string | null;
  /** With prefix lengths. */
  readonly addresses: readonly string[];
}

/** A network, as `network inspect` shows it. */
export interface Network {
  /** The name in its configuration. */
  readonly name: string;
  /** Its file; `(embedded)` for the network that needs none. */
  readonly file: string;
  /** Whether requests that name no network get this one. */
  readonly default: boolean;
  /** The plugin that makes the interface of a container. */
  readonly driver: string;
  /** The types of its plugins, in order. */
  readonly plugins: readonly string[];
  /** The subnets that it gives addresses of. */
  readonly subnets: readonly string[];
  /** The largest packet of a container that is attached now, in bytes; null if the configuration does not say it. */
  readonly mtu: number | null;
  /** When `network create` made its file, ISO 8601; null for any other file. */
  readonly created: string | null;
  /** Its configuration. */
  readonly config: JsonObject;
  /** Those on podwire's record, oldest first. */
  readonly attachments: readonly NetworkAttachment[];
}

/** Returns what to show of a network. */
export function viewNetwork(
  entry: Pick<CatalogEntry, "file" | "default">,
  list: NetworkConfigList,
  records: readonly AttachmentRecord[],
): Network {
  const created = list.json[CREATED];
  return {
    name: list.name,
    file: entry.file,
    default: entry.default,
    driver: list.plugins[0]?.type ?? "",
    plugins: list.plugins.map(({ type }) => type),
    subnets: subnetTexts(list),
    mtu: mtuOf(list),
    created: typeof created === "string" ? created : null,
    config: list.json,
    attachments: records.map(viewAttachment),
  };
}

/** The first plugin makes the interface. */
function mtuOf({ plugins: [first] }: NetworkConfigList): number | null {
  // To the plugins of the CNI plugins project 0 means that of the kernel, or of the parent.
  return numberOf(first === undefined ? undefined : member(first.json, "mtu")) || null;
}

function viewAttachment(record: AttachmentRecord): NetworkAttachment {
  const { containerId, ifName, state, result } = record;
  const pod = podInArgs(record);
  const { interfaces = [], ips = [] } = result === undefined ? {} : asResult(result);
  const own = interfaces.find(({ name, sandbox }) => name === ifName && sandbox);
  return {
    containerId,
    ifName,
    pod: pod === undefined ? null : `${pod.namespace}/${pod.name}`,
    state,
    mac: own?.mac ?? null,
    addresses: ips.map(({ address }) => address),
  };
}
