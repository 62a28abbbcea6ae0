import { readHeadSync } from "./read_file.ts";

/**
 * The format of a program by its first bytes: one that the kernel runs itself; one for another machine, which it runs if
 * binfmt_misc has an interpreter for it; or none. Unknown if the file is missing or cannot be read.
 */
export type ProgramFormat = "native" | "foreign" | "none" | "unknown";

/** The kernel reads no more. */
const HEAD_BYTES = 256;

/** Returns the format of a file. Requires `--allow-read`; without it, or if the path has no slash, it is unknown. */
export function programFormat(path: string): ProgramFormat {
  const head = path.includes("/") ? readHeadSync(path, HEAD_BYTES) : undefined;
  return head === undefined ? "unknown" : formatOf(head);
}

/** Returns the format of a file that begins with these bytes: its first 256, or all if there are fewer. */
function formatOf(head: Uint8Array): ProgramFormat {
  if (head[0] === 0x23 && head[1] === 0x21) return namesInterpreter(head) ? "native" : "none";
  return elfFormat(head);
}

/** A file with only blanks after `#!` in its first line is not a script. */
function namesInterpreter(head: Uint8Array): boolean {
  const [line = ""] = new TextDecoder().decode(head.subarray(2)).split(/[\n\0]/, 1);
  return line.trim() !== "";
}

/** The ELF numbers of the machines whose programs this kernel runs itself. */
const MACHINES: Readonly<Record<string, readonly number[]>> = { x86_64: [62, 3], aarch64: [183, 40] };
const MAGIC = [0x7f, 0x45, 0x4c, 0x46];

/** A file that ends inside its header is not a program of any machine. */
function elfFormat(head: Uint8Array): ProgramFormat {
  if (MAGIC.some((byte, index) => head[index] !== byte)) return "none";
  const { length, entrySizeAt, entrySize } = head[4] === 2
    ? { length: 64, entrySizeAt: 54, entrySize: 56 }
    : { length: 52, entrySizeAt: 42, entrySize: 32 };
  if (head.byteLength < length) return "none";
  const isLittle = head[5] === 1;
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const number = (at: number) => view.getUint16(at, isLittle);
  if (number(entrySizeAt) !== entrySize || number(entrySizeAt + 2) === 0) return "none";
  return isLittle && (MACHINES[Deno.build.arch] ?? []).includes(number(18)) ? "native" : "foreign";
}
