import { repairBit } from "../state/repair_bit.ts";
import {
  decodeChecksummed,
  optionalObject,
  optionalText,
  printChecksummed,
  textOf,
  unknownMembers,
  wordOf,
} from "../state/checksummed.ts";
import type { JsonObject } from "../cni/json.ts";
import { decodeContainer, encodeContainer, type SandboxContainer } from "./container_record.ts";

/**
 * How far a sandbox is. `creating`, `stopping` and `removing` are on disk before anything is done, so
 * that what a crash interrupts is known: the first is undone, the others are finished.
 */
export const SANDBOX_PHASES = ["creating", "ready", "stopping", "stopped", "removing"] as const;

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
  /** Whether podwire made the path, and so removes it. */
  readonly owned: boolean;
  /** Device and inode, once it exists. */
  readonly id: string | undefined;
  /** When its file came to be, in seconds; tells it from a later one with the same inode. */
  readonly since?: number;
  /** Members that another version wrote; they stay when the record is written again. */
  readonly unknownMembers?: JsonObject;
}

/** The infra container of a sandbox. */
export interface SandboxInfra {
  readonly runtime: string;
  readonly bundle: string;
  /** Members that another version wrote. */
  readonly unknownMembers?: JsonObject;
}

/** A sandbox as it is kept on disk. */
export interface SandboxRecord {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  /** How often the pod was made anew before, as in Kubernetes. @default {0} */
  readonly attempt?: number;
  readonly phase: SandboxPhase;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly bootId: string;
  readonly netns: SandboxNetns;
  readonly pid: number | undefined;
  readonly infra: SandboxInfra | undefined;
  readonly annotations: Readonly<Record<string, string>>;
  /** Who answers for its attachments, where that is not the sandbox itself. */
  readonly owner?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly sysctls?: Readonly<Record<string, string>>;
  /** What these were in a namespace that was borrowed, while the sandbox is being made. */
  readonly sysctlsBefore?: Readonly<Record<string, string>>;
  /** When the process of `pid` was started, see `seeProcesses`. */
  readonly pidStart?: number;
  /** It has no namespace of its own: `netns` is the host's. */
  readonly hostNetwork?: true;
  /** What of a stopped sandbox could not be taken down, beside its attachments. */
  readonly reason?: string;
  /** It was made for whoever will want it, and belongs to the process that holds the lock of this pool. */
  readonly pool?: string;
  /** It ends with this container. */
  readonly container?: SandboxContainer;
  /** Members that another version wrote; they stay when the record is written again. */
  readonly unknownMembers?: JsonObject;
}

/** A sandbox that was taken down, with what could not be. */
export function stopped({ reason: _, pidStart: __, ...record }: SandboxRecord, left?: string): SandboxRecord {
  return { ...record, phase: "stopped", pid: undefined, ...(left === undefined ? {} : { reason: left }) };
}

/** What the names of the namespaces that podwire makes begin with unless told otherwise; the ID follows. */
export const NETNS_PREFIX = "podwire-";

const KIND = "podwire.sandbox.v1";

/** The text of its file. */
export async function printSandbox(record: SandboxRecord): Promise<string> {
  return await printChecksummed(KIND, encode(record));
}

/**
 * The record in a file.
 *
 * @throws {UnusableRecord} if it cannot be used
 */
export async function parseSandbox(text: string): Promise<SandboxRecord> {
  return await decodeChecksummed(KIND, text, decode);
}

/** The record in a file of which one bit is wrong; undefined if more is. */
export async function repairSandbox(bytes: Uint8Array): Promise<SandboxRecord | undefined> {
  const text = await repairBit(KIND, bytes);
  return text === undefined ? undefined : await parseSandbox(text);
}

function encode({ netns, pid, infra, container, unknownMembers = {}, ...record }: SandboxRecord): JsonObject {
  const { id, ...place } = netns;
  return {
    ...unknownMembers,
    ...record,
    netns: withUnknown({ ...place, ...(id === undefined ? {} : { id }) }),
    ...(pid === undefined ? {} : { pid }),
    ...(infra === undefined ? {} : { infra: withUnknown(infra) }),
    ...(container === undefined ? {} : { container: encodeContainer(container) }),
  };
}

function withUnknown({ unknownMembers = {}, ...known }: Omit<SandboxNetns, "id"> | SandboxInfra): JsonObject {
  return { ...unknownMembers, ...known };
}

const MEMBERS: readonly (keyof SandboxRecord)[] = [
  "id",
  "name",
  "namespace",
  "uid",
  "attempt",
  "phase",
  "createdAt",
  "bootId",
  "netns",
  "pid",
  "infra",
  "annotations",
  "owner",
  "labels",
  "sysctls",
  "sysctlsBefore",
  "pidStart",
  "hostNetwork",
  "reason",
  "pool",
  "container",
];
const NETNS_MEMBERS: readonly (keyof SandboxNetns)[] = ["path", "owned", "id", "since"];
const INFRA_MEMBERS: readonly (keyof SandboxInfra)[] = ["runtime", "bundle"];

function decode(body: JsonObject): SandboxRecord {
  const netns = optionalObject(body, "netns") ?? {};
  const infra = optionalObject(body, "infra");
  return {
    id: textOf(body, "id"),
    name: textOf(body, "name"),
    namespace: textOf(body, "namespace"),
    uid: textOf(body, "uid"),
    phase: wordOf(body, "phase", SANDBOX_PHASES),
    createdAt: textOf(body, "createdAt"),
    bootId: textOf(body, "bootId"),
    netns: netnsOf(netns),
    pid: typeof body.pid === "number" ? body.pid : undefined,
    infra: infra && {
      runtime: textOf(infra, "runtime"),
      bundle: textOf(infra, "bundle"),
      ...unknownMembers(infra, INFRA_MEMBERS),
    },
    annotations: textsOf(body, "annotations") ?? {},
    ...optionalMembers(body),
    ...unknownMembers(body, MEMBERS),
  };
}

function netnsOf(netns: JsonObject): SandboxNetns {
  const { owned, since } = netns;
  return {
    path: textOf(netns, "path"),
    owned: owned === true,
    id: optionalText(netns, "id"),
    ...(typeof since === "number" ? { since } : {}),
    ...unknownMembers(netns, NETNS_MEMBERS),
  };
}

/** What records of earlier versions lack. */
function optionalMembers(body: JsonObject): Partial<SandboxRecord> {
  const labels = textsOf(body, "labels");
  const sysctls = textsOf(body, "sysctls");
  const sysctlsBefore = textsOf(body, "sysctlsBefore");
  const container = optionalObject(body, "container");
  const reason = optionalText(body, "reason");
  return {
    ...(body.owner === undefined ? {} : { owner: textOf(body, "owner") }),
    ...(labels === undefined ? {} : { labels }),
    ...(sysctls === undefined ? {} : { sysctls }),
    ...(sysctlsBefore === undefined ? {} : { sysctlsBefore }),
    ...(typeof body.attempt === "number" ? { attempt: body.attempt } : {}),
    ...(typeof body.pidStart === "number" ? { pidStart: body.pidStart } : {}),
    ...(body.hostNetwork === true ? { hostNetwork: true } : {}),
    ...(reason === undefined ? {} : { reason }),
    ...(body.pool === undefined ? {} : { pool: textOf(body, "pool") }),
    ...(container === undefined ? {} : { container: decodeContainer(container) }),
  };
}

function textsOf(body: JsonObject, key: string): Readonly<Record<string, string>> | undefined {
  const texts = optionalObject(body, key);
  return texts && Object.fromEntries(Object.keys(texts).map((name) => [name, textOf(texts, name)]));
}
