/** The directories that are searched for programs if the caller gives no `PATH`. */
export const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/**
 * Appends the missing directories of {@linkcode DEFAULT_PATH} to a `PATH`: that of a user does not contain the sbin
 * directories, where `ip`, `nft` and `iptables` are. An empty `PATH` counts as none.
 */
export function withSystemDirs(path: string | undefined): string {
  if (path === undefined || path === "") return DEFAULT_PATH;
  const given = path.split(":");
  return [...given, ...DEFAULT_PATH.split(":").filter((dir) => !given.includes(dir))].join(":");
}

/**
 * Searches a `PATH` as execvp(3) does, and returns the first executable file with that name. A name with a slash is a path
 * by itself. Undefined if there is none. Requires `--allow-read`; without it, nothing is found.
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
