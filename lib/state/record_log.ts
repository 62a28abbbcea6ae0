import { decodeRemoval, readableMember, REMOVED_KIND } from "./checksummed.ts";

/**
 * The form of the file that holds all records of a container, pure. The first line says twice how long the file is. Each further
 * line is a change: the key of what it is about, and its record with a checksum. The last line with a key counts.
 *
 * ```text
 * podwire.records.v2 000000001893 000000001893
 * sandbox {"kind":"podwire.sandbox.v1",...}
 * eth0@web {"kind":"podwire.attachment.v1",...}
 * ```
 *
 * A change is appended, so the first lines, which were synced, are never written again: no loss of power can take them. The
 * length shows that an end is missing, which otherwise would look like an earlier state.
 */

/** One line. */
export interface RecordLine {
  /** What the line is about, as its beginning says; empty if it says nothing. */
  readonly key: string;
  /** The record. */
  readonly text: string;
  /** The path of the file, if the record has one of its own, as in podwire 0.1.0. */
  readonly file?: string;
}

/** What is in a file. */
export interface RecordLog {
  /** In the order in which they were written. */
  readonly lines: readonly RecordLine[];
  /** Whether lines are missing at the end, or whether that is unknown because the first line is damaged. */
  readonly isCut: boolean;
  /** Whether a newer version wrote the file. */
  readonly isNewer: boolean;
}

/** The key of the record of a sandbox. No key of an attachment is equal: these have an `@`. */
export const SANDBOX_KEY = "sandbox";
/** Precedes the key of an attachment that is intended. No name of an interface has a colon. */
const INTENDED = "plan:";
/** Begins the record of what was removed. */
const REMOVED = `{"kind":"${REMOVED_KIND}"`;

const HEAD = "podwire.records.v2";
const DIGITS = 12;
/** The number of bytes of the first line. */
export const HEAD_LENGTH = HEAD.length + 2 * (1 + DIGITS) + 1;

