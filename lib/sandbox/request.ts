import type { CallOptions } from "../async/call_options.ts";
import type { RunCommand } from "../host/command.ts";
import { nsProblem } from "../host/netns.ts";
import type { WantedPermissions } from "../host/permissions.ts";
import type { Attachments } from "../attachment/attachments.ts";
import type { NetnsGuard } from "../plugin/netns_guard.ts";
import type { PodIdentity, WantedNetworks } from "../pod/request.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { DEFAULT_OCI_RUNTIME, infraBundle } from "./infra.ts";
import { validateAnnotations, validateLabels } from "./validate_labels.ts";
import { validateName, validateUid } from "./validate_name.ts";
import { identityOf } from "./netns_identity.ts";
import { startOf } from "./process_source.ts";
import type { SandboxContainer } from "./container_record.ts";
import type { SandboxRecord } from "./record.ts";
import { validateSysctls } from "./sysctl.ts";

/**
 * Where a sandbox gets its namespace from: a new one; that of a path; that of a process, which may end once the sandbox
 * is made unless it is that of a `container`; that of an infra container, made by an OCI runtime; or none of its own, but that of the host, which nothing
 * is done to.
 */
export type NetnsSource =
  | { readonly kind: "new" }
  | { readonly kind: "path"; readonly path: string }
  | { readonly kind: "pid"; readonly pid: number; readonly container?: SandboxContainer }
  | { readonly kind: "infra"; readonly runtime?: string }
  | { readonly kind: "host" };

/** A sandbox to make. */
export interface SandboxRequest extends WantedNetworks {
  /** Free in its namespace. @default {"sandbox-" and the start of the ID} */
  readonly name?: string | undefined;
  /** Of the name, as in Kubernetes. @default {"default"} */
  readonly namespace?: string | undefined;
  /** The pod UID that plugins are told. @default {the ID} */
  readonly uid?: string | undefined;
  /** The container ID that plugins are told. @default {a random one of 32 hexadecimal digits} */
  readonly id?: string | undefined;
  /** How often the pod was made before, as in Kubernetes; plugins do not get it. @default {0} */
  readonly attempt?: number | undefined;
  /** Where its network namespace comes from. @default {{ kind: "new" }} */
  readonly source?: NetnsSource | undefined;
  /** What it can be found by, see `SandboxFilter`. @default {{}} */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Set in its network namespace before its networks are attached, by names that begin with `net.` @default {{}} */
  readonly sysctls?: Readonly<Record<string, string>> | undefined;
  /** Whether no other sandbox of its namespace may have its name, whatever their UIDs and attempts. @default {unless a UID or an attempt is given} */
  readonly uniqueName?: boolean | undefined;
  /** Takes down the sandbox that has the name first. @default {false} */
  readonly replace?: boolean | undefined;
}

/** Options of {@linkcode Sandboxes.run}. */
export interface RunOptions extends CallOptions {
  /** Called if the sandbox with the same UID and attempt is there already, and is returned. */
  readonly onSame?: (() => void) | undefined;
}

/** Where a sandbox is going to be. */
interface Surroundings {
  readonly attachments: Attachments;
  readonly netnsGuard: NetnsGuard;
  readonly stateDir: string;
  readonly cacheDir: string;
  readonly runDir: string;
  readonly netnsDir: string;
  readonly netnsPrefix: string;
  readonly run: RunCommand;
}

/** That of podwire itself: the first process cannot be looked at from inside a container. */
const HOST_NETNS = "/proc/self/ns/net";

/** Those of container engines have 64 characters; with what is put around it, it has to be the name of a file. */
const LONGEST_ID = 128;

/** That of the CRI, which has 32 bits. */
export const LARGEST_ATTEMPT = 2 ** 32 - 1;

/** What making and removing a sandbox runs beside its plugins. */
const SANDBOX_PROGRAMS = ["cat", "ip", "mount", "nsenter", "sh", "umount", "unshare"];

/** The permissions that a sandbox will need, from its first step to its removal. */
export function wantedPermissions(
  { source }: SandboxRequest,
  { stateDir, cacheDir, runDir, netnsDir }: Surroundings,
): WantedPermissions {
  const dirs = [stateDir, cacheDir, runDir, netnsDir];
  const infra = source?.kind === "infra" ? [source.runtime ?? DEFAULT_OCI_RUNTIME] : [];
  return { read: [...dirs, "/proc"], write: dirs, run: [...SANDBOX_PROGRAMS, ...infra] };
}

/**
 * Refuses what is wrong with a request whatever is on record.
 *
 * @throws {CniError} of kind `usage`
 */
