import { HEAD_LENGTH, parseLog, subjectsOf } from "./record_log.ts";
import { repairBit } from "./repair_bit.ts";

const LINE_FEED = 10;
const SPACE = 32;
const BRACE = "{".charCodeAt(0);

/**
 * Returns the original text of the last record with one of these keys in the file of a container, if exactly one bit of it
 * is wrong; undefined if more is wrong.
 */
export async function repairLine(
  kind: string,
  bytes: Uint8Array,
  keys: readonly string[],
): Promise<string | undefined> {
  const parts = split(bytes);
  const isAbout = (part: Uint8Array) =>
    parseLog(withHead(part)).lines.some((line) => subjectsOf(line).some((key) => keys.includes(key)));
  const at = parts.findLastIndex((part) => part.length > 0 && isAbout(part));
  const part = parts[at];
  if (part === undefined) return undefined;
  // The wrong bit may have made a line feed of another character.
  const [before, after] = [parts[at - 1], parts[at + 1]];
  for (const whole of [part, after && joined(part, after), before && joined(before, part)]) {
    const text = whole && await repairBit(kind, recordIn(whole));
    if (text !== undefined) return text;
  }
  return undefined;
}

function split(bytes: Uint8Array): readonly Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let start = 0; start < bytes.length;) {
    const end = bytes.indexOf(LINE_FEED, start);
    parts.push(bytes.subarray(start, end < 0 ? bytes.length : end));
    start = end < 0 ? bytes.length : end + 1;
  }
  return parts;
}

/** Makes a file of one line. */
function withHead(part: Uint8Array): Uint8Array {
  const head = new Uint8Array(HEAD_LENGTH);
  head[HEAD_LENGTH - 1] = LINE_FEED;
  return concat(head, part);
}

function joined(one: Uint8Array, other: Uint8Array): Uint8Array {
  return concat(one, Uint8Array.of(LINE_FEED), other);
}

/** Returns the record alone, as a file of its own would hold it. */
function recordIn(part: Uint8Array): Uint8Array {
  // A record of podwire 0.1.0 has no key.
  const start = part[0] === BRACE ? 0 : part.indexOf(SPACE) + 1;
  return concat(part.subarray(start), Uint8Array.of(LINE_FEED));
}

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
