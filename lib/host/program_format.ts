import { readHeadSync } from "./read_file.ts";

/**
 * Of what format a program is, by its first bytes: one that the kernel runs by itself, one for another machine, which it
 * runs where binfmt_misc has an interpreter for it, or none. Unknown for what is not there or cannot be read.
 */
export type ProgramFormat = "native" | "foreign" | "none" | "unknown";

/** As much as the kernel looks at. */
const HEAD_BYTES = 256;

/** The format of a file. Requires `--allow-read`; without, or where the path has no slash, it is unknown. */
export function programFormat(path: string): ProgramFormat {
  const head = path.includes("/") ? readHeadSync(path, HEAD_BYTES) : undefined;
  return head === undefined ? "unknown" : formatOf(head);
}

/** The format of a file that begins with these bytes, with as many of them as there are up to 256. */
export function formatOf(head: Uint8Array): ProgramFormat {
  if (head[0] === 0x23 && head[1] === 0x21) return namesInterpreter(head) ? "native" : "none";
  return elfFormat(head);
}

/** A first line with nothing but blanks behind `#!` is that of no script. */
function namesInterpreter(head: Uint8Array): boolean {
  const [line = ""] = new TextDecoder().decode(head.subarray(2)).split(/[\n\0]/, 1);
  return line.trim() !== "";
}

/** The numbers of ELF for the machines whose programs this kernel runs without help. */
const MACHINES: Readonly<Record<string, readonly number[]>> = { x86_64: [62, 3], aarch64: [183, 40] };
const MAGIC = [0x7f, 0x45, 0x4c, 0x46];

/** A file that was cut off in its header is no program, whatever machine it was for. */
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
