import type { Attachments } from "../attachment/attachments.ts";
import { CniError, ERROR_CODES, ERROR_KINDS } from "../cni/error.ts";
import { atLeast } from "../cni/version.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { inspectNetns, type PodLink } from "../pod/inspect_netns.ts";
import type { PodNetwork } from "../pod/pod_network.ts";
import type { AttachmentRecord, AttachmentState, AttachmentStore } from "../state/attachment_store.ts";
import { listOnRecord } from "../state/recorded_config.ts";
import type { SandboxContext } from "./context.ts";
import type { SandboxRecord } from "./record.ts";
import { problemOf } from "./problem.ts";

/** One network of a pod as it is now. */
export interface PodNetworkStatus extends Omit<PodNetwork, "result"> {
  /** State of the attachment. */
  readonly state: AttachmentState;
  /** Result of its ADD, in the version of the network's configuration; undefined before the ADD ends. */
  readonly result: PodNetwork["result"] | undefined;
  /** Its interface as the kernel shows it now; undefined if it does not exist. */
  readonly link: PodLink | undefined;
  /** Whether CHECK ran: versions below 0.4.0 have no CHECK, and a list can say `disableCheck`. */
  readonly checked: boolean;
  /** The failure of CHECK, or why the network could not be detached. */
  readonly error: CniError | undefined;
}

/** A pod as it is now. */
export interface PodStatus {
  /** Container ID that plugins get. */
  readonly containerId: string;
  /** The name of the pod. */
  readonly name: string;
  /** Namespace of the name. */
  readonly namespace: string;
  /** The path of its network namespace. */
  readonly netns: string;
  /** Whether everything is as the set-up left it. */
  readonly ready: boolean;
  /** What is wrong with the namespace, with `lo`, or with the first broken network. */
  readonly reason: string | undefined;
  /** In the order of attachment. */
  readonly networks: readonly PodNetworkStatus[];
}

/** The dependencies of {@linkcode podStatus}. */
export interface PodStatusContext extends SandboxContext {
  readonly attachments: Attachments;
  readonly store: AttachmentStore;
}

/**
 * Inspects the namespace, `lo` and the interfaces, and runs CHECK of each network with the configuration and arguments of its
 * ADD. The caller holds the container's lock.
 *
 * Source: CNI specification 1.1.0, section 3 "Checking".
 */
export async function podStatus(
  record: SandboxRecord,
  context: PodStatusContext,
  signal?: AbortSignal,
): Promise<PodStatus> {
  const broken = await problemOf(record, context);
  const { problem, links } = broken === undefined
    ? await inspectNetns(record.netns.path, { run: context.run, signal })
    : { problem: broken, links: [] };
  const networks: PodNetworkStatus[] = [];
  for (const attachment of await context.store.ofContainer(record.id)) {
    const link = links.find(({ name }) => name === attachment.ifName);
    networks.push({ ...await networkOf(attachment, context, problem === undefined, signal), link });
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
  canCheck: boolean,
  signal?: AbortSignal,
): Promise<Omit<PodNetworkStatus, "link">> {
  const { network: name, ifName, state, result } = record;
  const status = { name, ifName, state, result };
  if (state !== "attached") return { ...status, checked: false, error: storedError(record) };
  try {
    const list = listOnRecord(record);
    const checked = canCheck && atLeast(list.cniVersion, "0.4.0") && !list.disableCheck;
    const request = { ...record, args: record.cniArgs };
    if (checked) await attachments.check(list, request, { signal });
    return { ...status, checked, error: undefined };
  } catch (error) {
    // A CHECK that was cut short says nothing about the network.
    signal?.throwIfAborted();
    return { ...status, checked: true, error: asCniError(error) };
  }
}

/** Returns the failure of its last DEL from the record. */
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
    plugin: typeof type === "string" ? { type } : undefined,
    details: typeof details === "string" ? details : undefined,
  });
}
