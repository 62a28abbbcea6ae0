import { DEFAULT_PATH } from "./search_path.ts";

/** A program to start. */
export interface ProgramStart {
  readonly program: string;
  readonly args: readonly string[];
  /** The whole environment; undefined if the program inherits that of this process. */
  readonly env?: Readonly<Record<string, string>> | undefined;
}

/** How to start a program without the file descriptors that this process inherited. */
interface Closing {
  /** The shell that becomes the program. */
  readonly shell: string;
  /** The descriptors that it closes. */
  readonly closed: readonly number[];
  /** A shell that closes the descriptors that the first one cannot name, and then becomes the first one. */
  readonly before?: { readonly shell: string; readonly closed: readonly number[] };
  /** The descriptors that no shell of this machine can close. */
  readonly open: readonly number[];
}

/**
 * Prints the paths of the shells, and the descriptors that every program of this process inherits. The directory also lists
 * its own descriptor, which is closed again when the entries are checked.
 */
const LIST = `command -v sh || exit 1; command -v bash || echo
cd /proc/self/fd && for number in *; do [ -e "/proc/self/fd/$number" ] && echo "$number"; done; :`;
/** The name of the shell in its message that it could not become the program. */
const NAME = "podwire-start";
/** The variables that a shell adds to an environment. */
const ADDED = ["PWD", "OLDPWD", "SHLVL", "_"];

/** What is called of the C library. */
export interface DescriptorLibrary {
  isInherited(fd: number): boolean;
}

let found: Closing | "none" | undefined;
let library: DescriptorLibrary | undefined;

/** From now on the C library says whether there is a descriptor that programs inherit. */
export function useForDescriptors(opened: DescriptorLibrary): void {
  library = opened;
}

/**
 * Returns the command that starts a program without the descriptors, beyond standard error, that this process was started
 * with: a shell that closes them and then becomes the program, so that the process ID stays the same. Undefined if there
 * are no such descriptors (the C library knows that if it is open, else one process checks it before the first program
 * starts), or if the shell may not be run.
 *
 * Deno opens its own files so that no program inherits them, but does not do that for files that were open before. Variables
 * whose names a shell refuses (`A.B`) are lost.
 *
 * Requires `--allow-run` for `sh`, and for `bash` if a number has more than one digit; without it, nothing is closed.
 */
export function withoutInherited({ program, args, env }: ProgramStart): ProgramStart | undefined {
  if (found === undefined && !mayRun("sh")) return undefined;
  found ??= hasNone() ? "none" : findClosing();
  if (found === "none" || !mayRun(program) || !mayRun(found.shell)) return undefined;
  const { shell, closed, before } = found;
  const added = env === undefined ? [] : ADDED.filter((name) => !Object.hasOwn(env, name));
  const unset = added.length === 0 ? "" : `unset ${added.join(" ")}; `;
  const script = `${closeAll(closed)}; ${unset}exec "$@"`;
  const inner = ["-c", script, NAME, program, ...args];
  if (before === undefined || !mayRun(before.shell)) return { program: shell, args: inner };
  // Without -p bash would read the file that BASH_ENV names.
  const outer = ["-p", "-c", `${closeAll(before.closed)}; exec "$0" "$@"`, shell, ...inner];
  return { program: before.shell, args: outer };
}

/** Returns the descriptors that programs inherit nevertheless, because no shell of this machine can name them. */
export function leftOpen(): readonly number[] {
  return found === undefined || found === "none" ? [] : found.open;
}

/**
 * Returns the error that starting the program itself would have thrown, made from the message of the shell; undefined if
 * the shell became the program.
 */
export function failedStart(program: string, code: number, stderr: string): Error | undefined {
  if ((code !== 126 && code !== 127) || !stderr.startsWith(`${NAME}: `)) return undefined;
  return startError(program, code, stderr);
}

/** Returns the error that starting the program would have thrown, made from the exit code and message of its starter. */
export function startError(program: string, code: number, stderr: string): Error {
  const tried = `Failed to spawn '${program}'`;
  if (/Text file busy/.test(stderr)) return new Error(`${tried}: Text file busy (os error 26)`);
  if (/Exec format error/.test(stderr)) return new Error(`${tried}: Exec format error (os error 8)`);
  if (/Argument list too long/.test(stderr)) {
    return new Error(`${tried}: Argument list too long (os error 7)`);
  }
  if (code === 127 || /No such file|not found/.test(stderr)) {
    return new Deno.errors.NotFound(`${tried}: No such file or directory (os error 2)`);
  }
  return new Deno.errors.PermissionDenied(`${tried}: Permission denied (os error 13)`);
}

/** Whether this process has no descriptor that programs inherit; false also if only a program can find that out. */
function hasNone(): boolean {
  if (library === undefined) return false;
  try {
    for (const { name } of Deno.readDirSync("/proc/self/fd")) {
      if (Number(name) > 2 && library.isInherited(Number(name))) return false;
    }
    return true;
  } catch {
    return false;
  }
}

function findClosing(): Closing | "none" {
  const { success, stdout } = runScript("sh", LIST);
  if (!success) return "none";
  const [shell = "", bash = "", ...lines] = stdout.split("\n");
  const numbers = lines.filter((line) => line !== "").map(Number).filter((number) => number > 2);
  if (numbers.length === 0) return "none";
  // POSIX requires a shell to know ten of them; dash takes 12 for the name of a program.
  const high = numbers.filter((number) => number > 9);
  if (high.length === 0 || runScript(shell, closeAll(high)).success) {
    return { shell, closed: numbers, open: [] };
  }
  const closed = numbers.filter((number) => number <= 9);
  if (bash === "") return { shell, closed, open: high };
  return { shell, closed, before: { shell: bash, closed: high }, open: [] };
}

function closeAll(numbers: readonly number[]): string {
  return numbers.length === 0 ? ":" : `exec ${numbers.map((number) => `${number}>&-`).join(" ")}`;
}

function runScript(shell: string, script: string): { success: boolean; stdout: string } {
  const { success, stdout } = new Deno.Command(shell, {
    args: ["-c", script],
    env: { PATH: DEFAULT_PATH, LC_ALL: "C" },
    clearEnv: true,
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).outputSync();
  return { success, stdout: new TextDecoder().decode(stdout) };
}

/** Whether Deno allows to start a program. */
export function mayRun(command: string): boolean {
  return Deno.permissions.querySync({ name: "run", command }).state === "granted";
}
