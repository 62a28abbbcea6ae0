import { escapedInJson } from "./terminal_text.ts";

import type { SignalName } from "./launch.ts";
import { ownUser } from "./stat.ts";

export type { SignalName };

/**
 * What a command line program has to do with the process it runs in. Commands take it as a parameter, so that a
 * test needs no process.
 */
export interface Io {
  /** The arguments behind the name of the program. */
  readonly args: readonly string[];
  /** The process ID. */
  readonly pid: number;
  /** The process that started this one. */
  readonly parentPid: number;
  /** Whether somebody looks at standard output. */
  readonly stdoutIsTerminal: boolean;
  /** Whether somebody looks at standard error. */
  readonly stderrIsTerminal: boolean;
  /** One variable of the environment; empty and missing are told apart. */
  env(name: string): string | undefined;
  /** As `env`, for a variable that the permissions do not name: asked of a child process, which inherits all. */
  inheritedEnv(name: string): string | undefined;
  /** Writes to standard output, all of it, at once. */
  write(text: string): void;
  /** Writes to standard error, all of it, at once. */
  writeError(text: string): void;
  /** The program that this process runs: podwire itself, or Deno. */
  readonly program: string;
  /** All of standard input; of more than so many bytes, some more than these. */
  readStdin(enough?: number): Promise<string>;
  /** Calls `listener` for each of these signals until the function it returns is called. */
  onSignal(signals: readonly SignalName[], listener: (signal: SignalName) => void): () => void;
  /** The user that the process runs as; 0 is root. */
  uid(): number;
}

/**
 * The process podwire runs in.
 *
 * Nothing is read before the member for it is used. `env` requires `--allow-env=NAME`, `inheritedEnv` requires
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
    env: (name) => Deno.env.get(name),
    inheritedEnv,
    // What it prints may quote a plugin, a pod or a file; a program gets every byte of that, a terminal none that it acts on.
    write: (text) => writeOut(Deno.stdout.isTerminal() ? escapedInJson(text) : text),
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
  // One line feed is printenv's own; any others belong to the value.
  return success ? new TextDecoder().decode(stdout).replace(/\n$/, "") : undefined;
}

async function readStdin(enough = Infinity): Promise<string> {
  // What reads the text decides about a byte order mark; Response.text() would drop it.
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
    throw new Error(`the result cannot be written to standard output: ${reason}`, { cause });
  }
}

function writeAll(to: { writeSync(bytes: Uint8Array): number }, text: string): void {
  let rest = new TextEncoder().encode(text);
  while (rest.byteLength > 0) {
    try {
      rest = rest.subarray(to.writeSync(rest));
    } catch (error) {
      // `podwire ps | head -1`: the reader has what it wanted.
      if (error instanceof Deno.errors.BrokenPipe) return;
      if (!(error instanceof Deno.errors.WouldBlock)) throw error;
      // Another process made the shared pipe non-blocking; nothing here could tell when there is room.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}
