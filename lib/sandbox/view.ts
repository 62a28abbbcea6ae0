import { nsProblem } from "../host/netns.ts";
import { isRunning, type ProcessState, readProcesses } from "../host/process.ts";
import { yieldToLoop } from "../async/yield_to_loop.ts";
import { inParallel } from "../async/parallel.ts";
import type { PodNetwork } from "../pod/pod.ts";
import { CniError } from "../cni/error.ts";
import { defaultRoutesOf } from "../cni/default_route.ts";
import { isArray, type JsonObject } from "../cni/json.ts";
import { asResult, convertResult } from "../cni/result.ts";
import { CURRENT_VERSION } from "../cni/version.ts";
import { containerProblem } from "./container_end.ts";
import { isUnchanged } from "./netns_identity.ts";
import type { SandboxContext } from "./context.ts";
import type { SandboxRecord } from "./record.ts";

/** One network of a sandbox. */
export interface SandboxNetwork {
  /** The name of the network. */
  readonly name: string;
  /** The interface inside the sandbox. */
  readonly ifName: string;
  /** Whether the default route is through it, in one family at least. */
  readonly default: boolean;
  /** In version 1.1.0. */
  readonly result: JsonObject;
}

/** The states of a sandbox; `ready` is that of the CRI, the others are its `NOTREADY`. */
export const SANDBOX_STATES = ["ready", "stopped", "broken"] as const;

/** One of {@linkcode SANDBOX_STATES}. */
export type SandboxState = typeof SANDBOX_STATES[number];

/** A sandbox as `inspect` and `ps` show it. */
export interface Sandbox {
  /** The container ID. */
  readonly id: string;
  /** Its name, free in its namespace. */
  readonly name: string;
  /** Of the name, as in Kubernetes. */
  readonly namespace: string;
  /** The pod UID. */
  readonly uid: string;
  /** How often the pod was made anew before, as in Kubernetes. */
  readonly attempt: number;
  /** `broken` says why in `reason`. */
  readonly state: SandboxState;
  /** ISO 8601. */
  readonly createdAt: string;
  /** The path of its network namespace. */
  readonly netns: string;
  /** Whether it has no namespace of its own, but is in that of the host. */
  readonly hostNetwork: boolean;
  /** The process that its namespace was taken from, or that of its infra container, if there is one and it runs. */
  readonly pid: number | null;
  /** All addresses, without prefix lengths, in the order of the networks. */
  readonly ips: readonly string[];
  /** In the order of attachment. */
  readonly networks: readonly SandboxNetwork[];
  /** What it was given to be found by. */
  readonly labels: Readonly<Record<string, string>>;
  /** Those of the pod. */
  readonly annotations: Readonly<Record<string, string>>;
  /** Why it is broken. */
  readonly reason?: string;
  /** Somebody is making it or taking it down at this moment: that it is not ready is no fault of it. */
  readonly underWay?: true;
}

type ViewParts = Pick<SandboxContext, "attachments" | "run" | "sandboxes" | "locks"> & {
  readonly pods: Pick<SandboxContext["pods"], "networks">;
};

/** What happens to a sandbox in the phases that an operation goes through, where somebody is at it, and where nobody is. */
const OPERATIONS = {
  creating: { now: "it is being made, or undone", was: "made" },
  stopping: { now: "it is being taken down", was: "taken down" },
  removing: { now: "it is being removed", was: "removed" },
} as const;

type Processes = ReadonlyMap<number, ProcessState>;

/** Why a sandbox is not ready, and whether somebody is at it. */
type Found = Pick<Partial<Sandbox>, "underWay"> & { readonly reason?: string | undefined };

/**
 * What there is to see of a sandbox now.
 *
 * @throws {CniError} kind `not-found` if it has gone meanwhile
 */
export async function viewSandbox(
  record: SandboxRecord,
  parts: ViewParts,
  signal?: AbortSignal,
): Promise<Sandbox> {
  const [sandbox] = await viewSandboxes([record], parts, signal);
  if (sandbox === undefined) throw new CniError("not-found", `the sandbox "${record.name}" is gone`);
  return sandbox;
}

/** Addresses, routes or interfaces of one network. */
const MANY = 100;
/** Each has a few files open at most. */
const VIEWS_AT_ONCE = 16;

/** What there is to see of each sandbox now, if it has not gone meanwhile; with one look at the processes of all. */
export async function viewSandboxes(
  records: readonly SandboxRecord[],
  parts: ViewParts,
  signal?: AbortSignal,
): Promise<readonly Sandbox[]> {
  const processes = await processesOf(records, parts, signal);
  const views = await inParallel(
    records,
    VIEWS_AT_ONCE,
    (record) => viewNow(record, parts, processes),
    signal,
  );
  return views.filter((view) => view !== undefined);
}

