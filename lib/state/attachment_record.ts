import type { CniArgs } from "../plugin/invocation.ts";
import type { Refusal } from "../plugin/refusal.ts";
import type { JsonObject } from "../cni/json.ts";
import {
  anyNumber,
  anyObject,
  anyText,
  extensibleObjectOf,
  lenient,
  listOf,
  mapped,
  oneOf,
  openObjectOf,
  type Shape,
  trueOnly,
  ValidationError,
} from "../cni/shape.ts";
import { SPEC_VERSIONS, type SpecVersion } from "../cni/version.ts";
import type { AttachmentKey } from "./attachment_key.ts";
import { repairBit } from "./repair_bit.ts";
import { decodeChecksummed, printChecksummed } from "./checksummed.ts";

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
/** Name of `firstSkippedPlugin` in the file, as in the first release. */
const FIRST_SKIPPED_PLUGIN = "neverRan";

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
  return await decodeChecksummed(KIND, text, SHAPE);
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

/** The pairs of `CNI_ARGS` as JSON. */
export const CNI_ARGS: Shape<CniArgs> = listOf(mapped(listOf(anyText), ([key, value], path) => {
  if (key === undefined || value === undefined) throw new ValidationError(path, "must be a key and a value");
  return [key, value] as const;
}));

const SHAPE: Shape<AttachmentRecord> = mapped(
  extensibleObjectOf({
    containerId: anyText,
    network: anyText,
    ifName: anyText,
    state: oneOf(ATTACHMENT_STATES),
    netns: anyText,
    owner: anyText,
    since: anyText,
    bootId: anyText,
    config: anyText,
    cniArgs: CNI_ARGS,
  }, {
    netnsId: anyText,
    netnsSince: lenient(anyNumber),
    sequence: lenient(anyNumber),
    attempts: lenient(anyNumber),
    nextTry: anyText,
    error: anyObject,
    cniVersion: oneOf(SPEC_VERSIONS),
    capabilityArgs: anyObject,
    result: anyObject,
    [FIRST_SKIPPED_PLUGIN]: lenient(anyNumber),
    // A damaged refusal is no reason to lose the record: the removal is then tried again.
    refusal: lenient(openObjectOf({ code: anyNumber, msg: anyText }, {})),
    hadLink: lenient(trueOnly),
  }),
  (
    {
      netnsId,
      sequence = 0,
      attempts = 0,
      nextTry,
      error,
      capabilityArgs = {},
      result,
      [FIRST_SKIPPED_PLUGIN]: firstSkippedPlugin,
      ...record
    },
  ) => ({
    ...record,
    netnsId,
    sequence,
    attempts,
    nextTry,
    error,
    capabilityArgs,
    result,
    ...(firstSkippedPlugin === undefined ? {} : { firstSkippedPlugin }),
  }),
);
