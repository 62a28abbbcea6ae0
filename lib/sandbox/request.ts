import type { CallOptions } from "../async/call_options.ts";
import type { Attachments } from "../attachment/attachments.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { RunCommand } from "../host/command.ts";
import { nsProblem } from "../host/netns.ts";
import type { WantedPermissions } from "../host/permissions.ts";
import { speaksNetlink } from "../kernel/choose_kernel.ts";
import type { NetnsGuard } from "../plugin/netns_guard.ts";
import type { PodIdentity, WantedNetworks } from "../pod/request.ts";
import type { SandboxContainer } from "./container_record.ts";
import type { CriSandbox } from "./cri_record.ts";
import { DEFAULT_OCI_RUNTIME, infraBundle } from "./infra.ts";
import { infraCgroup } from "./infra_cgroup.ts";
import type { InfraSettings } from "./infra_settings.ts";
import { identityOf } from "./netns_identity.ts";
import type { NriSandbox } from "./nri_record.ts";
import { startOf } from "./process_source.ts";
import type { SandboxInfra, SandboxRecord } from "./record.ts";
import { isIpcSysctl, validateSysctls } from "./sysctl.ts";
import { validateAnnotations, validateLabels } from "./validate_labels.ts";
import { validateName, validateUid } from "./validate_name.ts";

/**
 * Source of a sandbox's namespace: a new one; the one at a path; that of a process; that of an infra container, which an OCI
 * runtime creates, and which may stay in the network of the host; or that of the host, which podwire does not change. The process may end once the sandbox is created, unless
 * it belongs to a `container`.
 */
export type NetnsSource =
  | { readonly kind: "new" }
  | { readonly kind: "path"; readonly path: string }
  | { readonly kind: "pid"; readonly pid: number; readonly container?: SandboxContainer }
  | { readonly kind: "infra"; readonly runtime?: string; readonly hostNetwork?: boolean }
  | { readonly kind: "host" };

/** A sandbox to create. */
export interface SandboxRequest extends WantedNetworks {
  /** Name, which must not be taken in its namespace. @default {"sandbox-" and the start of the ID} */
  readonly name?: string | undefined;
  /** Namespace of the name, as in Kubernetes. @default {"default"} */
  readonly namespace?: string | undefined;
  /** Pod UID that plugins get. @default {the ID} */
  readonly uid?: string | undefined;
  /** Container ID that plugins get. @default {a random one of 32 hexadecimal digits} */
  readonly id?: string | undefined;
  /** Number of earlier attempts to create the pod, as in Kubernetes; plugins do not get it. @default {0} */
  readonly attempt?: number | undefined;
  /** Source of its network namespace. @default {{ kind: "new" }} */
  readonly source?: NetnsSource | undefined;
  /** Labels for look-ups, see `SandboxFilter`. @default {{}} */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /**
   * Sysctls that are set before its networks are attached: of its network namespace, whose names begin with `net.`, and of the IPC
   * namespace of its infra container, such as `kernel.shmmax`.
   * @default {{}}
   */
  readonly sysctls?: Readonly<Record<string, string>> | undefined;
  /** Whether no other sandbox of its namespace may have its name, whatever their UIDs and attempts. @default {unless a UID or an attempt is given} */
  readonly uniqueName?: boolean | undefined;
  /** Whether the subnets of its networks may overlap. @default {false} */
  readonly allowOverlap?: boolean | undefined;
  /** What its infra container has beyond what each of them has. @default {{}} */
  readonly infraSettings?: InfraSettings | undefined;
  /** What the client of the CRI that it is made for has asked for. @default {none: it belongs to no such client} */
  readonly cri?: CriSandbox | undefined;
  /** The container engine whose pod it attaches to more networks, as a plugin of its NRI. @default {none} */
  readonly nri?: NriSandbox | undefined;
  /** Whether a sandbox that has the name is removed first. @default {false} */
  readonly replace?: boolean | undefined;
}

/** Options of {@linkcode Sandboxes.run}. */
export interface RunOptions extends CallOptions {
  /** Called if a sandbox with the same UID and attempt already exists and is returned. */
  readonly onSame?: (() => void) | undefined;
}

