import type { JsonObject } from "../cni/json.ts";
import {
  anyNumber,
  anyText,
  extensibleObjectOf,
  flag,
  lenient,
  mapOf,
  mapped,
  oneOf,
  type Shape,
  trueOnly,
} from "../cni/shape.ts";
import { decodeChecksummed, decodeIntactNow, printChecksummed } from "../state/checksummed.ts";
import { SANDBOX_KEY } from "../state/record_log.ts";
import { repairLine } from "../state/repair_line.ts";
import { CONTAINER, encodeContainer, type SandboxContainer } from "./container_record.ts";
import { CRI, type CriSandbox, encodeCri } from "./cri_record.ts";
import { encodeNri, NRI, type NriSandbox } from "./nri_record.ts";

/**
 * Phases of a sandbox. `creating`, `stopping` and `removing` are written before anything is done, so that an interrupted
 * operation is known after a crash: `creating` is undone, the others are finished.
 */
const SANDBOX_PHASES = ["creating", "ready", "stopping", "stopped", "removing"] as const;

/** One of {@linkcode SANDBOX_PHASES}. */
export type SandboxPhase = typeof SANDBOX_PHASES[number];

/** A phase in which an operation is in progress, or was interrupted by a crash. */
export type TransitionPhase = Exclude<SandboxPhase, "ready" | "stopped">;

/** Whether an operation on the sandbox is in progress, or was interrupted by a crash. */
export function isInTransition(phase: SandboxPhase): phase is TransitionPhase {
  return phase !== "ready" && phase !== "stopped";
}

/** The network namespace of a sandbox. */
export interface SandboxNetns {
  readonly path: string;
  /** Whether podwire created the path, and so removes it. */
  readonly owned: boolean;
  /** Device and inode; undefined before it exists. */
  readonly id: string | undefined;
  /** Creation time of its file in seconds. A later file with the same inode has another one. */
  readonly since?: number;
  /** Members that another version wrote. They are kept when the record is written again. */
  readonly unknownMembers?: JsonObject;
}

/** The infra container of a sandbox. */
export interface SandboxInfra {
  readonly runtime: string;
  readonly bundle: string;
  /** Path of its control group, unless it is below the root. */
  readonly cgroup?: string;
  /** Members that another version wrote. */
  readonly unknownMembers?: JsonObject;
}

/** Record of a sandbox on disk. */
export interface SandboxRecord {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  /** Number of earlier attempts to create the pod, as in Kubernetes. @default {0} */
  readonly attempt?: number;
  readonly phase: SandboxPhase;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly bootId: string;
  readonly netns: SandboxNetns;
  readonly pid: number | undefined;
  readonly infra: SandboxInfra | undefined;
  readonly annotations: Readonly<Record<string, string>>;
  /** Owner of its attachments, if that is not the sandbox itself. */
  readonly owner?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly sysctls?: Readonly<Record<string, string>>;
  /** Original values of the sysctls in a borrowed namespace, while the sandbox is being created. */
  readonly sysctlsBefore?: Readonly<Record<string, string>>;
  /** Start time of the process `pid`, see `readProcesses`. */
  readonly pidStart?: number;
  /** The sandbox uses the network namespace of the host. */
  readonly hostNetwork?: true;
  /** Why something of a stopped sandbox, other than its attachments, could not be torn down. */
  readonly reason?: string;
  /** Pool of a warm sandbox. The sandbox belongs to the process that holds the lock of this pool. */
  readonly pool?: string;
  /** The container that the sandbox ends with. */
  readonly container?: SandboxContainer;
  /** The sandbox belongs to a client of the CRI. */
  readonly cri?: CriSandbox;
  /** The sandbox belongs to a pod of a container engine, which it attaches to more networks. */
  readonly nri?: NriSandbox;
  /** Members that another version wrote. They are kept when the record is written again. */
  readonly unknownMembers?: JsonObject;
}

