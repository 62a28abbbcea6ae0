import { netnsId } from "./netns.ts";
import { realPath, statOf } from "./stat.ts";

/** By what a network namespace is known again. */
export interface NetnsIdentity {
  /** Device and inode; undefined where there is no namespace. */
  readonly id: string | undefined;
  /**
   * When its file came to be, in seconds since 1970 with their thousandths; undefined for one that is not mounted on its
   * path. Whole seconds are what older versions have on record.
   */
  readonly since?: number;
}

/**
 * What a path leads to now. The kernel gives the number of a namespace that is gone to the next one, within a second if
 * it can, so the moment is taken with it in which the file came to be: it stays as long as something is mounted on the
 * path, or on that which a symbolic link leads to, but not under /proc. It is the moment of the last writing, as Deno
 * tells the others to the second only; a namespace is never written.
 *
 * Requires `--allow-read`.
 */
export async function identityOf(path: string): Promise<NetnsIdentity> {
  const id = await netnsId(path);
  if (id === undefined || path.startsWith("/proc/")) return { id };
  const real = await realPath(path).catch(() => undefined);
  // A link to /proc/PID/ns/net is followed by the kernel alone: it ends at no path.
  if (real === undefined) return { id: await netnsId(path) };
  if (real.startsWith("/proc/")) return { id };
  const there = await statOf(real);
  return there === undefined ? { id: undefined } : { id, since: there.mtimeMs / 1000 };
}

type Loose = { readonly [K in keyof NetnsIdentity]: NetnsIdentity[K] | undefined };

/** Whether a path that had the first identity and has the second one leads to the same namespace. */
export function isSameIdentity(known: Loose, now: NetnsIdentity): boolean {
  if (known.id === undefined || known.id !== now.id) return false;
  if (known.since === undefined || now.since === undefined) return true;
  return known.since === (Number.isInteger(known.since) ? Math.floor(now.since) : now.since);
}
