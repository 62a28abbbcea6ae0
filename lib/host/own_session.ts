import { DEFAULT_PATH, findProgram } from "./search_path.ts";
import { mayRun, type ProgramStart } from "./inherited.ts";

/** How it calls itself in the message that it could not become the program. */
const NAME = "setsid";

/** Looked for once. */
let found: { readonly path: string | undefined } | undefined;

/**
 * What starts a program in a session of its own: `setsid`, which becomes the program, so that the process ID stays the
 * same. Deno's own way is to copy its whole process first, which takes 2 to 20 ms by its size, and several times that on a
 * busy machine; this takes one and a half. Undefined where there is no `setsid`, where it or the program may not be run,
 * and where the program is not there: then Deno itself says best what is wrong.
 *
 * Requires `--allow-run` and `--allow-read`; where they are granted for single programs or folders, those of `setsid` too.
 */
export function inOwnSession({ program, args, env }: ProgramStart): ProgramStart | undefined {
  found ??= { path: findProgram(NAME, DEFAULT_PATH) };
  if (found.path === undefined || !mayRun(found.path) || !mayRun(program)) return undefined;
  const path = findProgram(program, env?.PATH ?? DEFAULT_PATH);
  return path === undefined ? undefined : { program: found.path, args: [path, ...args] };
}

/** What `setsid` said in place of the program that it was to become; undefined if it became it. */
export function wordsOfFailure(program: string, code: number, stderr: string): string | undefined {
  if (code !== 126 && code !== 127) return undefined;
  const line = stderr.trimEnd();
  return line.startsWith(`${NAME}: `) && !line.includes("\n") && line.includes(program) ? line : undefined;
}
