import { yieldToLoop } from "../async/yield_to_loop.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { isObject, type JsonObject, parseJson, printJson } from "../cni/json.ts";
import { anyText, openObjectOf, readShape, type Shape, UNTRACKED, ValidationError } from "../cni/shape.ts";
import { statOf, UnreadableFileError } from "../host/file.ts";
import { sha256, sha256Now } from "../host/sha256.ts";

/** The known kinds. A file of one known kind in the place of another is an error, not the file of a newer version. */
const KINDS = [
  "attachment",
  "sandbox",
  "port",
  "ports",
  "catalog",
  "readiness",
  "format",
  "interface",
  "infra",
  "removed",
  "embedded",
  "embedded-mtu",
  "pod-cidrs",
].map((
  name,
) => `podwire.${name}.v1`);

const CHECKSUM_DIGITS = 64;
/** Reading a record with more characters takes milliseconds. */
const LARGE = 64 * 1024;

/** Why a record of a newer version is left alone. Follows the name of its file. */
export const NEWER =
  "is of a newer version of podwire, so what it stands for counts as in use and is left alone: upgrade podwire";

/** A record that cannot be used: it is damaged, or a newer version wrote it. */
export class UnusableRecord extends Error {
  /** Whether a newer version wrote it: it seems intact, and has content that this version does not know. */
  readonly isNewer: boolean;

  constructor(reason: string, isNewer = false) {
    super(reason);
    this.isNewer = isNewer;
  }

  /**
   * Returns what was thrown as an `UnusableRecord`.
   *
   * @throws the error unchanged if it says nothing about the record, such as too many open files
   */
  static of(error: unknown): UnusableRecord {
    if (error instanceof UnusableRecord) return error;
    if (error instanceof UnreadableFileError) return new UnusableRecord(error.why);
    if (error instanceof CniError) return new UnusableRecord(error.message);
    throw error;
  }
}

/** A record that cannot be used, for a log entry. */
export interface BadRecord {
  readonly file: string;
  /** Where it was moved to, if another record takes its place. */
  readonly movedTo?: string;
  readonly reason: string;
}

/** Returns the error for a change of what a newer version wrote. */
export function newerRecord(file: string, reason: string): CniError {
  return new CniError("conflict", `the record ${file} is of a newer version of podwire`, {
    code: ERROR_CODES.decodingFailure,
    details: reason,
    file,
    hint: "upgrade podwire; until then what the record stands for counts as in use and is left alone",
  });
}

/**
 * Refuses to write a record in the place of something that is not a regular file: podwire did not create it.
 *
 * @throws {CniError} kind `conflict`
 */
export async function requireFile(file: string): Promise<void> {
  const stat = await statOf(file);
  if (stat === undefined || stat.isFile) return;
  throw new CniError(
    "conflict",
    `something that is not a regular file is in the place of the record ${file}`,
    {
      file,
      hint: "find out what has put it there, and move it away",
    },
  );
}

/** Returns the text of a record: the body with its kind, and a checksum over both. */
export async function printChecksummed(kind: string, body: JsonObject): Promise<string> {
  const tagged = { kind, ...body };
  return `${printJson({ ...tagged, checksum: await checksumOf(tagged) })}\n`;
}

/**
 * Returns the body of a record.
 *
 * @throws {UnusableRecord} if it is not a record of that kind, or was changed after it was written
 */
export async function parseChecksummed(kind: string, text: string): Promise<JsonObject> {
  if (text.length > LARGE) await yieldToLoop();
  const intact = await readIntact(kind, text);
  if (intact !== undefined) return intact;
  const json = read(text);
  const { checksum, ...tagged } = json;
  // The checksum distinguishes a damaged kind from an unknown one.
  if (tagged.kind !== kind && checksum !== await checksumOf({ ...tagged, kind })) {
    const isKnown = typeof tagged.kind !== "string" || KINDS.includes(tagged.kind);
    throw new UnusableRecord(
      isKnown
        ? `its kind is not ${kind}`
        : `its kind is not ${kind} but ${printJson(tagged.kind ?? null).slice(0, 80)}`,
      !isKnown,
    );
  }
  if (tagged.kind === kind && checksum !== await checksumOf(tagged)) {
    throw new UnusableRecord("its checksum does not match");
  }
  const { kind: _, ...body } = tagged;
  return body;
}

/** What is around the checksum at the end of a record as it is printed. */
const BEFORE = ',"checksum":"';
const AFTER = '"}';

/** The text of a record that may be exactly as it was printed. */
interface PrintedText {
  /** Without the checksum. */
  readonly tagged: string;
  /** What is in the place of the checksum. */
  readonly checksum: string;
  /** Without the kind too. */
  readonly body: string;
}

