import { settled } from "../async/wait.ts";
import { type ProgramStart, withoutInherited } from "./inherited.ts";
import { DEFAULT_PATH, signalChild, type SignalName } from "./launch.ts";
import { findProgram, withSystemDirs } from "./search_path.ts";

/** A program that takes over the terminal. */
export interface AttachedRequest {
  readonly program: string;
  readonly args?: readonly string[] | undefined;
  /** Added to the environment of this process with `inheritEnv`, else the whole environment. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** @default {false} */
  readonly inheritEnv?: boolean | undefined;
  readonly cwd?: string | undefined;
}

/** A running program that uses the terminal. */
export interface AttachedChild {
  readonly pid: number;
  /** Does nothing if the program has ended. */
  kill(signal: SignalName): void;
}

/** Options of {@linkcode runAttached}. */
export interface AttachedOptions {
  /** Ends the program with SIGTERM, and with SIGKILL after `graceMs`. */
  readonly signal?: AbortSignal | undefined;
  /** @default {2_000} */
  readonly graceMs?: number | undefined;
  /** Called once the program runs, for a caller that passes signals on. */
  readonly onSpawn?: ((child: AttachedChild) => void) | undefined;
}

/** How a program that used the terminal ended. */
export interface AttachedOutcome {
  /** 128 plus the number of the signal where `signal` is set, as in a shell. */
  readonly code: number;
  readonly signal: string | null;
}

/**
 * Runs a program on this process's own standard input, output and error, in its process group, so that a terminal
 * works as if the user had started the program directly. The keys that send signals (Ctrl-C) reach this process too:
 * a caller that must go on has to listen to SIGINT.
 *
 * Requires `--allow-run`.
 *
 * @throws As {@linkcode runCommand} does.
 *
 * @example
 * ```ts
 * import { runAttached } from "./attached.ts";
 *
 * const { code } = await runAttached({ program: "true", inheritEnv: true });
 * ```
 */
export async function runAttached(
  request: AttachedRequest,
  options: AttachedOptions = {},
): Promise<AttachedOutcome> {
  const { program, args = [], inheritEnv = false, cwd } = request;
  const { signal, graceMs = 2_000, onSpawn } = options;
  signal?.throwIfAborted();
  const env = request.env ?? (inheritEnv ? {} : { PATH: DEFAULT_PATH, LC_ALL: "C" });
  const child = spawnFound({ program, args, env: inheritEnv ? undefined : env }, {
    env: { ...env },
    clearEnv: !inheritEnv,
    stdin: "inherit",
    stdout: "inherit",
    stderr: "inherit",
    ...(cwd === undefined ? {} : { cwd }),
  });
  const onAbort = async () => {
    signalChild(child, "SIGTERM");
    if (await settled(child.status, graceMs) === undefined) signalChild(child, "SIGKILL");
  };
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    onSpawn?.({ pid: child.pid, kill: (name) => signalChild(child, name) });
    const { code, signal } = await child.status;
    return { code, signal };
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

/** Searches the directories of the system after those of the `PATH`, because the `PATH` of a user may lack them. */
function spawnFound(request: ProgramStart, options: Deno.CommandOptions): Deno.ChildProcess {
  const { program } = request;
  // Checked here, because a shell that becomes the program reports a missing one in its own words.
  const path = findProgram(program, withSystemDirs(searchPathOf(request)));
  const closing = path === undefined ? undefined : withoutInherited({ ...request, program: path });
  if (closing !== undefined) {
    return new Deno.Command(closing.program, { ...options, args: [...closing.args] }).spawn();
  }
  const start = (path: string) => new Deno.Command(path, { ...options, args: [...request.args] }).spawn();
  try {
    return start(program);
  } catch (missing) {
    if (!(missing instanceof Deno.errors.NotFound) || program.includes("/")) throw missing;
    for (const dir of DEFAULT_PATH.split(":")) {
      try {
        return start(`${dir}/${program}`);
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
    throw missing;
  }
}

/** The `PATH` that the program gets; undefined if this process may not read its own. */
function searchPathOf({ env }: ProgramStart): string | undefined {
  if (env !== undefined) return env.PATH;
  const mayRead = Deno.permissions.querySync({ name: "env", variable: "PATH" }).state === "granted";
  return mayRead ? Deno.env.get("PATH") : undefined;
}