const VERSION = /^podwire\.records\.v(\d+) /;
/** The two numbers, whatever they are: with one wrong bit, one of them is right. */
const LENGTHS = /^.{18}.(.{12}).(.{12})$/s;
/** Begins a record. */
const RECORD = '{"kind":"podwire.';
/** A line feed with one wrong bit, between two records. Within a record the quotes would have backslashes. */
const DAMAGED_END = /(?<=\})[^}](?=\S+ \{"kind":"podwire\.|$)/;

/** Returns the first line of a file with that many bytes in all. */
export function printHead(length: number): string {
  const digits = String(length).padStart(DIGITS, "0");
  return `${HEAD} ${digits} ${digits}\n`;
}

/** Returns the line of a record. */
export function printLine({ key, text }: RecordLine): string {
  return `${key} ${text.trimEnd().replaceAll("\n", " ")}\n`;
}

const DECODER = new TextDecoder();

/** Reads the bytes of a file. Whatever they are, nothing is thrown: a line that cannot be read is a line without a record. */
export function parseLog(bytes: Uint8Array): RecordLog {
  const text = DECODER.decode(bytes);
  // Nearly always.
  if (text.startsWith(printHead(bytes.length))) {
    return { lines: linesOf(text, HEAD_LENGTH), isCut: false, isNewer: false };
  }
  const end = text.indexOf("\n");
  const [head = "", ...more] = splitDamagedEnd(end < 0 ? text : text.slice(0, end));
  const rest = [...more.flatMap((line) => lineOf(line) ?? []), ...end < 0 ? [] : linesOf(text, end + 1)];
  // The first line itself may be missing.
  const first = head.includes('{"kind":') ? lineOf(head) : undefined;
  const [, ...lengths] = LENGTHS.exec(head) ?? [];
  const version = Number(VERSION.exec(head)?.[1]);
  const lines = first === undefined ? rest : [first, ...rest];
  return { lines, isCut: !isAsLong(bytes, lengths), isNewer: version > 2 && lengths.length === 0 };
}

/** Returns the lines as {@linkcode parseLog} finds them in a file after they were written. */
export function asRead(lines: readonly RecordLine[]): readonly RecordLine[] {
  return linesOf(lines.map(printLine).join(""), 0);
}

/** Returns the lines from a place on. Thousands of files are read so, and nearly all of their lines are whole. */
function linesOf(text: string, from: number): readonly RecordLine[] {
  const lines: RecordLine[] = [];
  for (let start = from; start < text.length;) {
    const feed = text.indexOf("\n", start);
    const end = feed < 0 ? text.length : feed;
    const line = text.slice(start, end);
    start = end + 1;
    for (const part of splitDamagedEnd(line)) {
      const found = lineOf(part);
      if (found !== undefined) lines.push(found);
    }
  }
  return lines;
}

function lineOf(line: string): RecordLine | undefined {
  if (line === "") return undefined;
  const space = line.indexOf(" ");
  return space < 1 ? { key: "", text: line } : { key: line.slice(0, space), text: line.slice(space + 1) };
}

/** Splits a line that is two because a line feed is damaged. */
function splitDamagedEnd(line: string): readonly string[] {
  return isWhole(line) ? [line] : line.split(DAMAGED_END);
}

/** Whether a line is plainly one. Only the few others are looked at closely. */
function isWhole(line: string): boolean {
  return line.endsWith("}") && line.indexOf(RECORD, line.indexOf(RECORD) + 1) < 0;
}

/** Whether the file has the length that its first line says, or more: a process may have been killed before it wrote it. */
function isAsLong({ length }: Uint8Array, [one, other]: readonly string[]): boolean {
  const own = String(length).padStart(DIGITS, "0");
  return own === one || own === other || (one === other && length >= Number(one ?? NaN));
}

/** Returns the key of an attachment. */
export function attachmentLineKey({ ifName, network }: { ifName: string; network: string }): string {
  return `${ifName}@${network}`;
}

/** Returns the interface and the network of an attachment's key; undefined if it is another one. */
export function parseLineKey(key: string): { readonly ifName: string; readonly network: string } | undefined {
  // A network name has no "@", so the last "@" separates the two, whatever the interface is called.
  const at = key.lastIndexOf("@");
  if (at < 1 || at === key.length - 1 || key.startsWith(INTENDED)) return undefined;
  return { ifName: key.slice(0, at), network: key.slice(at + 1) };
}

/** Returns the key of an attachment that is intended. */
export function intendedKey(key: string): string {
  return `${INTENDED}${key}`;
}

/** Returns the key of the attachment that is intended; undefined if the key is not one of an intention. */
export function keyOfIntended(key: string): string | undefined {
  return key.startsWith(INTENDED) ? key.slice(INTENDED.length) : undefined;
}

/** Whether the line says that what it is about was removed. */
export function isRemoval({ text }: RecordLine): boolean {
  return text.startsWith(REMOVED);
}

/**
 * Returns the keys of all that a line may be about, of which the record cannot be read: its beginning and its record may both
 * be damaged. A line that says nothing is about the sandbox.
 */
export function subjectsOf({ key, text }: RecordLine): readonly string[] {
  const found = new Set(key === SANDBOX_KEY || parseLineKey(key) !== undefined ? [key] : []);
  if (text.includes('"kind":"podwire.sandbox.')) found.add(SANDBOX_KEY);
  const [ifName, network] = [readableMember(text, "ifName"), readableMember(text, "network")];
  if (!found.has(SANDBOX_KEY) && ifName !== undefined && network !== undefined) {
    found.add(attachmentLineKey({ ifName, network }));
  }
  return found.size === 0 ? [SANDBOX_KEY] : [...found];
}

/** Whether the beginning of a line and its record agree on what it is about, as far as that shows without reading it. */
function isPlain(line: RecordLine): boolean {
  if (line.key === SANDBOX_KEY || isRemoval(line)) return true;
  const key = parseLineKey(line.key);
  return key !== undefined && line.text.includes(`"ifName":"${key.ifName}"`) &&
    line.text.includes(`"network":"${key.network}"`);
}

/**
 * Returns the keys of what is not removed, with or without what is only intended. A removal that cannot be read removes
 * nothing: the record before it counts.
 */
export async function liveKeys(
  lines: readonly RecordLine[],
  { withIntended = false }: { readonly withIntended?: boolean } = {},
): Promise<readonly string[]> {
  const live = new Set<string>();
  for (const line of lines) {
    const intended = keyOfIntended(line.key);
    if (intended !== undefined) {
      if (withIntended) live.add(intended);
      continue;
    }
    const removed = isRemoval(line) ? await decodeRemoval(line.text).catch(() => undefined) : undefined;
    if (removed !== undefined) {
      live.delete(removed);
      continue;
    }
    for (const key of isPlain(line) ? [line.key] : subjectsOf(line)) live.add(key);
  }
  return [...live];
}

/** Returns the lines without those that two later lines replace: the last one may turn out to be damaged. */
export function compacted(lines: readonly RecordLine[]): readonly RecordLine[] {
  const later = new Map<string, number>();
  const kept = lines.toReversed().filter(({ key }) => {
    const count = (later.get(key) ?? 0) + 1;
    later.set(key, count);
    return count <= 2;
  });
  return kept.reverse();
}