function printedText(kind: string, text: string): PrintedText | undefined {
  const head = `{"kind":"${kind}",`;
  const end = text.length - (text.endsWith("\n") ? 1 : 0) - AFTER.length;
  const digits = end - CHECKSUM_DIGITS;
  const at = digits - BEFORE.length;
  const isPrinted = text.startsWith(AFTER, end) && text.startsWith(BEFORE, at) && text.startsWith(head);
  if (!isPrinted || at < head.length) return undefined;
  const body = text.slice(head.length, at);
  return { tagged: `${head}${body}}`, checksum: text.slice(digits, end), body: `{${body}}` };
}

/**
 * Returns the body of a record whose text is exactly as it was printed; undefined if it may be anything else. That takes a
 * quarter of the time.
 */
async function readIntact(kind: string, text: string): Promise<JsonObject | undefined> {
  const printed = printedText(kind, text);
  return printed !== undefined && printed.checksum === await sha256(printed.tagged)
    ? parsePrinted(printed.body)
    : undefined;
}

/**
 * Reads the body of a record as {@linkcode decodeChecksummed} does, in the same turn of the event loop: lists read thousands.
 * Undefined if the record is not exactly as it was printed, or does not have the shape, or if that cannot be found out so;
 * only {@linkcode decodeChecksummed} knows which.
 */
export function decodeIntactNow<T>(kind: string, text: string, shape: Shape<T>): T | undefined {
  if (text.length > LARGE) return undefined;
  const printed = printedText(kind, text);
  const checksum = printed && sha256Now(printed.tagged);
  if (printed === undefined || checksum === undefined || printed.checksum !== checksum) return undefined;
  const body = parsePrinted(printed.body);
  try {
    return body && shape.read(body, UNTRACKED);
  } catch (error) {
    if (error instanceof ValidationError) return undefined;
    throw error;
  }
}

/**
 * A number that may not be printed again as it is here, where a value of JSON can be: more digits than a double preserves, a
 * zero that says nothing, a fraction that is very small, or an exponent. In a text it may look so as well.
 */
const ODD_NUMBER =
  /(?:":|[[,])(?:\s+[-\d]|(?!-?[1-9]\d{0,14}[,\]}]|0[,\]}]|-?(?:0|[1-9]\d{0,10})\.\d{0,3}[1-9][,\]}])[-\d])/;

/**
 * Returns the object that was printed as this text, whose checksum is right; undefined if it has a number that would change,
 * or the kind twice.
 */
function parsePrinted(text: string): JsonObject | undefined {
  try {
    const json = JSON.parse(text);
    if (!isObject(json) || Object.hasOwn(json, "kind")) return undefined;
    // To print it again takes as long as reading it.
    return !ODD_NUMBER.test(text) || JSON.stringify(json) === text ? json : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Reads the body of a record. A record that is intact but does not have the shape was written by a newer version.
 *
 * @throws {UnusableRecord} as {@linkcode parseChecksummed}, and if the body does not have the shape
 */
export async function decodeChecksummed<T>(kind: string, text: string, shape: Shape<T>): Promise<T> {
  const body = await parseChecksummed(kind, text);
  return readShape(shape, body, (error) => new UnusableRecord(error.describe("it"), true));
}

/** The kind of the record of what was removed. */
export const REMOVED_KIND = "podwire.removed.v1";

const REMOVED = openObjectOf({ key: anyText }, {});

/** Returns the record of what was removed. */
export async function printRemoval(key: string): Promise<string> {
  return await printChecksummed(REMOVED_KIND, { key });
}

/**
 * Returns the key of what was removed.
 *
 * @throws {UnusableRecord} if the record cannot be used
 */
export async function decodeRemoval(text: string): Promise<string> {
  return (await decodeChecksummed(REMOVED_KIND, text, REMOVED)).key;
}

/** Same as {@linkcode decodeRemoval} in the same turn of the event loop; undefined if that has to look. */
export function decodeRemovalNow(text: string): string | undefined {
  return decodeIntactNow(REMOVED_KIND, text, REMOVED)?.key;
}

function read(text: string): JsonObject {
  let json;
  try {
    json = parseJson(text);
  } catch (error) {
    throw UnusableRecord.of(error);
  }
  if (!isObject(json)) throw new UnusableRecord("it is not a JSON object");
  return json;
}

async function checksumOf(tagged: JsonObject): Promise<string> {
  return await sha256(printJson(tagged));
}

/**
 * Returns a text member of a record that cannot be used; undefined if it cannot be read. The member may be damaged as well,
 * so no decision depends on it alone.
 */
export function readableMember(text: string, key: string): string | undefined {
  const [, value] = new RegExp(`"${key}":\\s*"([^"\\\\]+)"`).exec(text) ?? [];
  return value;
}
