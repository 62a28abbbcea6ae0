import { delay, settled } from "../async/wait.ts";
import { Capture, LineSplitter } from "./capture.ts";
import { DEFAULT_PATH, GroupChild, withSystemDirs } from "./launch.ts";
import { PROCESS_TABLE } from "./process_table.ts";
import { Strays } from "./strays.ts";

export { DEFAULT_PATH, withSystemDirs };

/** A program to run. */
export interface CommandRequest {
  /** A path, or a name that is looked for on the `PATH` of `env`. */
  readonly program: string;
  /** Passed as they are; no shell reads them. */
  readonly args?: readonly string[] | undefined;
  /**
   * The whole environment of the program; nothing is inherited.
   *
   * @default {{ PATH: DEFAULT_PATH, LC_ALL: "C" }}
   */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Written to standard input, which is then closed. @default {undefined} (standard input is /dev/null) */
  readonly stdin?: string | undefined;
  /** Ends the program, its process group, and what it started in other sessions and is still the parent of. */
  readonly signal?: AbortSignal | undefined;
  /** How long the process group may take to end after SIGTERM. @default {2_000} */
  readonly graceMs?: number | undefined;
  /** In bytes. More ends the program. @default {8 MiB} */
  readonly maxStdout?: number | undefined;
  /** In bytes. More ends the program. @default {1 MiB} */
  readonly maxStderr?: number | undefined;
  /**
   * Whether the outcome has what the program prints. Without, its output may be of any length: for a program that runs as long
   * as this process does. @default {true}
   */
  readonly keepOutput?: boolean | undefined;
  /** Called for each line while the program runs, and for the text after the last line end. */
  readonly onStderrLine?: ((line: string) => void) | undefined;
  /** Called as soon as the program runs. */
  readonly onStart?: ((pid: number) => void) | undefined;
  /** The working directory. */
  readonly cwd?: string | undefined;
  /**
   * Whether the program gets a session and process group of its own. Without them it starts a millisecond faster (more if
   * `setsid` is missing), gets the Ctrl-C of the terminal too, and only the program itself is ended. Set to false for
   * programs that start no others, or only such that soon end by themselves.
   *
   * @default {true}
   */
  readonly ownGroup?: boolean | undefined;
}

/** Why the run of a program ended. */
export type CommandEnd = "exit" | "aborted" | "stdout-overflow" | "stderr-overflow";

/** How a program ended. */
export interface CommandOutcome {
  /** 128 plus the number of the signal where `signal` is set; -1 if even SIGKILL did not end the program in time. */
  readonly code: number;
  /** The signal that ended the program, such as `SIGKILL`. */
  readonly signal: string | null;
  /** All of standard output, up to the limit. */
  readonly stdout: string;
  /** All of standard error, up to the limit. */
  readonly stderr: string;
  /** Milliseconds from the start to the end. */
  readonly elapsedMs: number;
  /** Why the run ended. */
  readonly ended: CommandEnd;
}

/** The one seam for effects: everything that runs a program takes such a function. */
export type RunCommand = (request: CommandRequest) => Promise<CommandOutcome>;

const bases = new WeakMap<RunCommand, { readonly base: RunCommand; readonly path: string | undefined }>();

/**
 * Returns `run`, noted as a function that only adds something to the programs that `base` runs; with `path`, it looks for them
 * there.
 */
export function runningAs(base: RunCommand, run: RunCommand, path?: string): RunCommand {
  bases.set(run, { base, path });
  return run;
}

/** Whether a function runs programs on this machine as {@linkcode runCommand}: others may run them elsewhere, or none. */
export function runsHere(run: RunCommand): boolean {
  return baseOf(run) === runCommand;
}

/** Returns the function that runs the programs in the end: one for all that add something to it. */
export function baseOf(run: RunCommand): RunCommand {
  const added = bases.get(run);
  return added === undefined ? run : baseOf(added.base);
}

/** Returns the directories in which a function looks for programs, if a request names no others. */
export function pathOf(run: RunCommand): string {
  const added = bases.get(run);
  return added === undefined ? DEFAULT_PATH : added.path ?? pathOf(added.base);
}

/** Whether a function {@linkcode runsHere}, and looks for programs only in the directories of the system. */
export function runsOfSystem(run: RunCommand): boolean {
  return runsHere(run) && pathOf(run) === DEFAULT_PATH;
}

const MIB = 1024 * 1024;
/** A process that was left behind may hold a pipe; its output is read until it is silent for two such ticks. */
const QUIET_TICK_MS = 100;
const GROUP_POLL_MS = 20;
const SILENT_GRACE_MS = 200;
const LAST_WORDS_MS = 50;
const LOOK_MS = 1_000;
/** On a busy machine a process may end late after SIGKILL. */
const REAP_MS = 5_000;

