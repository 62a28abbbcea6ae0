/** Where programs are looked for when the caller names no `PATH`. */
export const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/**
 * A `PATH` with the directories of {@linkcode DEFAULT_PATH} that it lacks at its end: that of a user names no sbin, where
 * `ip`, `nft` and `iptables` are. An empty one counts as none.
 */
export function withSystemDirs(path: string | undefined): string {
  if (path === undefined || path === "") return DEFAULT_PATH;
  const given = path.split(":");
  return [...given, ...DEFAULT_PATH.split(":").filter((dir) => !given.includes(dir))].join(":");
}

/**
 * The program that a `PATH` leads to, as execvp(3) looks: the first file of that name that may be executed. A name with a
 * slash is a path by itself. Undefined where there is none. Requires `--allow-read`; without, there is none.
 */
export function findProgram(program: string, path: string): string | undefined {
  if (program.includes("/")) return isExecutable(program) ? program : undefined;
  return path.split(":").map((dir) => `${dir === "" ? "." : dir}/${program}`).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    const { isFile, mode } = Deno.statSync(path);
    return isFile && ((mode ?? 0) & 0o111) !== 0;
  } catch {
    return false;
  }
}
