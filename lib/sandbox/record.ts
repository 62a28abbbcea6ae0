import { repairBit } from "../state/repair_bit.ts";
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
import { decodeChecksummed, printChecksummed } from "../state/checksummed.ts";
import type { JsonObject } from "../cni/json.ts";
import { CONTAINER, encodeContainer, type SandboxContainer } from "./container_record.ts";

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
  /** When the process of `pid` was started, see `readProcesses`. */
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
  return await decodeChecksummed(KIND, text, SHAPE);
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

const NETNS: Shape<SandboxNetns> = mapped(
  extensibleObjectOf({ path: anyText }, { owned: lenient(flag), id: anyText, since: lenient(anyNumber) }),
  ({ owned = false, id, ...netns }) => ({ ...netns, owned, id }),
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
    infra: extensibleObjectOf({ runtime: anyText, bundle: anyText }, {}),
    annotations: mapOf(anyText),
    // Records of earlier versions lack the rest.
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
  }),
  ({ pid, infra, annotations = {}, ...record }) => ({ ...record, pid, infra, annotations }),
);