/**
 * Runs a program to its end.
 *
 * The program gets its own session, and so its own process group. When `signal` fires, or when the program prints more
 * than allowed, the group gets SIGTERM. So do the processes that the program started in other sessions, as long as the
 * chain of parents leads to them. Those that do not end get SIGKILL after `graceMs`, or earlier: when the program has ended
 * and no process has held its pipes for 200 ms. The call then returns, even if a process that escaped into another session
 * still holds the pipes. After a normal end such processes are left alone, and their output is read until it is quiet for
 * 200 ms, but no longer than `graceMs`.
 *
 * Requires `--allow-run`. If it is granted for single programs only (`--allow-run=ip`), Deno does not signal process
 * groups: then the program `kill` does it, if that is granted too; else only the program itself is signalled. `setsid`
 * makes the session if it can be found (which requires `--allow-read`) and run; else Deno makes it, which is slower.
 *
 * @throws {Deno.errors.NotFound} If there is no such program. Other failures to start are thrown as they come from Deno,
 * see {@linkcode startProblem}.
 * @throws The reason of `signal`, if it fired before the call; then nothing was started.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { runCommand } from "./command.ts";
 *
 * const { code, stdout } = await runCommand({ program: "cat", stdin: "hello", signal: AbortSignal.timeout(5_000) });
 * assertEquals([code, stdout], [0, "hello"]);
 * ```
 */
export const runCommand: RunCommand = async (request) => {
  const { signal, graceMs = 2_000, keepOutput = true, onStderrLine, onStart } = request;
  const [mostStdout, mostStderr] = keepOutput
    ? [request.maxStdout ?? 8 * MIB, request.maxStderr ?? MIB]
    : [undefined, undefined];
  signal?.throwIfAborted();
  const startedAt = performance.now();
  const child = GroupChild.start(request);
  onStart?.(child.pid);

  const stop = Promise.withResolvers<Exclude<CommandEnd, "exit">>();
  const failures: unknown[] = [];
  const fail = (error: unknown) => {
    failures.push(error);
    stop.resolve("aborted");
  };
  const onAbort = () => stop.resolve("aborted");
  signal?.addEventListener("abort", onAbort, { once: true });
  const lines = onStderrLine && new LineSplitter(onStderrLine);
  const stdout = new Capture(child.stdout, mostStdout, () => stop.resolve("stdout-overflow"), fail);
  const stderr = new Capture(child.stderr, mostStderr, () => stop.resolve("stderr-overflow"), fail, lines);
  const closeStdin = feed(child, request.stdin);
  try {
    const exited = child.status.then(() => "exit" as const);
    let ended: CommandEnd = await Promise.race([exited, stop.promise]);
    if (ended === "exit") ended = await readRest([stdout, stderr], graceMs, stop.promise);
    if (ended !== "exit") await endGroup(child, graceMs, [stdout, stderr]);
    const status = await settled(child.status, REAP_MS);
    // A process in uninterruptible sleep must not keep this one alive.
    if (status === undefined) child.unref();
    const { code, signal } = status ?? { code: -1, signal: null };
    if (failures.length > 0) throw failures[0];
    const unstarted = ended === "exit" ? child.startFailure(code, stderr.text()) : undefined;
    if (unstarted !== undefined) throw unstarted;
    lines?.end();
    const elapsedMs = Math.round(performance.now() - startedAt);
    return { code, signal, stdout: stdout.text(), stderr: stderr.text(), elapsedMs, ended };
  } finally {
    signal?.removeEventListener("abort", onAbort);
    closeStdin();
    await Promise.all([stdout.drop(), stderr.drop()]);
  }
};

/** Writes standard input while the output is read, so that neither side can block the other. */
function feed(child: GroupChild, text: string | undefined): () => void {
  if (text === undefined) return () => {};
  const writer = child.stdin.getWriter();
  // A program may end without reading its input; its exit code says whether that is an error.
  const ignored = () => {};
  writer.write(new TextEncoder().encode(text)).then(() => writer.close()).catch(ignored);
  // Not awaited: if the text is larger than the pipe, and a process left behind holds the pipe, this ends with that process.
  return () => void writer.abort().catch(ignored);
}

/** Reads the rest of the output of a program that has ended; another process may still hold its pipes. */
async function readRest(
  captures: readonly Capture[],
  limitMs: number,
  stop: Promise<Exclude<CommandEnd, "exit">>,
): Promise<CommandEnd> {
  const over = Promise.race([Promise.all(captures.map((capture) => capture.done)), stop]);
  // Ticks, not a time limit: while this process gets no CPU it reads nothing, and what the program wrote before its end
  // would be lost. Two in a row: the first tick may end before a byte that was written meanwhile could be read.
  let quietTicks = 0;
  for (let ticks = limitMs / QUIET_TICK_MS; quietTicks < 2 && ticks > 0; ticks--) {
    const before = total(captures);
    const startedAt = performance.now();
    const result = await settled(over, QUIET_TICK_MS);
    if (result !== undefined) return typeof result === "string" && result !== "aborted" ? result : "exit";
    const isLate = performance.now() - startedAt > 2 * QUIET_TICK_MS;
    quietTicks = isLate || total(captures) > before ? 0 : quietTicks + 1;
  }
  return "exit";
}

function total(captures: readonly Capture[]): number {
  return captures.reduce((sum, capture) => sum + capture.received, 0);
}

