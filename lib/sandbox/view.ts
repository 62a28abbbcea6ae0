import { turnIfDue } from "../async/breathe.ts";
import { inParallel } from "../async/parallel.ts";
import { yieldToLoop } from "../async/yield_to_loop.ts";
import { defaultRoutesIn } from "../cni/default_route.ts";
import { CniError } from "../cni/error.ts";
import { isArray, type JsonObject } from "../cni/json.ts";
import { asResult, type Result } from "../cni/result.ts";
import { learnNamespaces } from "../host/netns.ts";
import type { InsidePaths } from "../inside/inside_paths.ts";
import { type PodNetwork, titleMember } from "../pod/pod_network.ts";
import type { PublishedPort } from "../state/host_port.ts";
import type { SandboxContext } from "./context.ts";
import type { CriSandbox } from "./cri_record.ts";
import { hasInsideFiles } from "./inside.ts";
import { isUnchangedNow } from "./netns_identity.ts";
import type { NriSandbox } from "./nri_record.ts";
import { endOf, isProcessRunning, OPERATIONS, problemOf, type Processes, processesOf } from "./problem.ts";
import { isInTransition, type SandboxRecord } from "./record.ts";

/** One network of a sandbox. */
export interface SandboxNetwork {
  /** Name of the network. */
  readonly name: string;
  /** Name of the interface inside the sandbox. */
  readonly ifName: string;
  /** Whether it has the default route, in at least one address family. */
  readonly default: boolean;
  /** Result of its ADD, in version 1.1.0. */
  readonly result: JsonObject;
  /** The ports of the host that lead to it, with those that podwire chose. @default {none} */
  readonly ports?: readonly PublishedPort[];
  /** `NAMESPACE/NAME`, by which the annotation of a pod in Kubernetes names the network. @default {none} */
  readonly title?: string;
}

/** The states of a sandbox; `ready` is that of the CRI, the others are its `NOTREADY`. */
export const SANDBOX_STATES = ["ready", "stopped", "broken"] as const;

/** One of {@linkcode SANDBOX_STATES}. */
export type SandboxState = typeof SANDBOX_STATES[number];

/** A sandbox as `inspect` and `ps` show it. */
export interface Sandbox {
  /** The container ID. */
  readonly id: string;
  /** Name, unique in its namespace unless UIDs or attempts differ. */
  readonly name: string;
  /** Namespace of the name, as in Kubernetes. */
  readonly namespace: string;
  /** The pod UID. */
  readonly uid: string;
  /** Number of earlier attempts to create the pod, as in Kubernetes. */
  readonly attempt: number;
  /** For `broken`, `reason` says why. */
  readonly state: SandboxState;
  /** Time in ISO 8601. */
  readonly createdAt: string;
  /** Path of its network namespace. */
  readonly netns: string;
  /** Whether it uses the network namespace of the host. */
  readonly hostNetwork: boolean;
  /** ID of the process of its infra container, or of the process that its namespace was borrowed from; null if it does not run. */
  readonly pid: number | null;
  /** Path of the control group of its infra container, if that is below one that was asked for. */
  readonly cgroup?: string;
  /** All addresses, without prefix lengths, in the order of the networks. */
  readonly ips: readonly string[];
  /** In the order of attachment. */
  readonly networks: readonly SandboxNetwork[];
  /**
   * The files that are bound over those of `/etc` inside it, for an engine that does so itself; null for a sandbox that has none:
   * it is not up, it is a pod of a container engine, or it is in the namespace of the host. There a kubelet may have said how names
   * are looked up, and `hosts` is the file of the host.
   */
  readonly files: InsidePaths | null;
  /** Labels of the request. */
  readonly labels: Readonly<Record<string, string>>;
  /** Annotations of the request. */
  readonly annotations: Readonly<Record<string, string>>;
  /** What the client of the CRI that it belongs to has asked for. */
  readonly cri?: Pick<CriSandbox, "handler" | "config">;
  /** The container engine whose pod it attaches to more networks. */
  readonly nri?: Pick<NriSandbox, "engine">;
  /** Why it is broken. */
  readonly reason?: string;
  /** Whether it is being created or torn down at this moment, which is why it is not ready. */
  readonly underWay?: true;
}

