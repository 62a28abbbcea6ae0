import { readKernelFiles } from "./kernel_file.ts";
import type { RunCommand } from "./command.ts";

/** The fields of a line: the root of the mount is the fourth one, its place the fifth one, see proc_pid_mountinfo(5). */
const LINE = /^\d+ \d+ \d+:\d+ (?<root>net:\[\d+\]) (?<path>\S+) /;

/**
 * Returns the paths of the network namespaces that have a name in the file system, one path for each namespace.
 *
 * Requires `--allow-run=cat`, or the whole `--allow-ffi`.
 */
export async function mountedNamespaces(
  options: { readonly run?: RunCommand | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<readonly string[]> {
  return namespacesIn(await readKernelFiles(["/proc/self/mountinfo"], options));
}

/** The same, from the text of `/proc/self/mountinfo`. */
export function namespacesIn(text: string): readonly string[] {
  const paths = new Map<string, string>();
  for (const line of text.split("\n")) {
    const { root, path } = LINE.exec(line)?.groups ?? {};
    // What is mounted later on the same path hides what was there; no other path leads to that then.
    if (root !== undefined && path !== undefined) paths.set(root, unescaped(path));
  }
  return [...paths.values()];
}

/** Blanks and backslashes are written as three octal digits. */
function unescaped(path: string): string {
  return path.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}
