import type { CniArgs } from "../plugin/invocation.ts";
import type { Refusal } from "../plugin/refusal.ts";
import { isObject, type Json, type JsonObject, numberOf } from "../cni/json.ts";
import { SPEC_VERSIONS, type SpecVersion } from "../cni/version.ts";
import type { AttachmentKey } from "./attachment_key.ts";
import { repairBit } from "./repair_bit.ts";
import {
  decodeChecksummed,
  optionalObject,
  optionalText,
  printChecksummed,
  textOf,
  unknownMembers,
  wordOf,
} from "./checksummed.ts";

/**
 * How far an attachment is. `adding` is on disk before the first plugin runs, so whatever happens
 * after is known to have begun.
 */
export const ATTACHMENT_STATES = ["adding", "attached", "deleting", "failed"] as const;

/** One of {@linkcode ATTACHMENT_STATES}. */
export type AttachmentState = typeof ATTACHMENT_STATES[number];

/** What podwire knows of an attachment: the truth about what it owns. */
export interface AttachmentRecord extends AttachmentKey {
  /** How far it is. */
  readonly state: AttachmentState;
  /** The path of the namespace at its ADD. */
  readonly netns: string;
  /** Device and inode of the namespace, to tell whether the path still leads to it. */
  readonly netnsId: string | undefined;
  /** When the file of the namespace came to be, in seconds since 1970: a number that is free again is given away. */
  readonly netnsSince?: number;
  /** The owner, as `formatOwner` writes it: `sandbox:<id>`, `pods:<engine>`, or a name such as `cli`. */
  readonly owner: string;
  /** When it entered its state, ISO 8601. */
  readonly since: string;
  /** The boot of its ADD. */
  readonly bootId: string;
  /** Grows with each attachment of the container: tear-down goes backwards. */
  readonly sequence: number;
  /** How often its removal failed. */
  readonly attempts: number;
  /** ISO 8601. */
  readonly nextTry: string | undefined;
  /** What the last failure said. */
  readonly error: JsonObject | undefined;
  /** The effective configuration list, with the plugins of its folder, as text. */
  readonly config: string;
  /** The version that its plugins were spoken with in. @default {that of the configuration} */
  readonly cniVersion?: SpecVersion;
  /** `CNI_ARGS` of its ADD; the DEL repeats them. */
  readonly cniArgs: CniArgs;
  /** The capability arguments of its ADD; the DEL repeats them. */
  readonly capabilityArgs: JsonObject;
  /** What its ADD came to, in the network's version. */
  readonly result: JsonObject | undefined;
  /**
   * Of an ADD that failed: the index of the first plugin that did not run. It has made nothing, so its refusal keeps no
   * removal from succeeding.
   */
  readonly firstSkippedPlugin?: number;
  /** Of an ADD that failed: what the first plugin refused, if it refused its input. */
  readonly refusal?: Refusal;
  /** Whether the interface was there before the ADD, so that no removal may take it. @default {false} */
  readonly hadLink?: boolean;
  /** Members that another version wrote; they stay when the record is written again. */
  readonly unknownMembers?: JsonObject;
}

const KIND = "podwire.attachment.v1";

/** The text of its file. */
export async function printRecord(record: AttachmentRecord): Promise<string> {
  return await printChecksummed(KIND, encode(record));
}

/**
 * The record in a file.
 *
 * @throws {UnusableRecord} if it cannot be used
 */
export async function parseRecord(text: string): Promise<AttachmentRecord> {
  return await decodeChecksummed(KIND, text, decode);
}

/** The record in a file of which one bit is wrong; undefined if more is. */
export async function repairAttachment(bytes: Uint8Array): Promise<AttachmentRecord | undefined> {
  const text = await repairBit(KIND, bytes);
  return text === undefined ? undefined : await parseRecord(text);
}

function encode(record: AttachmentRecord): JsonObject {
  const { netnsId, nextTry, error, result, firstSkippedPlugin, refusal, unknownMembers = {}, ...rest } =
    record;
  return {
    ...unknownMembers,
    ...rest,
    ...(firstSkippedPlugin === undefined ? {} : { [FIRST_SKIPPED_PLUGIN]: firstSkippedPlugin }),
    ...(refusal === undefined ? {} : { refusal: { ...refusal } }),
    ...(netnsId === undefined ? {} : { netnsId }),
    ...(nextTry === undefined ? {} : { nextTry }),
    ...(error === undefined ? {} : { error }),
    ...(result === undefined ? {} : { result }),
  };
}

/** What `firstSkippedPlugin` is called in the file: the first release wrote it so. */
const FIRST_SKIPPED_PLUGIN = "neverRan";

const MEMBERS: readonly string[] = [
  "containerId",
  "network",
  "ifName",
  "state",
  "netns",
  "netnsId",
  "netnsSince",
  "owner",
  "since",
  "bootId",
  "sequence",
  "attempts",
  "nextTry",
  "error",
  "config",
  "cniVersion",
  "cniArgs",
  "capabilityArgs",
  "result",
  FIRST_SKIPPED_PLUGIN,
  "refusal",
  "hadLink",
];

function decode(body: JsonObject): AttachmentRecord {
  return {
    containerId: textOf(body, "containerId"),
    network: textOf(body, "network"),
    ifName: textOf(body, "ifName"),
    state: wordOf(body, "state", ATTACHMENT_STATES),
    netns: textOf(body, "netns"),
    netnsId: optionalText(body, "netnsId"),
    ...(typeof body.netnsSince === "number" ? { netnsSince: body.netnsSince } : {}),
    owner: textOf(body, "owner"),
    since: textOf(body, "since"),
    bootId: textOf(body, "bootId"),
    sequence: numberOf(body.sequence ?? 0) ?? 0,
    attempts: numberOf(body.attempts ?? 0) ?? 0,
    nextTry: optionalText(body, "nextTry"),
    error: optionalObject(body, "error"),
    config: textOf(body, "config"),
    ...(body.cniVersion === undefined ? {} : { cniVersion: wordOf(body, "cniVersion", SPEC_VERSIONS) }),
    cniArgs: pairsOf(body),
    capabilityArgs: optionalObject(body, "capabilityArgs") ?? {},
    result: optionalObject(body, "result"),
    ...firstSkippedPluginOf(body[FIRST_SKIPPED_PLUGIN]),
    ...refusalOf(body),
    ...(body.hadLink === true ? { hadLink: true } : {}),
    ...unknownMembers(body, MEMBERS),
  };
}

function firstSkippedPluginOf(index: unknown): Pick<AttachmentRecord, "firstSkippedPlugin"> {
  return typeof index === "number" ? { firstSkippedPlugin: index } : {};
}

/** One that is damaged is no reason to lose the record: the removal is then tried again. */
function refusalOf({ refusal }: JsonObject): Pick<AttachmentRecord, "refusal"> {
  if (!isObject(refusal)) return {};
  const { code, msg } = refusal;
  return typeof code === "number" && typeof msg === "string" ? { refusal: { code, msg } } : {};
}

function pairsOf(body: JsonObject): CniArgs {
  const pairs = body.cniArgs;
  if (!Array.isArray(pairs)) throw new Error('its "cniArgs" is not a list');
  return pairs.map((pair: Json) => {
    const [key, value] = Array.isArray(pair) ? pair : [];
    if (typeof key !== "string" || typeof value !== "string") throw new Error('a pair of "cniArgs" is bad');
    return [key, value] as const;
  });
}
