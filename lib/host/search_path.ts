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
