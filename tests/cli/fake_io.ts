import { type CommandInput, GLOBAL_OPTIONS, parseCommandLine } from "../../lib/cli/command.ts";
import { COMMANDS } from "../../lib/cli/commands.ts";
import { main } from "../../lib/cli/main.ts";
import type { Io, SignalName } from "../../lib/host/io.ts";
import "../open_libc.ts";

/** Options of a fake process. */
export interface FakeProcess {
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  readonly uid?: number;
  readonly program?: string;
  readonly stderrIsTerminal?: boolean;
  /** The width of standard output, which then is a terminal. */
  readonly columns?: number;
}

/** An Io that records what is written, and which variables are read. */
export class FakeIo implements Io {
  readonly args: readonly string[];
  readonly pid = 4711;
  readonly parentPid = 4710;
  readonly program: string;
  readonly stdoutIsTerminal: boolean;
  readonly columns: number | undefined;
  readonly stderrIsTerminal: boolean;
  readonly asked = new Set<string>();
  readonly askedOfChild: string[] = [];
  stdout = "";
  stderr = "";
  readonly #process: FakeProcess;
  readonly #listeners = new Map<SignalName, Set<(signal: SignalName) => void>>();

  constructor(args: readonly string[], process: FakeProcess = {}) {
    this.args = args;
    this.#process = process;
    this.program = process.program ?? "/usr/bin/podwire";
    this.columns = process.columns;
    this.stdoutIsTerminal = process.columns !== undefined;
    this.stderrIsTerminal = process.stderrIsTerminal ?? false;
  }

  env(name: string): string | undefined {
    this.asked.add(name);
    return this.#process.env?.[name];
  }

  inheritedEnv(name: string): string | undefined {
    this.askedOfChild.push(name);
    return this.#process.env?.[name];
  }

  write(text: string): void {
    this.stdout += text;
  }

  writeStyled(text: string): void {
    this.stdout += text;
  }

  writeError(text: string): void {
    this.stderr += text;
  }

  readStdin(): Promise<string> {
    return Promise.resolve(this.#process.stdin ?? "");
  }

  onSignal(signals: readonly SignalName[], listener: (signal: SignalName) => void): () => void {
    for (const signal of signals) {
      const listeners = this.#listeners.get(signal) ?? new Set();
      this.#listeners.set(signal, listeners.add(listener));
    }
    return () => {
      for (const signal of signals) this.#listeners.get(signal)?.delete(listener);
    };
  }

  uid(): number {
    return this.#process.uid ?? 0;
  }

  /** Sends the process a signal. */
  send(signal: SignalName): void {
    for (const listener of [...this.#listeners.get(signal) ?? []]) listener(signal);
  }

  /** Number of listeners; none may be left at the end. */
  get listeners(): number {
    return [...this.#listeners.values()].reduce((sum, set) => sum + set.size, 0);
  }
}

/** Runs the command line in a fake process. */
export async function podwire(
  args: readonly string[],
  process: FakeProcess = {},
): Promise<{ io: FakeIo; code: number; stdout: string; stderr: string }> {
  const io = new FakeIo(args, process);
  const code = await main(io);
  return { io, code, stdout: io.stdout, stderr: io.stderr };
}

/** Returns the input that a command gets for these arguments. */
export function inputOf(name: string, args: readonly string[], process: FakeProcess = {}): CommandInput {
  const own = COMMANDS.find((command) => command.name === name)?.options ?? [];
  return { io: new FakeIo(args, process), ...parseCommandLine(args, [...GLOBAL_OPTIONS, ...own]) };
}
