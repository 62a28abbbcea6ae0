import { netnsId, netnsNow } from "./netns_path.ts";
import { realPath, statOf } from "./stat.ts";

/** The facts by which a network namespace is recognized. */
export interface NetnsIdentity {
  /** Device and inode; undefined if there is no namespace. */
  readonly id: string | undefined;
  /**
   * When its file was created, in seconds since 1970 with milliseconds; undefined for a namespace that is not mounted on its
   * path. Records of older versions have whole seconds.
   */
  readonly since?: number;
}

/**
 * Returns the identity of the namespace that a path leads to now. The kernel gives the number of a removed namespace to the
 * next one, often within a second. So the identity includes the time when the file was created, which stays the same while
 * something is mounted on the path, or on the target of a symbolic link, but not under /proc. The time is that of the last
 * write, because Deno shows the other times in whole seconds only; a namespace is never written.
 *
 * Requires `--allow-read`.
 */
export async function identityOf(path: string): Promise<NetnsIdentity> {
  const now = identityNow(path);
  if (now !== undefined) return now;
  const id = await netnsId(path);
  if (id === undefined || path.startsWith("/proc/")) return { id };
  const real = await realPath(path).catch(() => undefined);
  // Only the kernel can follow a link to /proc/PID/ns/net: it does not lead to a path.
  if (real === undefined) return { id: await netnsId(path) };
  if (real.startsWith("/proc/")) return { id };
  const there = await statOf(real);
  return there === undefined ? { id: undefined } : { id, since: there.mtimeMs / 1000 };
}

/** Same in the same turn of the event loop; undefined if only {@linkcode identityOf} can find out. Requires `--allow-read`. */
export function identityNow(path: string): NetnsIdentity | undefined {
  const now = netnsNow(path);
  if (now === undefined) return undefined;
  const { id, mtimeMs } = now;
  return mtimeMs === undefined || path.startsWith("/proc/") ? { id } : { id, since: mtimeMs / 1000 };
}

type Loose = { readonly [K in keyof NetnsIdentity]: NetnsIdentity[K] | undefined };

/** Whether a path that had the first identity and now has the second one leads to the same namespace. */
export function isSameIdentity(known: Loose, now: NetnsIdentity): boolean {
  if (known.id === undefined || known.id !== now.id) return false;
  if (known.since === undefined || now.since === undefined) return true;
  return known.since === (Number.isInteger(known.since) ? Math.floor(now.since) : now.since);
}
