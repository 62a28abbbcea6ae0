import { escapedInJson } from "./terminal_text.ts";

import type { SignalName } from "./launch.ts";
import { ownUser } from "./stat.ts";

export type { SignalName };

/**
 * What a command line program needs of the process it runs in. Commands take it as a parameter, so that a test needs no
 * process.
 */
export interface Io {
  /** The arguments after the name of the program. */
  readonly args: readonly string[];
  /** The process ID. */
  readonly pid: number;
  /** The process that started this one. */
  readonly parentPid: number;
  /** Whether standard output is a terminal. */
  readonly stdoutIsTerminal: boolean;
  /** Whether standard error is a terminal. */
  readonly stderrIsTerminal: boolean;
  /** The width of the terminal that standard output is; undefined if it is not one. */
  readonly columns: number | undefined;
  /** One variable of the environment; empty if it is empty, undefined if it is missing. */
  env(name: string): string | undefined;
  /** As `env`, for a variable that the permissions do not name: a child process, which inherits all, prints it. */
  inheritedEnv(name: string): string | undefined;
  /** Writes the whole text to standard output before it returns. */
  write(text: string): void;
  /** As `write`, for a text with colours of its own, in which everything else is escaped already. */
  writeStyled(text: string): void;
  /** Writes the whole text to standard error before it returns. */
  writeError(text: string): void;
  /** The program that this process runs: podwire itself, or Deno. */
  readonly program: string;
  /** Reads all of standard input; stops after the first piece with which there are more bytes than `enough`. */
  readStdin(enough?: number): Promise<string>;
  /** Calls `listener` for each of these signals until the function it returns is called. */
  onSignal(signals: readonly SignalName[], listener: (signal: SignalName) => void): () => void;
  /** The user that the process runs as; 0 is root. */
  uid(): number;
}

/**
 * The process podwire runs in.
 *
 * Nothing is read before its member is used. `env` requires `--allow-env=NAME`, `inheritedEnv` requires
 * `--allow-run=printenv`, `uid` requires `--allow-read=/proc/self`, from Deno 2.8.3 on `--allow-run=sh`; the others need
 * no permission.
 *
 * @example
 * ```ts
 * import { processIo } from "./io.ts";
 *
 * const io = processIo();
 * io.writeError(`${io.args.length} arguments\n`);
 * ```
 */
export function processIo(): Io {
  return {
    get args() {
      return Deno.args;
    },
    get program() {
      return Deno.execPath();
    },
    get pid() {
      return Deno.pid;
    },
    get parentPid() {
      return Deno.ppid;
    },
    get stdoutIsTerminal() {
      return Deno.stdout.isTerminal();
    },
    get stderrIsTerminal() {
      return Deno.stderr.isTerminal();
    },
    get columns() {
      return Deno.stdout.isTerminal() ? Deno.consoleSize().columns || undefined : undefined;
    },
    env: (name) => Deno.env.get(name),
    inheritedEnv,
    // The text may quote a plugin, a pod or a file: a program gets every byte, a terminal no character that it acts on.
    write: (text) => writeOut(Deno.stdout.isTerminal() ? escapedInJson(text) : text),
    writeStyled: writeOut,
    writeError: (text) => writeAll(Deno.stderr, text),
    readStdin,
    onSignal,
    uid: ownUser,
  };
}

function inheritedEnv(name: string): string | undefined {
  const { success, stdout } = new Deno.Command("printenv", {
    args: ["--", name],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).outputSync();
  // The last line feed comes from printenv; any others belong to the value.
  return success ? new TextDecoder().decode(stdout).replace(/\n$/, "") : undefined;
}

async function readStdin(enough = Infinity): Promise<string> {
  // The reader of the text decides about a byte order mark; Response.text() would drop it.
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const pieces: string[] = [];
  let size = 0;
  for await (const bytes of Deno.stdin.readable) {
    pieces.push(decoder.decode(bytes, { stream: true }));
    size += bytes.byteLength;
    if (size > enough) break;
  }
  return pieces.join("") + decoder.decode();
}

function onSignal(signals: readonly SignalName[], listener: (signal: SignalName) => void): () => void {
  const listeners = signals.map((signal) => [signal, () => listener(signal)] as const);
  for (const [signal, fn] of listeners) Deno.addSignalListener(signal, fn);
  return () => {
    for (const [signal, fn] of listeners) Deno.removeSignalListener(signal, fn);
  };
}

function writeOut(text: string): void {
  try {
    writeAll(Deno.stdout, text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Cannot write the result to standard output: ${reason}`, { cause });
  }
}

function writeAll(to: { writeSync(bytes: Uint8Array): number }, text: string): void {
  let rest = new TextEncoder().encode(text);
  while (rest.byteLength > 0) {
    try {
      rest = rest.subarray(to.writeSync(rest));
    } catch (error) {
      // `podwire ps | head -1`: the reader needs no more.
      if (error instanceof Deno.errors.BrokenPipe) return;
      if (!(error instanceof Deno.errors.WouldBlock)) throw error;
      // Another process made the shared pipe non-blocking; there is no synchronous way to wait for room in it.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}
