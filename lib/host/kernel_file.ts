import { breathe } from "../async/breathe.ts";
import { HostError, type RunCommand, runCommand, runsHere, startProblem } from "./command.ts";
import { type Bytes, type Libc, mayCallLibc, openLibc } from "./libc.ts";
import { LIBC } from "./libc_constants.ts";

/** How files are read. */
export interface KernelFileOptions {
  /** @default {runCommand} */
  readonly run?: RunCommand | undefined;
  readonly signal?: AbortSignal | undefined;
}

const PIECE_BYTES = 4096;

/**
 * Returns the texts of files below `/proc` or `/sys`, one after another; a file that is not there, or cannot be read, has none.
 *
 * Requires `--allow-run=cat`, or the whole `--allow-ffi`: Deno opens such files only with all permissions.
 */
export async function readKernelFiles(
  paths: readonly string[],
  { run = runCommand, signal }: KernelFileOptions = {},
): Promise<string> {
  if (paths.length === 0) return "";
  signal?.throwIfAborted();
  if (!runsHere(run) || !mayCallLibc()) {
    return await readByProgram(paths, run, signal);
  }
  const libc = openLibc();
  let texts = "";
  for (const path of paths) {
    await breathe();
    signal?.throwIfAborted();
    texts += readWhole(libc, path);
  }
  return texts;
}

async function readByProgram(
  paths: readonly string[],
  run: RunCommand,
  signal: AbortSignal | undefined,
): Promise<string> {
  try {
    // For a file that is not there, cat only says so.
    const { stdout } = await run({ program: "cat", args: paths, ownGroup: false, signal });
    signal?.throwIfAborted();
    return stdout;
  } catch (cause) {
    if (startProblem(cause) !== "not-found") throw cause;
    const [program, reason] = ["cat", "program-missing"] as const;
    throw new HostError(`Cannot run "${program}": no such program on the PATH`, { program, reason, cause });
  }
}

function readWhole(libc: Libc, path: string): string {
  const fd = libc.open(path, LIBC.O_RDONLY | LIBC.O_CLOEXEC);
  if (fd < 0) return "";
  try {
    const decoder = new TextDecoder();
    const piece: Bytes = new Uint8Array(PIECE_BYTES);
    let text = "";
    for (let length = 1; length > 0;) {
      length = libc.read(fd, piece);
      if (length > 0) text += decoder.decode(piece.subarray(0, length), { stream: true });
    }
    return text + decoder.decode();
  } finally {
    libc.close(fd);
  }
}