/** The dependencies of {@linkcode draftRecord}. */
interface RequestContext {
  readonly attachments: Attachments;
  readonly netnsGuard: NetnsGuard;
  readonly stateDir: string;
  readonly cacheDir: string;
  readonly runDir: string;
  readonly netnsDir: string;
  readonly netnsPrefix: string;
  readonly run: RunCommand;
}

/** Namespace of podwire itself: process 1 cannot be inspected from inside a container. */
const HOST_NETNS = "/proc/self/ns/net";

/** IDs of container engines have 64 characters. With prefixes and suffixes, the ID has to fit into a file name. */
const LONGEST_ID = 128;

/** The CRI uses 32 bits. */
export const LARGEST_ATTEMPT = 2 ** 32 - 1;

/** Programs that creating and removing a sandbox runs, besides its plugins, unless podwire speaks to the kernel itself. */
const SANDBOX_PROGRAMS = ["cat", "ip", "mount", "nsenter", "sh", "umount", "unshare"];

/** Returns the permissions that a sandbox needs from its creation to its removal. */
export function wantedPermissions(
  { source }: SandboxRequest,
  { stateDir, cacheDir, runDir, netnsDir, run }: RequestContext,
): WantedPermissions {
  const dirs = [stateDir, cacheDir, runDir, netnsDir];
  const infra = source?.kind === "infra" ? [source.runtime ?? DEFAULT_OCI_RUNTIME] : [];
  const programs = speaksNetlink(run) ? [] : SANDBOX_PROGRAMS;
  return { read: [...dirs, "/proc"], write: dirs, run: [...programs, ...infra] };
}

/**
 * Refuses a request that is invalid whatever is on record.
 *
 * @throws {CniError} of kind `usage`
 */
export function validateRequest(request: SandboxRequest, wording: Wording = SANDBOX_WORDING): void {
  const { id, name, namespace, uid, attempt, labels = {}, annotations = {}, sysctls = {}, source } = request;
  const { infraSettings } = request;
  if (name !== undefined) validateName(wording.name, name);
  if (namespace !== undefined) validateName("namespace", namespace);
  if (id !== undefined) validateName(wording.id, id, LONGEST_ID);
  if (uid !== undefined) validateUid(uid);
  if (attempt !== undefined) validateAttempt(attempt);
  validateLabels(labels);
  validateAnnotations(annotations);
  const hasInfra = source?.kind === "infra";
  if (infraSettings !== undefined && !hasInfra) {
    throw new CniError("usage", "infraSettings are given, and the sandbox has no infra container", {
      path: "infraSettings",
    });
  }
  validateSysctls(sysctls, { hasIpc: hasInfra && infraSettings?.hostIpc !== true });
  if (isHostNetwork(source) && Object.keys(sysctls).some((name) => !isIpcSysctl(name))) {
    throw new CniError("usage", "a sandbox in the namespace of the host has no sysctls of its own");
  }
}

/** Whether a sandbox is in the network namespace of the host. */
export function isHostNetwork(source: NetnsSource | undefined): boolean {
  return source?.kind === "host" || source?.kind === "infra" && source.hostNetwork === true;
}

/** Words for the names in error messages. */
export interface Wording {
  readonly name: string;
  readonly id: string;
}

const SANDBOX_WORDING: Wording = { name: "sandbox name", id: "sandbox ID" };

/** Words for a container engine, which has pods and containers. */
export const POD_WORDING: Wording = { name: "pod name", id: "container ID" };

/**
 * Returns the first record of a sandbox.
 *
 * @throws {CniError} if a name is invalid, or the path is not a network namespace
 */
