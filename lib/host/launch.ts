import { denoRules } from "./deno_rules.ts";
import { failedStart, startError, withoutInherited } from "./inherited.ts";
import { inOwnSession, setsidMessage } from "./own_session.ts";
import { programFormat } from "./program_format.ts";
import { DEFAULT_PATH } from "./search_path.ts";

/** The name of a signal, such as `SIGTERM`. */
export type SignalName = Deno.Signal;

export { DEFAULT_PATH, withSystemDirs } from "./search_path.ts";

const DEFAULT_ENV = { PATH: DEFAULT_PATH, LC_ALL: "C" };

/** A program for {@linkcode GroupChild.start}. */
export interface LaunchRequest {
  readonly program: string;
  readonly args?: readonly string[] | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly stdin?: string | undefined;
  readonly cwd?: string | undefined;
  readonly ownGroup?: boolean | undefined;
}

/** A child process; it leads a session and so a process group of its own, if that was requested. */
export class GroupChild {
  readonly #child: Deno.ChildProcess;
  readonly #leads: boolean;
  /** The error if another program did not become the wanted one, made from its exit code and message. */
  readonly #failure: (code: number, stderr: string) => Error | undefined;

  private constructor(
    child: Deno.ChildProcess,
    leads: boolean,
    failure: (code: number, stderr: string) => Error | undefined,
  ) {
    this.#child = child;
    this.#leads = leads;
    this.#failure = failure;
  }

  static start({ program, args = [], env, stdin, cwd, ownGroup = true }: LaunchRequest): GroupChild {
    const { mayDetach, byShell } = startable(program);
    const leads = ownGroup && mayDetach;
    const wanted = { program, args, env: env ?? DEFAULT_ENV };
    const closing = byShell ? withoutInherited(wanted) : undefined;
    const leading = leads ? inOwnSession(closing ?? wanted) : undefined;
    const first = leading ?? closing ?? wanted;
    const child = new Deno.Command(first.program, {
      args: [...first.args],
      env: { ...wanted.env },
      clearEnv: true,
      detached: leads && leading === undefined,
      stdin: stdin === undefined ? "null" : "piped",
      stdout: "piped",
      stderr: "piped",
      ...(cwd === undefined ? {} : { cwd }),
    }).spawn();
    return new GroupChild(child, leads, (code, stderr) => {
      if (closing !== undefined) return failedStart(program, code, stderr);
      const message = leading && setsidMessage(program, code, stderr);
      return message === undefined ? undefined : startError(program, code, message);
    });
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Whether it leads a session. */
  get leads(): boolean {
    return this.#leads;
  }

  get status(): Promise<Deno.CommandStatus> {
    return this.#child.status;
  }

  /** Why the program did not start, which is known only when the child has ended; undefined if it started. */
  startFailure(code: number, stderr: string): Error | undefined {
    return this.#failure(code, stderr);
  }

  get stdin(): WritableStream<Uint8Array> {
    return this.#child.stdin;
  }

  get stdout(): ReadableStream<Uint8Array> {
    return this.#child.stdout;
  }

  get stderr(): ReadableStream<Uint8Array> {
    return this.#child.stderr;
  }

  /** Lets this process end before the child does. */
  unref(): void {
    this.#child.unref();
  }

  /** Undoes {@linkcode GroupChild.unref}. */
  ref(): void {
    this.#child.ref();
  }

  /** Signals the whole group, or only the child if it leads no group; does nothing if that has ended. */
  signal(name: "SIGTERM" | "SIGKILL"): void {
    if (!this.#leads) return signalChild(this.#child, name);
    try {
      // While a member lives, the kernel does not use the number of the group again.
      Deno.kill(-this.#child.pid, name);
    } catch (error) {
      // It has ended, or does not lead a group yet.
      if (error instanceof Deno.errors.NotFound) return signalChild(this.#child, name);
      if (!(error instanceof Deno.errors.NotCapable)) throw error;
      if (!signalByProgram(-this.#child.pid, name)) signalChild(this.#child, name);
    }
  }

  /** Stops the group, so that it starts no more processes until it is killed; does nothing without the permission. */
  stop(): void {
    if (!this.#leads) return;
    try {
      Deno.kill(-this.#child.pid, "SIGSTOP");
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable)) throw error;
    }
  }

  /** Whether the group has a member; a process that has ended and was not waited for counts too. */
  groupLives(): boolean {
    if (!this.#leads) return false;
    try {
      Deno.kill(-this.#child.pid, 0);
      return true;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable) return false;
      throw error;
    }
  }
}

/** Signals one child; does nothing if it has ended. */
export function signalChild(child: Deno.ChildProcess, name: SignalName): void {
  try {
    child.kill(name);
  } catch (error) {
    // Deno throws this if the child has ended already.
    if (!(error instanceof TypeError)) throw error;
  }
}

/**
 * Signals the children of a process; does nothing if there are none.
 *
 * Requires `--allow-run=sh`.
 */
export async function signalChildrenOf(pid: number, name: SignalName): Promise<void> {
  // Deno opens no file of another process without all permissions.
  const script = 'read -r children <"/proc/$1/task/$1/children"; kill -s "$2" $children';
  const args = ["-c", script, "sh", String(pid), name.slice(3)];
  const env = { PATH: DEFAULT_PATH };
  try {
    await new Deno.Command("sh", { args, env, clearEnv: true, stdin: "null", stdout: "null", stderr: "null" })
      .output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Needed with a grant like `--allow-run=ip,kill`: then Deno signals only its own children, one by one. */
function signalByProgram(pid: number, name: SignalName): boolean {
  try {
    const args = ["-s", name.slice(3), "--", String(pid)];
    const env = { PATH: DEFAULT_PATH };
    return new Deno.Command("kill", { args, env, clearEnv: true, stdout: "null", stderr: "null" })
      .outputSync().success;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/**
 * Returns how to start a program so that the kernel alone decides whether it is one. Deno uses execvp(3) or
 * posix_spawnp(3) (always for a detached program, from 2.8.3 on for any), which pass a file that the kernel refuses to
 * /bin/sh: an empty or half-written plugin would run as a shell script, and succeed.
 *
 * @throws The error of Deno, if the kernel refuses the program.
 */
function startable(program: string): { readonly mayDetach: boolean; readonly byShell: boolean } {
  const format = programFormat(program);
  const isRefused = format === "none" || format === "foreign" && denoRules().programsByShell;
  if (isRefused) throw new Error(`Failed to spawn '${program}': Exec format error (os error 8)`);
  return { mayDetach: format !== "foreign", byShell: format !== "foreign" };
}
