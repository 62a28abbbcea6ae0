// What the files here have in common: the folder of the project, and programs that must succeed.
import { fromFileUrl } from "@std/path";

/** The folder of the project, with a slash at its end. */
export const ROOT = fromFileUrl(new URL("..", import.meta.url));

/** Runs denow in the folder of the project. */
export function denow(args: string[], env: Record<string, string> = {}): Promise<void> {
  return run(`${ROOT}denow`, args, { cwd: ROOT, env });
}

/** Runs a program; throws if it does not succeed. */
export async function run(
  program: string,
  args: string[],
  options: { cwd: string; env: Record<string, string> } = { cwd: ROOT, env: {} },
): Promise<void> {
  // Nothing but errors may reach readers of standard output: npm prints the archive's name there.
  const child = new Deno.Command(program, { args, ...options, stdin: "null", stdout: "null" }).spawn();
  const { code } = await child.status;
  if (code !== 0) throw new Error(`Cannot compile: ${program} ${args[0]} exited with ${code}`);
}

/** Whether a file is there. */
export async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
