import { isArray, type Json, type JsonObject } from "../cni/json.ts";
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
import type { CniArgs } from "../plugin/invocation.ts";
import type { Refusal } from "../plugin/refusal.ts";
import type { AttachmentKey } from "./attachment_key.ts";
import { decodeChecksummed, decodeIntactNow, printChecksummed } from "./checksummed.ts";
import { DISPLACED_ROUTES, type DisplacedRoutes, displacedToJson } from "./displaced_routes.ts";
import { attachmentLineKey } from "./record_log.ts";
import { repairLine } from "./repair_line.ts";

/**
 * The states of an attachment. `adding` is on disk before the first plugin runs, so that an ADD which is interrupted later
 * is known.
 */
export const ATTACHMENT_STATES = ["adding", "attached", "deleting", "failed"] as const;

/** One of {@linkcode ATTACHMENT_STATES}. */
export type AttachmentState = typeof ATTACHMENT_STATES[number];

/** What podwire knows about an attachment. The records alone decide what podwire owns. */
export interface AttachmentRecord extends AttachmentKey {
  /** The state. */
  readonly state: AttachmentState;
  /** The path of the namespace at the ADD. */
  readonly netns: string;
  /** Device and inode of the namespace, to check whether the path still leads to it. */
  readonly netnsId: string | undefined;
  /** When the file of the namespace was created, in seconds since 1970. The kernel reuses inode numbers. */
  readonly netnsSince?: number;
  /** The owner, as `formatOwner` writes it: `sandbox:<id>`, `pods:<engine>`, or a name such as `cli`. */
  readonly owner: string;
  /** When the attachment entered its state, ISO 8601. */
  readonly since: string;
  /** The boot of the ADD. */
  readonly bootId: string;
  /** Increases with each attachment of the container. They are removed in reverse order. */
  readonly sequence: number;
  /** Number of failed removals. */
  readonly attempts: number;
  /** When the removal is retried, ISO 8601. */
  readonly nextTry: string | undefined;
  /** The last failure. */
  readonly error: JsonObject | undefined;
  /** The effective configuration list, with the plugins of its folder, as text. */
  readonly config: string;
  /** The version in which its plugins were called. @default {that of the configuration} */
  readonly cniVersion?: SpecVersion;
  /** `CNI_ARGS` of the ADD; the DEL repeats them. */
  readonly cniArgs: CniArgs;
  /** The capability arguments of the ADD; the DEL repeats them. */
  readonly capabilityArgs: JsonObject;
  /** The result of the ADD, in the version of the network. */
  readonly result: JsonObject | undefined;
  /**
   * Index of the first plugin that did not run in a failed ADD. It created nothing, so its failure on DEL does not fail the
   * removal.
   */
  readonly firstSkippedPlugin?: number;
  /** The error of the first plugin in a failed ADD, if it refused its input. */
  readonly refusal?: Refusal;
  /** Whether the interface existed before the ADD, so that no removal may delete it. @default {false} */
  readonly hadLink?: boolean;
  /** `NAMESPACE/NAME`, by which Kubernetes knows the network. @default {none} */
  readonly title?: string;
  /** What it changed among routes of the namespace that are not podwire's. @default {it was not asked to respect any} */
  readonly displaced?: DisplacedRoutes;
  /** Members of another version. They are kept when the record is written again. */
  readonly unknownMembers?: JsonObject;
}

const KIND = "podwire.attachment.v1";
/** Name of `firstSkippedPlugin` in the file, as in the first release. */
const FIRST_SKIPPED_PLUGIN = "neverRan";

/** Returns the text of the record's file. */
export async function printRecord(record: AttachmentRecord): Promise<string> {
  return await printChecksummed(KIND, encode(record));
}

/**
 * Reads the record from the text of a file.
 *
 * @throws {UnusableRecord} if it cannot be used
 */
export async function parseRecord(text: string): Promise<AttachmentRecord> {
  return await decodeChecksummed(KIND, text, SHAPE);
}

/** Same as {@linkcode parseRecord}, see {@linkcode decodeIntactNow}. */
export function parseRecordNow(text: string): AttachmentRecord | undefined {
  return decodeIntactNow(KIND, text, SHAPE);
}

/** Returns the record of an attachment in the file of its container if one of its bits is wrong; undefined if more is wrong. */
export async function repairAttachment(
  bytes: Uint8Array,
  key: Pick<AttachmentKey, "ifName" | "network">,
): Promise<AttachmentRecord | undefined> {
  const text = await repairLine(KIND, bytes, [attachmentLineKey(key)]);
  return text === undefined ? undefined : await parseRecord(text);
}

function encode(record: AttachmentRecord): JsonObject {
  const {
    netnsId,
    nextTry,
    error,
    result,
    firstSkippedPlugin,
    refusal,
    displaced,
    unknownMembers = {},
    ...rest
  } = record;
  return {
    ...unknownMembers,
    ...rest,
    ...(firstSkippedPlugin === undefined ? {} : { [FIRST_SKIPPED_PLUGIN]: firstSkippedPlugin }),
    ...(refusal === undefined ? {} : { refusal: { ...refusal } }),
    ...(displaced === undefined ? {} : { displaced: displacedToJson(displaced) }),
    ...(netnsId === undefined ? {} : { netnsId }),
    ...(nextTry === undefined ? {} : { nextTry }),
    ...(error === undefined ? {} : { error }),
    ...(result === undefined ? {} : { result }),
  };
}

const TEXTS = listOf(anyText);

/** A key and its value. A pair in order is taken as it is: thousands are read. */
const CNI_ARG: Shape<CniArgs[number]> = {
  schema: TEXTS.schema,
  read(json, path) {
    if (isPairOfTexts(json)) return json;
    const [key, value] = TEXTS.read(json, path);
    if (key === undefined || value === undefined) {
      throw new ValidationError(path, "must be a key and a value");
    }
    return [key, value];
  },
};

function isPairOfTexts(json: Json): json is readonly [string, string] {
  return isArray(json) && json.length === 2 && typeof json[0] === "string" && typeof json[1] === "string";
}

/** The pairs of `CNI_ARGS` as JSON. */
export const CNI_ARGS: Shape<CniArgs> = listOf(CNI_ARG);

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
    // A damaged refusal must not make the record unusable. Without it the removal is retried.
    refusal: lenient(openObjectOf({ code: anyNumber, msg: anyText }, {})),
    hadLink: lenient(trueOnly),
    title: lenient(anyText),
    displaced: DISPLACED_ROUTES,
  }),
  (read) => {
    const { netnsId, sequence = 0, attempts = 0, nextTry, error, capabilityArgs = {}, result } = read;
    // A copy would take as long as reading it, and nothing else has what was read.
    const record = Object.assign(read, {
      netnsId,
      sequence,
      attempts,
      nextTry,
      error,
      capabilityArgs,
      result,
    });
    if (record[FIRST_SKIPPED_PLUGIN] === undefined) return record;
    const { [FIRST_SKIPPED_PLUGIN]: firstSkippedPlugin, ...others } = record;
    return { ...others, firstSkippedPlugin };
  },
);