export function validateRequest(request: SandboxRequest, wording: Wording = SANDBOX_WORDING): void {
  const { id, name, namespace, uid, attempt, labels = {}, annotations = {}, sysctls = {}, source } = request;
  if (name !== undefined) validateName(wording.name, name);
  if (namespace !== undefined) validateName("namespace", namespace);
  if (id !== undefined) validateName(wording.id, id, LONGEST_ID);
  if (uid !== undefined) validateUid(uid);
  if (attempt !== undefined) validateAttempt(attempt);
  validateLabels(labels);
  validateAnnotations(annotations);
  validateSysctls(sysctls);
  if (source?.kind === "host" && Object.keys(sysctls).length > 0) {
    throw new CniError("usage", "a sandbox in the namespace of the host has no sysctls of its own");
  }
}

/** What the caller calls the things that it names. */
export interface Wording {
  readonly name: string;
  readonly id: string;
}

const SANDBOX_WORDING: Wording = { name: "sandbox name", id: "sandbox ID" };

/** Of a container engine, which knows pods and their containers. */
export const POD_WORDING: Wording = { name: "pod name", id: "container ID" };

/**
 * The record of a sandbox that is to be made.
 *
 * @throws {CniError} if a name is invalid, or the namespace to use is none
 */
export async function draftRecord(
  request: SandboxRequest,
  surroundings: Surroundings,
  { wording = SANDBOX_WORDING, signal }: CallOptions & { readonly wording?: Wording | undefined } = {},
): Promise<SandboxRecord> {
  const { attachments, stateDir } = surroundings;
  const id = request.id ?? crypto.getRandomValues(new Uint8Array(16)).toHex();
  const { name = generatedName(id), namespace = "default", uid = id, attempt } = request;
  validateRequest({ ...request, id, name }, wording);
  const { labels = {}, sysctls = {}, source = { kind: "new" } } = request;
  return {
    id,
    name,
    namespace,
    uid,
    ...(attempt === undefined ? {} : { attempt }),
    phase: "creating",
    createdAt: new Date().toISOString(),
    bootId: await attachments.boot(),
    ...await placeOf(id, request, surroundings, signal),
    infra: source.kind === "infra"
      ? { runtime: source.runtime ?? DEFAULT_OCI_RUNTIME, bundle: infraBundle(stateDir, id) }
      : undefined,
    annotations: request.annotations ?? {},
    labels,
    sysctls,
  };
}

/** What a sandbox is called that was given no name. */
export function generatedName(id: string): string {
  return `sandbox-${id.slice(0, 12)}`;
}

/** Where its namespace is or will be, and whose that is. */
async function placeOf(
  id: string,
  { source = { kind: "new" } }: SandboxRequest,
  { netnsDir, netnsPrefix, netnsGuard, run }: Surroundings,
  signal: AbortSignal | undefined,
): Promise<Pick<SandboxRecord, "netns" | "pid" | "pidStart" | "hostNetwork" | "container">> {
  const used = async (path: string) => {
    await requireNetns(path);
    return { path, owned: false, ...await identityOf(path) };
  };
  if (source.kind === "host") return { netns: await used(HOST_NETNS), pid: undefined, hostNetwork: true };
  if (source.kind === "path") {
    await netnsGuard.requireOther(source.path);
    return { netns: await used(source.path), pid: undefined };
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
 * Returns what a sandbox wants of its networks: nothing in the namespace of the host.
 *
 * @throws {CniError} kind `usage` if it wants networks there
 */
export function wantedNetworks(request: SandboxRequest, { hostNetwork }: SandboxRecord): WantedNetworks {
  if (hostNetwork === undefined) return request;
  const { networks = [] } = request;
  if (networks === "none" || networks.length === 0) return { ...request, networks: "none" };
  throw new CniError("usage", "a sandbox in the namespace of the host has no networks of its own", {
    path: "networks",
  });
}

/** Whether a sandbox has its name for itself, or shares it with those of other UIDs and attempts. */
export function hasUniqueName({ uniqueName, uid, attempt }: SandboxRequest): boolean {
  return uniqueName ?? (uid === undefined && attempt === undefined);
}

function validateAttempt(attempt: number): void {
  if (Number.isInteger(attempt) && attempt >= 0 && attempt <= LARGEST_ATTEMPT) return;
  throw new CniError("usage", `the attempt ${attempt} is no whole number from 0 to ${LARGEST_ATTEMPT}`);
}

async function requireNetns(path: string): Promise<void> {
  const problem = await nsProblem(path);
  if (problem === undefined) return;
  throw new CniError("not-found", `Cannot use "${path}" as network namespace: ${problem}`, {
    code: ERROR_CODES.invalidNetns,
  });
}
