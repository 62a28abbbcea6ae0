import { mayRun, type ProgramStart } from "./inherited.ts";
import { DEFAULT_PATH, findProgram } from "./search_path.ts";

/** The name of `setsid` in its message that it could not become the program. */
const NAME = "setsid";

/** Searched once. */
let found: { readonly path: string | undefined } | undefined;

/**
 * Returns the command that starts a program in its own session: `setsid`, which becomes the program, so that the process ID
 * stays the same. Deno would first copy its whole process, which takes 2 to 20 ms depending on its size, and several times
 * as long on a busy machine; `setsid` takes 1.5 ms. Undefined if there is no `setsid`, if it or the program may not be run,
 * or if the program is missing: then Deno itself gives the best error.
 *
 * Requires `--allow-run` and `--allow-read`; if they are granted for single programs or directories, `setsid` must be one.
 */
export function inOwnSession({ program, args, env }: ProgramStart): ProgramStart | undefined {
  found ??= { path: findProgram(NAME, DEFAULT_PATH) };
  if (found.path === undefined || !mayRun(found.path) || !mayRun(program)) return undefined;
  const path = findProgram(program, env?.PATH ?? DEFAULT_PATH);
  return path === undefined ? undefined : { program: found.path, args: [path, ...args] };
}

/** Returns the message of `setsid` if it could not become the program; undefined if it did. */
export function setsidMessage(program: string, code: number, stderr: string): string | undefined {
  if (code !== 126 && code !== 127) return undefined;
  const line = stderr.trimEnd();
  return line.startsWith(`${NAME}: `) && !line.includes("\n") && line.includes(program) ? line : undefined;
}
