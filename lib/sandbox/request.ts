import { netnsId, nsProblem } from "../host/netns.ts";
import type { WantedPermissions } from "../host/permissions.ts";
import type { Attachments } from "../network/network.ts";
import type { PodRequest } from "../pod/request.ts";
import { CniError, ERROR_CODES } from "../spec/error.ts";
import { DEFAULT_OCI_RUNTIME, infraBundle } from "./infra.ts";
import { validateName } from "./name.ts";
import type { SandboxRecord } from "./record.ts";

/** Where a sandbox gets its namespace from. */
export type NetnsSource =
  | { readonly kind: "new" }
  | { readonly kind: "path"; readonly path: string }
  | { readonly kind: "pid"; readonly pid: number }
  | { readonly kind: "infra"; readonly runtime?: string };

/** A sandbox to make. */
export interface SandboxRequest
  extends Omit<PodRequest, "containerId" | "netns" | "name" | "namespace" | "uid"> {
  /** Free in its namespace. @default {"sandbox-" and the start of the ID} */
  readonly name?: string;
  /** Of the name, as in Kubernetes. @default {"default"} */
  readonly namespace?: string;
  /** The pod UID that plugins are told. @default {the ID} */
  readonly uid?: string;
  /** The container ID that plugins are told. @default {a random one of 32 hexadecimal digits} */
  readonly id?: string;
  /** Where its network namespace comes from. @default {{ kind: "new" }} */
  readonly source?: NetnsSource;
  /** Takes down the sandbox that has the name first. @default {false} */
  readonly replace?: boolean;
  /** Cuts the run short; what was made is undone. */
  readonly signal?: AbortSignal;
}

/** Where a sandbox is going to be. */
interface Surroundings {
  readonly attachments: Attachments;
  readonly stateDir: string;
  readonly cacheDir: string;
  readonly runDir: string;
  readonly netnsDir: string;
  readonly netnsPrefix: string;
}

/** Those of container engines have 64 characters; with what is put around it, it has to be the name of a file. */
const LONGEST_ID = 128;

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
 * The record of a sandbox that is to be made.
 *
 * @throws {CniError} if a name is invalid, or the namespace to use is none
 */
export async function draftRecord(
  request: SandboxRequest,
  { attachments, stateDir, netnsDir, netnsPrefix }: Surroundings,
): Promise<SandboxRecord> {
  const id = request.id ?? crypto.getRandomValues(new Uint8Array(16)).toHex();
  const { name = `sandbox-${id.slice(0, 12)}`, namespace = "default", uid = id } = request;
  validateName("sandbox name", name);
  validateName("namespace", namespace);
  validateName("sandbox ID", id, LONGEST_ID);
  const source = request.source ?? { kind: "new" };
  if (source.kind === "path") await requireNetns(source.path);
  if (source.kind === "pid") await requireNetns(`/proc/${source.pid}/ns/net`);
  const netns = source.kind === "path"
    ? { path: source.path, owned: false, id: await netnsId(source.path) }
    : { path: `${netnsDir}/${netnsPrefix}${id}`, owned: true, id: undefined };
  return {
    id,
    name,
    namespace,
    uid,
    phase: "creating",
    createdAt: new Date().toISOString(),
    bootId: await attachments.boot(),
    netns,
    pid: source.kind === "pid" ? source.pid : undefined,
    infra: source.kind === "infra"
      ? { runtime: source.runtime ?? DEFAULT_OCI_RUNTIME, bundle: infraBundle(stateDir, id) }
      : undefined,
    annotations: request.annotations ?? {},
  };
}

/** What the networks are told of the sandbox. */
export function podOf(
  request: SandboxRequest,
  { id, name, namespace, uid, netns }: SandboxRecord,
): PodRequest {
  const { source: _source, replace: _replace, id: _id, signal: _signal, ...wanted } = request;
  return { ...wanted, containerId: id, name, namespace, uid, netns: netns.path };
}

async function requireNetns(path: string): Promise<void> {
  const problem = await nsProblem(path);
  if (problem === undefined) return;
  throw new CniError("not-found", `Cannot use "${path}" as network namespace: ${problem}`, {
    code: ERROR_CODES.invalidNetns,
  });
}