type ViewContext = Pick<SandboxContext, "attachments" | "run" | "sandboxes" | "locks"> & {
  readonly inside: Pick<SandboxContext["inside"], "paths">;
  readonly pods: Pick<SandboxContext["pods"], "networks" | "networksNow">;
  /** Whether `pods` has the networks of all sandboxes, so that a view is whole. @default {true} */
  readonly isWhole?: boolean | undefined;
};

/** Why a sandbox is not ready, and whether an operation is in progress. */
type Problem = Pick<Partial<Sandbox>, "underWay"> & { readonly reason?: string | undefined };

/**
 * Returns the current state of a sandbox.
 *
 * @throws {CniError} kind `not-found` if it was removed meanwhile
 */
export async function viewSandbox(
  record: SandboxRecord,
  context: ViewContext,
  signal?: AbortSignal,
): Promise<Sandbox> {
  const [sandbox] = await viewSandboxes([record], context, signal);
  if (sandbox === undefined) throw new CniError("not-found", `the sandbox "${record.name}" is gone`);
  return sandbox;
}

/** Number of addresses, routes or interfaces above which a result is large. */
const MANY = 100;
/** Each view opens only a few files. */
const VIEWS_AT_ONCE = 16;

/** Returns the current state of each sandbox that was not removed meanwhile. Reads the processes of all sandboxes at once. */
export async function viewSandboxes(
  records: readonly SandboxRecord[],
  context: ViewContext,
  signal?: AbortSignal,
): Promise<readonly Sandbox[]> {
  const processes = await processesOf(records, context, signal);
  const isAnyReady = records.some(({ phase }) => phase === "ready");
  const boot = isAnyReady ? await context.attachments.boot() : "";
  if (isAnyReady) await learnNamespaces();
  const now = { ...context, processes, boot };
  const views: (Sandbox | undefined)[] = [];
  const others: number[] = [];
  for (const [at, record] of records.entries()) {
    const turn = turnIfDue();
    if (turn !== undefined) await turn;
    signal?.throwIfAborted();
    const view = plainViewNow(record, now);
    views.push(view);
    if (view === undefined) others.push(at);
  }
  await inParallel(others, VIEWS_AT_ONCE, async (at) => {
    const record = records[at];
    views[at] = record && await viewNow(record, context, processes);
  }, signal);
  return views.filter((view) => view !== undefined);
}

/**
 * Returns the state of a sandbox that is stopped, or ready without a problem, in the same turn of the event loop; undefined if
 * it is another one, or if that cannot be found out so. Nearly all are.
 */
function plainViewNow(
  record: SandboxRecord,
  context: ViewContext & { readonly processes: Processes; readonly boot: string },
): Sandbox | undefined {
  const { processes, boot } = context;
  const { phase, bootId, netns, hostNetwork } = record;
  const isPlain = phase === "stopped" ||
    phase === "ready" && bootId === boot && endOf(record, processes) === undefined &&
      (hostNetwork === true || isUnchangedNow(netns) === true);
  if (!isPlain) return undefined;
  const view = prepareView(record, context);
  return view && withProcess(view, record, processes);
}

function withProcess(view: Sandbox, record: SandboxRecord, processes: Processes): Sandbox {
  const pid = isProcessRunning(record, processes) ? record.pid ?? null : null;
  return view.pid === pid ? view : { ...view, pid };
}

/**
 * Makes what {@linkcode viewSandboxes} returns for a sandbox without a problem, as nearly all are, and releases what its record
 * was read from: a list that calls this after each reading has no text of thousands of files at once.
 */
export function prepareView(
  record: SandboxRecord,
  context: Pick<ViewContext, "pods" | "sandboxes" | "isWhole" | "inside">,
): Sandbox | undefined {
  const { pods, sandboxes, isWhole = true } = context;
  const { id, phase, reason } = record;
  const known = preparedViews.get(record);
  if (known !== undefined || isInTransition(phase)) return known;
  const log = sandboxes.logOf(record);
  const attached = log === "changed" ? undefined : pods.networksNow(id, log);
  if (attached === undefined || attached.some(isLarge)) return undefined;
  const view = toSandbox(record, attached, context, phase === "stopped" ? { reason } : {});
  if (!isWhole) return view;
  preparedViews.set(record, view);
  sandboxes.release(record);
  return view;
}

/**
 * Nothing but a problem and the end of a process changes what is shown of a record, and a record is that of an unchanged file: a
 * daemon shows thousands again and again.
 */