export async function draftRecord(
  request: SandboxRequest,
  context: RequestContext,
  { wording = SANDBOX_WORDING, signal }: CallOptions & { readonly wording?: Wording | undefined } = {},
): Promise<SandboxRecord> {
  const { attachments, stateDir } = context;
  const id = request.id ?? crypto.getRandomValues(new Uint8Array(16)).toHex();
  const { name = generatedName(id), namespace = "default", uid = id, attempt } = request;
  validateRequest({ ...request, id, name }, wording);
  const { labels = {}, sysctls = {}, source = { kind: "new" }, cri, nri } = request;
  return {
    id,
    name,
    namespace,
    uid,
    ...(attempt === undefined ? {} : { attempt }),
    phase: "creating",
    createdAt: new Date().toISOString(),
    bootId: await attachments.boot(),
    ...await locateNetns(id, request, context, signal),
    infra: source.kind === "infra" ? infraRecord(id, source, request, stateDir) : undefined,
    annotations: request.annotations ?? {},
    labels,
    sysctls,
    ...(cri === undefined ? {} : { cri }),
    ...(nri === undefined ? {} : { nri }),
  };
}

function infraRecord(
  id: string,
  { runtime = DEFAULT_OCI_RUNTIME }: { readonly runtime?: string },
  { infraSettings: { cgroupParent } = {} }: SandboxRequest,
  stateDir: string,
): SandboxInfra {
  const cgroup = cgroupParent === undefined ? {} : { cgroup: infraCgroup(id, cgroupParent).path };
  return { runtime, bundle: infraBundle(stateDir, id), ...cgroup };
}

/** Returns the name of a sandbox without an explicit name. */
export function generatedName(id: string): string {
  return `sandbox-${id.slice(0, 12)}`;
}

/** Returns where its namespace is or will be, and who owns it. */
async function locateNetns(
  id: string,
  { source = { kind: "new" } }: SandboxRequest,
  { netnsDir, netnsPrefix, netnsGuard, run }: RequestContext,
  signal: AbortSignal | undefined,
): Promise<Pick<SandboxRecord, "netns" | "pid" | "pidStart" | "hostNetwork" | "container">> {
  const borrowed = async (path: string) => {
    await requireNetns(path);
    return { path, owned: false, ...await identityOf(path) };
  };
  if (isHostNetwork(source)) return { netns: await borrowed(HOST_NETNS), pid: undefined, hostNetwork: true };
  if (source.kind === "path") {
    await netnsGuard.requireOther(source.path);
    return { netns: await borrowed(source.path), pid: undefined };
  }
  const netns = { path: `${netnsDir}/${netnsPrefix}${id}`, owned: true, id: undefined };
  if (source.kind !== "pid") return { netns, pid: undefined };
  const { pid, container } = source;
  await requireNetns(`/proc/${pid}/ns/net`);
  await netnsGuard.requireOther(`/proc/${pid}/ns/net`);
  const pidStart = await startOf(pid, { run, signal });
  return { netns, pid, pidStart, ...(container && { container }) };
}

/** Returns the sandbox as plugins know it. */
export function podOf({ id, name, namespace, uid, netns }: SandboxRecord): PodIdentity {
  return { containerId: id, name, namespace, uid, netns: netns.path };
}

/**
 * Returns the networks of the request. A sandbox in the namespace of the host has none.
 *
 * @throws {CniError} kind `usage` if it requests networks there
 */
export function wantedNetworks(request: SandboxRequest, { hostNetwork }: SandboxRecord): WantedNetworks {
  if (hostNetwork === undefined) return request;
  const { networks = [] } = request;
  if (networks === "none" || networks.length === 0) return { ...request, networks: "none" };
  throw new CniError("usage", "a sandbox in the namespace of the host has no networks of its own", {
    path: "networks",
  });
}

/** Whether no other sandbox may share the name, not even with another UID or attempt. */
export function hasUniqueName({ uniqueName, uid, attempt }: SandboxRequest): boolean {
  return uniqueName ?? (uid === undefined && attempt === undefined);
}

function validateAttempt(attempt: number): void {
  if (Number.isInteger(attempt) && attempt >= 0 && attempt <= LARGEST_ATTEMPT) return;
  throw new CniError("usage", `the attempt ${attempt} is not a whole number from 0 to ${LARGEST_ATTEMPT}`);
}

async function requireNetns(path: string): Promise<void> {
  const problem = await nsProblem(path);
  if (problem === undefined) return;
  throw new CniError("not-found", `Cannot use "${path}" as network namespace: ${problem}`, {
    code: ERROR_CODES.invalidNetns,
  });
}
