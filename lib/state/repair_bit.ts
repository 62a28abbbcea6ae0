import { parseChecksummed } from "./checksummed.ts";

/** What `printChecksummed` writes around the checksum at the end of a record. */
const BEFORE = new TextEncoder().encode(',"checksum":"');
const AFTER = new TextEncoder().encode('"}\n');
const CHECKSUM_LENGTH = 64;
/** Trying each bit of a larger record takes too long. */
const LARGEST = 32 * 1024;

/**
 * Returns the original text of a record in which exactly one bit is wrong. The checksum shows which bit. Returns undefined
 * if more is wrong.
 */
export async function repairBit(kind: string, bytes: Uint8Array): Promise<string | undefined> {
  const end = bytes.length - AFTER.length - CHECKSUM_LENGTH - BEFORE.length;
  if (end < 2 || bytes.length > LARGEST) return undefined;
  const tagged = new Uint8Array(end + 1);
  tagged.set(bytes.subarray(0, end));
  tagged[end] = "}".charCodeAt(0);
  const start = end + BEFORE.length;
  const checksum = new TextDecoder().decode(bytes.subarray(start, start + CHECKSUM_LENGTH));
  // The wrong bit is in the checksum, or in the text around it.
  const own = await digestOf(tagged);
  if ([...own].filter((digit, index) => digit !== checksum[index]).length <= 1) {
    return await ifIntact(kind, tagged, own);
  }
  for (let bit = 0; bit < end * 8; bit++) {
    flip(tagged, bit);
    if (await digestOf(tagged) === checksum) return await ifIntact(kind, tagged, checksum);
    flip(tagged, bit);
  }
  return undefined;
}

function flip(bytes: Uint8Array, bit: number): void {
  bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
}

async function ifIntact(kind: string, tagged: Uint8Array, checksum: string): Promise<string | undefined> {
  const body = new TextDecoder().decode(tagged.subarray(0, -1));
  const text = `${body},"checksum":"${checksum}"}\n`;
  try {
    await parseChecksummed(kind, text);
    return text;
  } catch {
    return undefined;
  }
}

async function digestOf(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return new Uint8Array(digest).toHex();
}
