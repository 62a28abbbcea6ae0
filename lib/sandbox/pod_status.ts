import type { Attachments } from "../attachment/attachments.ts";
import type { AttachmentRecord, AttachmentState, AttachmentStore } from "../state/attachment_store.ts";
import { listOnRecord } from "../state/recorded_config.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { inspectNetns, type PodLink } from "../pod/inspect_netns.ts";
import type { PodNetwork } from "../pod/pod.ts";
import { CniError, ERROR_CODES, ERROR_KINDS } from "../cni/error.ts";
import { atLeast } from "../cni/version.ts";
import type { SandboxContext } from "./context.ts";
import type { SandboxRecord } from "./record.ts";
import { problemOf } from "./view.ts";

/** One network of a pod as it is now. */
export interface PodNetworkStatus extends Omit<PodNetwork, "result"> {
  /** How far the attachment is. */
  readonly state: AttachmentState;
  /** What its ADD came to, in the version of the network's configuration; nothing before its end. */
  readonly result: PodNetwork["result"] | undefined;
  /** Its interface as the kernel shows it now; nothing if it is not there. */
  readonly link: PodLink | undefined;
  /** Whether its plugins were asked: versions below 0.4.0 have no CHECK, and a list can say `disableCheck`. */
  readonly checked: boolean;
  /** What the plugins said is wrong, or why it could not be detached. */
  readonly error: CniError | undefined;
}

/** A pod as it is now. */
export interface PodStatus {
  /** The ID that plugins know it by. */
  readonly containerId: string;
  /** The name of the pod. */
  readonly name: string;
  /** Of the name. */
  readonly namespace: string;
  /** The path of its network namespace. */
  readonly netns: string;
  /** Whether all of it is as its set-up left it. */
  readonly ready: boolean;
  /** What is wrong with the namespace, with `lo`, or with the first network that is not right. */
  readonly reason: string | undefined;
  /** In the order of attachment. */
  readonly networks: readonly PodNetworkStatus[];
}

/** What {@linkcode podStatus} looks with. */
export interface PodStatusContext extends SandboxContext {
  readonly attachments: Attachments;
  readonly store: AttachmentStore;
}

/**
 * Looks into the namespace, at `lo` and the interfaces, and asks the plugins of each network with CHECK, with the configuration and
 * arguments of their ADD. The caller holds the container's lock.
 *
 * Source: CNI specification 1.1.0, section 3 "Checking".
 */
export async function podStatus(
  record: SandboxRecord,
  parts: PodStatusContext,
  signal?: AbortSignal,
): Promise<PodStatus> {
  const broken = await problemOf(record, parts);
  const { problem, links } = broken === undefined
    ? await inspectNetns(record.netns.path, { run: parts.run, signal })
    : { problem: broken, links: [] };
  const networks: PodNetworkStatus[] = [];
  for (const attachment of await parts.store.ofContainer(record.id)) {
    const link = links.find(({ name }) => name === attachment.ifName);
    networks.push({ ...await networkOf(attachment, parts, problem === undefined, signal), link });
  }
  const wrong = networks.find(({ state, error }) => state !== "attached" || error !== undefined);
  const reason = problem ??
    (wrong && (wrong.error?.message ?? `${wrong.name}: its attachment is ${wrong.state}`));
  const { id: containerId, name, namespace, netns: { path: netns } } = record;
  return { containerId, name, namespace, netns, ready: reason === undefined, reason, networks };
}

async function networkOf(
  record: AttachmentRecord,
  { attachments }: PodStatusContext,
  ask: boolean,
  signal?: AbortSignal,
): Promise<Omit<PodNetworkStatus, "link">> {
  const { network: name, ifName, state, result } = record;
  const shown = { name, ifName, state, result };
  if (state !== "attached") return { ...shown, checked: false, error: storedError(record) };
  try {
    const list = listOnRecord(record);
    const checked = ask && atLeast(list.cniVersion, "0.4.0") && !list.disableCheck;
    const request = { ...record, args: record.cniArgs };
    if (checked) await attachments.check(list, request, { signal });
    return { ...shown, checked, error: undefined };
  } catch (error) {
    // What was cut short says nothing about the network.
    signal?.throwIfAborted();
    return { ...shown, checked: true, error: asCniError(error) };
  }
}

/** What its last DEL said, as far as it is on record. */
function storedError({ error, network, containerId, ifName }: AttachmentRecord): CniError | undefined {
  if (error === undefined) return undefined;
  const kind = ERROR_KINDS.find((known) => known === error.kind) ?? "io";
  const code = typeof error.code === "number" ? error.code : ERROR_CODES.unknown;
  const { details, plugin: type } = error;
  return new CniError(kind, String(error.msg), {
    verb: "DEL",
    network,
    containerId,
    ifName,
    code,
    ...(typeof type === "string" ? { plugin: { type } } : {}),
    ...(typeof details === "string" ? { details } : {}),
  });
}