/** Ends the group of a program; returns shortly after `graceMs` at the latest. */
async function endGroup(child: GroupChild, graceMs: number, captures: readonly Capture[]): Promise<void> {
  const strays = new Strays(readProcesses);
  if (child.leads) await strays.find(child.pid);
  const deadline = performance.now() + graceMs;
  child.signal("SIGTERM");
  strays.terminate();
  const silent = Promise.all([child.status, ...captures.map((capture) => capture.done)]);
  let silentSince = Infinity;
  void silent.then(() => silentSince = performance.now());
  const ended = await settled(child.status, graceMs);
  // There is no event for a group that becomes empty. Without an init process that waits for orphans it never becomes
  // empty, so members that hold no pipe get less time.
  while (performance.now() < Math.min(deadline, silentSince + SILENT_GRACE_MS) && child.groupLives()) {
    await delay(GROUP_POLL_MS);
  }
  // Stopped, it starts no process in another session meanwhile.
  child.stop();
  const killed = child.leads ? strays.kill(ended === undefined ? child.pid : undefined) : Promise.resolve();
  await killed.finally(() => child.signal("SIGKILL"));
  await settled(silent, LAST_WORDS_MS);
}

async function readProcesses(): Promise<string | undefined> {
  const request = { program: "sh", args: ["-c", PROCESS_TABLE], ownGroup: false };
  return (await settled(runCommand(request), LOOK_MS))?.stdout;
}

/** The reasons of a {@linkcode HostError}. */
export type HostErrorReason =
  | "program-missing"
  | "program-failed"
  | "bad-output"
  | "exists"
  | "not-a-netns"
  | "no-answer"
  | "lock-timeout"
  | "cut-short";

/** What is known about a {@linkcode HostError} beside its message. */
export interface HostErrorOptions {
  /** @default {"program-failed"} */
  readonly reason?: HostErrorReason | undefined;
  readonly program?: string | undefined;
  readonly args?: readonly string[] | undefined;
  readonly code?: number | undefined;
  readonly signal?: string | null | undefined;
  readonly stderr?: string | undefined;
  readonly cause?: unknown | undefined;
}

/** The error if a program of this machine fails, or if something else on the machine prevents what was asked for. */
export class HostError extends Error {
  override readonly name: string = "HostError";
  readonly reason: HostErrorReason;
  readonly program: string;
  readonly args: readonly string[];
  /** The exit code of the program; -1 if none ran to its end. */
  readonly code: number;
  readonly signal: string | null;
  readonly stderr: string;

  constructor(message: string, options: HostErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.reason = options.reason ?? "program-failed";
    this.program = options.program ?? "";
    this.args = options.args ?? [];
    this.code = options.code ?? -1;
    this.signal = options.signal ?? null;
    this.stderr = options.stderr ?? "";
  }
}

/**
 * Runs a program that has to exit with code 0.
 *
 * @throws {HostError} If the program is missing, ends in another way, or prints too much.
 * @throws The reason of the signal, if that ended it.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { runCommand, runOk } from "./command.ts";
 *
 * const { stdout } = await runOk(runCommand, { program: "printf", args: ["a"] });
 * assertEquals(stdout, "a");
 * ```
 */
export async function runOk(run: RunCommand, request: CommandRequest): Promise<CommandOutcome> {
  const { program, args = [], signal } = request;
  const tried = `Cannot run "${[program, ...args].join(" ")}"`;
  const outcome = await run(request).catch((cause: unknown) => {
    if (startProblem(cause) !== "not-found") throw cause;
    const reason = "program-missing";
    throw new HostError(`${tried}: no such program on the PATH`, { reason, program, args, cause });
  });
  const { code, stderr, ended } = outcome;
  if (ended === "aborted") throw signal?.reason ?? new HostError(`${tried}: aborted`, { program, args });
  if (ended === "exit" && code === 0) return outcome;
  const how = ended !== "exit" ? ended : outcome.signal ? `ended by ${outcome.signal}` : `exit code ${code}`;
  const words = tail(stderr);
  const message = `${tried}: ${how}${words && `: ${words}`}`;
  throw new HostError(message, { program, args, code, signal: outcome.signal, stderr });
}

/** The last lines, short enough for a message. */
function tail(text: string): string {
  return text.trim().split("\n").slice(-5).join("; ").slice(-1000);
}

/** Why a program could not be started. */
export type StartProblem = "not-found" | "permission" | "not-capable" | "busy" | "not-executable";

/**
 * Returns why a program could not be started: no such file (or no such interpreter), not executable for this user, not
 * granted by Deno, open for writing, or of an unknown format. Undefined if the error is about something else.
 */
export function startProblem(error: unknown): StartProblem | undefined {
  if (!(error instanceof Error)) return undefined;
  if (error instanceof Deno.errors.NotFound) return "not-found";
  if (error instanceof Deno.errors.PermissionDenied) return "permission";
  if (error instanceof Deno.errors.NotCapable) return "not-capable";
  // Deno has neither a class nor a code for these two; the number is that of errno.
  if (error.message.includes("(os error 26)")) return "busy";
  if (error.message.includes("(os error 8)")) return "not-executable";
  return undefined;
}