const preparedViews = new WeakMap<SandboxRecord, Sandbox>();

/** Reads the record again before it reports a problem, because another process may have changed the sandbox since the first read. */
async function viewNow(
  record: SandboxRecord,
  context: ViewContext,
  processes: Processes,
): Promise<Sandbox | undefined> {
  const { id, phase } = record;
  if (phase === "stopped") return await viewOf(record, context, processes, { reason: record.reason });
  if (isInTransition(phase) && await context.locks.containers.isBusy(id)) {
    return await viewOf(record, context, processes, { reason: OPERATIONS[phase].now, underWay: true });
  }
  const reason = await problemOf(record, context, processes);
  if (reason === undefined) return await viewOf(record, context, processes, {});
  const now = await context.sandboxes.read(id);
  if (now === undefined) return undefined;
  if (now.phase === phase && now.createdAt === record.createdAt) {
    return await viewOf(now, context, processes, { reason });
  }
  return await viewNow(now, context, await processesOf([now], context));
}

/** Returns the state of a sandbox whose file has changed since it was read. */
async function viewAgain(id: string, context: ViewContext): Promise<Sandbox | undefined> {
  const now = await context.sandboxes.read(id);
  return now && await viewNow(now, context, await processesOf([now], context));
}

async function viewOf(
  record: SandboxRecord,
  context: ViewContext,
  processes: Processes,
  problem: Problem,
): Promise<Sandbox | undefined> {
  const known = preparedViews.get(record);
  if (known !== undefined) return { ...withProcess(known, record, processes), ...withProblem(problem) };
  const log = context.sandboxes.logOf(record);
  if (log === "changed") return await viewAgain(record.id, context);
  // As they were when the sandbox was read.
  const attached = await context.pods.networks(record.id, log);
  if (attached.some(isLarge)) await yieldToLoop();
  return withProcess(toSandbox(record, attached, context, problem), record, processes);
}

/** Whether the result of its plugins takes milliseconds to convert. */
function isLarge({ result }: PodNetwork): boolean {
  for (const key in result) {
    const member = result[key];
    if (isArray(member) && member.length > MANY) return true;
  }
  return false;
}

/** Returns a sandbox as the library shows it. */
export function toSandbox(
  record: SandboxRecord,
  attached: readonly PodNetwork[],
  { inside }: Pick<ViewContext, "inside">,
  problem: Problem = {},
): Sandbox {
  const current = attached.map((network) => ({ ...network, result: asResult(network.result) }));
  const { id, name, namespace, uid, attempt = 0, createdAt, netns, labels = {}, annotations } = record;
  const { hostNetwork = false, cri, nri, infra } = record;
  const ips = current.flatMap(({ result: { ips = [] } }) =>
    ips.map(({ address }) => address.split("/")[0] ?? "")
  );
  return {
    id,
    name,
    namespace,
    uid,
    attempt,
    state: record.phase === "ready" ? "ready" : "stopped",
    createdAt,
    netns: netns.path,
    hostNetwork,
    pid: record.pid ?? null,
    ...(infra?.cgroup === undefined ? {} : { cgroup: infra.cgroup }),
    ips,
    networks: current.map(toSandboxNetwork),
    files: filesOf(record, inside),
    labels,
    annotations,
    ...(cri === undefined ? {} : { cri: { handler: cri.handler, config: cri.config } }),
    ...(nri === undefined ? {} : { nri: { engine: nri.engine } }),
    ...withProblem(problem),
  };
}

/** In the network of the host the names of the host are right. */
function filesOf(record: SandboxRecord, inside: ViewContext["inside"]): InsidePaths | null {
  if (!hasInsideFiles(record)) return null;
  const paths = inside.paths(record.id);
  return record.hostNetwork ? { ...paths, hosts: "/etc/hosts" } : paths;
}

function withProblem({ reason, underWay }: Problem): Partial<Sandbox> {
  return {
    ...(reason === undefined ? {} : { state: "broken", reason }),
    ...(underWay === undefined ? {} : { underWay }),
  };
}

function toSandboxNetwork(
  { name, ifName, result, ports, title }: Omit<PodNetwork, "result"> & { readonly result: Result },
) {
  const published = ports === undefined ? {} : { ports };
  return {
    name,
    ifName,
    default: defaultRoutesIn(result).length > 0,
    result: { ...result },
    ...published,
    ...titleMember(title),
  };
}