/** Such that what another process does to it between two looks is not taken for a fault. */
async function viewNow(
  record: SandboxRecord,
  parts: ViewParts,
  processes: Processes,
): Promise<Sandbox | undefined> {
  const { id, phase } = record;
  if (phase === "stopped") return await viewOf(record, parts, processes, { reason: record.reason });
  if (phase !== "ready" && await parts.locks.containers.isBusy(id)) {
    return await viewOf(record, parts, processes, { reason: OPERATIONS[phase].now, underWay: true });
  }
  const reason = await problemOf(record, parts, processes);
  if (reason === undefined) return await viewOf(record, parts, processes, {});
  const now = await parts.sandboxes.read(id);
  if (now === undefined) return undefined;
  if (now.phase === phase && now.createdAt === record.createdAt) {
    return await viewOf(record, parts, processes, { reason });
  }
  return await viewNow(now, parts, await processesOf([now], parts));
}

async function viewOf(
  record: SandboxRecord,
  parts: ViewParts,
  processes: Processes,
  found: Found,
): Promise<Sandbox> {
  const attached = await parts.pods.networks(record.id);
  if (attached.some(isLarge)) await yieldToLoop();
  const pid = isProcessThere(record, processes) ? record.pid : undefined;
  return toSandbox({ ...record, pid }, attached, found);
}

/** Whether what its plugins answered takes milliseconds to show. */
function isLarge({ result }: PodNetwork): boolean {
  return Object.values(result).some((member) => isArray(member) && member.length > MANY);
}

/** A record as it is shown, with what was found beside it. */
export function toSandbox(
  record: SandboxRecord,
  attached: readonly PodNetwork[],
  { reason, underWay }: Found = {},
): Sandbox {
  const networks = attached.map(toSandboxNetwork);
  const { id, name, namespace, uid, attempt = 0, createdAt, netns, labels = {}, annotations } = record;
  const { hostNetwork = false } = record;
  const ips = networks.flatMap(({ result }) =>
    (asResult(result).ips ?? []).map(({ address }) => address.split("/")[0] ?? "")
  );
  return {
    id,
    name,
    namespace,
    uid,
    attempt,
    state: reason !== undefined ? "broken" : record.phase === "ready" ? "ready" : "stopped",
    createdAt,
    netns: netns.path,
    hostNetwork,
    pid: record.pid ?? null,
    ips,
    networks,
    labels,
    annotations,
    ...(reason === undefined ? {} : { reason }),
    ...(underWay === undefined ? {} : { underWay }),
  };
}

/** The processes that are told about; those of stopped sandboxes are not asked for. */
async function processesOf(
  records: readonly SandboxRecord[],
  { run }: Pick<ViewParts, "run">,
  signal?: AbortSignal,
): Promise<Processes> {
  const pids = records.flatMap(({ pid, phase }) => pid === undefined || phase === "stopped" ? [] : [pid]);
  return await readProcesses(pids, { run, signal });
}

function isProcessThere({ pid, pidStart: start }: SandboxRecord, processes: Processes): boolean {
  return pid !== undefined && isRunning(processes, { pid, start });
}

/**
 * Why the infra container of a sandbox does not hold it any more. A process that its namespace was only taken from may
 * end: the namespace has a path of its own.
 */
export async function infraProblem(
  record: SandboxRecord,
  parts: Pick<ViewParts, "run">,
  processes?: Processes,
): Promise<string | undefined> {
  const { infra, pid, pidStart: start } = record;
  if (infra === undefined || pid === undefined) return undefined;
  const seen = processes ?? await processesOf([record], parts);
  if (isProcessThere(record, seen)) return undefined;
  const there = seen.get(pid);
  const isOther = there !== undefined && start !== undefined && there.start !== start;
  const now = isOther ? `; another process has the ID ${pid} now` : "";
  return `its infra container has ended: its process ${pid} is gone${now}`;
}

/**
 * Why a sandbox is not as it should be, as far as its record, its namespace and its process tell. Of an operation that
 * its record tells of nobody is at work, or the caller, who holds its lock.
 */
export async function problemOf(
  record: SandboxRecord,
  parts: Pick<ViewParts, "attachments" | "run">,
  processes?: Processes,
): Promise<string | undefined> {
  const { phase, netns, bootId, reason, hostNetwork } = record;
  if (phase === "stopped") return reason;
  if (phase !== "ready") {
    return `it was interrupted while it was being ${OPERATIONS[phase].was}: \`podwire recover\` cleans it up`;
  }
  if (bootId !== await parts.attachments.boot()) return "it is of another boot";
  const ended = await infraProblem(record, parts, processes) ??
    containerProblem(record, processes ?? await processesOf([record], parts));
  if (ended !== undefined) return ended;
  // It cannot go, and somebody may look from inside another one.
  if (hostNetwork) return undefined;
  const problem = await nsProblem(netns.path);
  if (problem !== undefined) return `${netns.path}: ${problem}`;
  if (!await isUnchanged(netns)) return `${netns.path} leads to another namespace now`;
  return undefined;
}

function toSandboxNetwork({ name, ifName, result }: PodNetwork): SandboxNetwork {
  const hasDefault = defaultRoutesOf(result).length > 0;
  return { name, ifName, default: hasDefault, result: convertResult(result, CURRENT_VERSION) };
}
