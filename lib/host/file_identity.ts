import { statOf } from "./stat.ts";

/**
 * Returns what changes when a file is replaced or written to; undefined if there is none. Requires what {@linkcode statOf}
 * requires.
 */
export async function fileIdentity(path: string): Promise<string | undefined> {
  const stat = await statOf(path);
  return stat && [stat.dev, stat.ino, stat.size, stat.mtimeMs].join(":");
}