/** Returns the record of a sandbox that was torn down; `left` says why something of it could not be. */
export function stopped({ reason: _, pidStart: __, ...record }: SandboxRecord, left?: string): SandboxRecord {
  return { ...record, phase: "stopped", pid: undefined, ...(left === undefined ? {} : { reason: left }) };
}

/** Returns the name that a warm sandbox has until it is claimed. */
export function warmName(id: string): string {
  return `pool-${id.slice(0, 12)}`;
}

/** Default prefix of the names of namespaces that podwire creates; the ID follows. */
export const NETNS_PREFIX = "podwire-";

const KIND = "podwire.sandbox.v1";

/** Returns the text of the record file. */
export async function printSandbox(record: SandboxRecord): Promise<string> {
  return await printChecksummed(KIND, encode(record));
}

/**
 * Parses a record file.
 *
 * @throws {UnusableRecord} if it cannot be used
 */
export async function parseSandbox(text: string): Promise<SandboxRecord> {
  return await decodeChecksummed(KIND, text, SHAPE);
}

/** Same as {@linkcode parseSandbox}, see {@linkcode decodeIntactNow}. */
export function parseSandboxNow(text: string): SandboxRecord | undefined {
  return decodeIntactNow(KIND, text, SHAPE);
}

/** Parses the record in the file of a container if one of its bits is wrong; returns undefined if more bits are wrong. */
export async function repairSandbox(bytes: Uint8Array): Promise<SandboxRecord | undefined> {
  const text = await repairLine(KIND, bytes, [SANDBOX_KEY]);
  return text === undefined ? undefined : await parseSandbox(text);
}

function encode(
  { netns, pid, infra, container, cri, nri, unknownMembers = {}, ...record }: SandboxRecord,
): JsonObject {
  const { id, ...place } = netns;
  return {
    ...unknownMembers,
    ...record,
    netns: withUnknown({ ...place, ...(id === undefined ? {} : { id }) }),
    ...(pid === undefined ? {} : { pid }),
    ...(infra === undefined ? {} : { infra: withUnknown(infra) }),
    ...(container === undefined ? {} : { container: encodeContainer(container) }),
    ...(cri === undefined ? {} : { cri: encodeCri(cri) }),
    ...(nri === undefined ? {} : { nri: encodeNri(nri) }),
  };
}

function withUnknown({ unknownMembers = {}, ...known }: Omit<SandboxNetns, "id"> | SandboxInfra): JsonObject {
  return { ...unknownMembers, ...known };
}

const NETNS: Shape<SandboxNetns> = mapped(
  extensibleObjectOf({ path: anyText }, { owned: lenient(flag), id: anyText, since: lenient(anyNumber) }),
  // A copy would take as long as reading it, and nothing else has what was read.
  (read) => Object.assign(read, { owned: read.owned ?? false, id: read.id }),
);

const SHAPE: Shape<SandboxRecord> = mapped(
  extensibleObjectOf({
    id: anyText,
    name: anyText,
    namespace: anyText,
    uid: anyText,
    phase: oneOf(SANDBOX_PHASES),
    createdAt: anyText,
    bootId: anyText,
    netns: NETNS,
  }, {
    pid: lenient(anyNumber),
    infra: extensibleObjectOf({ runtime: anyText, bundle: anyText }, { cgroup: anyText }),
    annotations: mapOf(anyText),
    // Records of earlier versions do not have the rest.
    attempt: lenient(anyNumber),
    owner: anyText,
    labels: mapOf(anyText),
    sysctls: mapOf(anyText),
    sysctlsBefore: mapOf(anyText),
    pidStart: lenient(anyNumber),
    hostNetwork: lenient(trueOnly),
    reason: anyText,
    pool: anyText,
    container: CONTAINER,
    cri: CRI,
    nri: NRI,
  }),
  (read) => Object.assign(read, { pid: read.pid, infra: read.infra, annotations: read.annotations ?? {} }),
);
