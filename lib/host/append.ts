import { breathe } from "../async/breathe.ts";
import { writeAll } from "./file.ts";
import { type FileStat, statOwn } from "./stat.ts";

/** What {@linkcode appendTo} did. */
export type Appended =
  | { readonly became: "longer"; readonly size: number; /** What it was before. */ readonly was: FileStat }
  /** There is no regular file. */
  | { readonly became: "absent" }
  /** The first bytes are not those of a file of its length, and nothing was written. */
  | { readonly became: "unsound" };

/** Options of {@linkcode appendTo}. */
export interface AppendOptions {
  /**
   * Returns the first bytes of a file of that many bytes: as many for each number. They show whether the end of the file is
   * missing.
   */
  readonly headOf: (size: number) => string;
  /** Whether the text is on the disk when this returns. @default {false} */
  readonly durable?: boolean | undefined;
}

const LINE_FEED = 10;

/**
 * Appends lines to a file of podwire. A reader, and a process that is killed in between, may see a part of the text, with
 * the length in the first bytes still the former one. If there is no room for the text, the file stays as it was.
 *
 * Nothing before the text is written again, but the length: a loss of power leaves what was synced, and a part of the rest.
 *
 * Requires `--allow-read` and `--allow-write`.
 */
export async function appendTo(
  path: string,
  text: string,
  { headOf, durable = false }: AppendOptions,
): Promise<Appended> {
  await breathe();
  // Only a file: opening a FIFO could wait for its other end.
  const was = await statOwn(path);
  using file = was?.isFile ? openIfThere(path) : undefined;
  if (was === undefined || file === undefined) return { became: "absent" };
  const { isFile, size } = file.statSync();
  if (!isFile) return { became: "absent" };
  if (!isSound(file, size, headOf)) return { became: "unsound" };
  // A killed process may have left a part of a line.
  const isWhole = readAt(file, size - 1, 1)[0] === LINE_FEED;
  const bytes = new TextEncoder().encode(isWhole ? text : `\n${text}`);
  try {
    writeAt(file, size, bytes);
    writeAt(file, 0, new TextEncoder().encode(headOf(size + bytes.length)));
  } catch (error) {
    file.truncateSync(size);
    // The error of a write to a full disk does not name the file.
    if (error instanceof Error && !error.message.includes(path)) error.message += `: writefile '${path}'`;
    throw error;
  }
  if (durable) await file.sync();
  return { became: "longer", size: size + bytes.length, was };
}

function openIfThere(path: string): Deno.FsFile | undefined {
  try {
    return Deno.openSync(path, { read: true, write: true });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Whether the file is at least as long as its first bytes say: what a killed process appended may not be counted yet. */
function isSound(file: Deno.FsFile, size: number, headOf: (size: number) => string): boolean {
  const { length } = headOf(0);
  const head = new TextDecoder().decode(readAt(file, 0, length));
  const known = Number(/\d+\n$/.exec(head)?.[0]);
  return known <= size && head === headOf(known);
}

function readAt(file: Deno.FsFile, at: number, length: number): Uint8Array {
  if (at < 0) return new Uint8Array();
  file.seekSync(at, Deno.SeekMode.Start);
  const bytes = new Uint8Array(length);
  return bytes.subarray(0, file.readSync(bytes) ?? 0);
}

function writeAt(file: Deno.FsFile, at: number, bytes: Uint8Array): void {
  file.seekSync(at, Deno.SeekMode.Start);
  writeAll(file, bytes);
}
