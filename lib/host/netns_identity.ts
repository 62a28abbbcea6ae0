import { netnsId } from "./netns.ts";
import { linkTarget, statOf } from "./stat.ts";

/** By what a network namespace is known again. */
export interface NetnsIdentity {
  /** Device and inode; undefined where there is no namespace. */
  readonly id: string | undefined;
  /** When its file came to be, in seconds since 1970; undefined for one that is not mounted on its path. */
  readonly since?: number;
}

/**
 * What a path leads to now. The kernel gives the number of a namespace that is gone to the next one, so the moment is
 * taken with it in which the file came to be: it stays as long as something is mounted on the path, but not under /proc
 * nor behind a symbolic link, which may lead there.
 *
 * Requires `--allow-read`.
 */
export async function identityOf(path: string): Promise<NetnsIdentity> {
  const id = await netnsId(path);
  if (id === undefined || path.startsWith("/proc/")) return { id };
  const [link, there] = await Promise.all([linkTarget(path), statOf(path)]);
  if (there === undefined) return { id: undefined };
  return link === undefined ? { id, since: secondsOf(there.ctimeMs) } : { id };
}

type Loose = { readonly [K in keyof NetnsIdentity]: NetnsIdentity[K] | undefined };

/** Whether a path that had the first identity and has the second one leads to the same namespace. */
export function isSameIdentity(known: Loose, now: NetnsIdentity): boolean {
  if (known.id === undefined || known.id !== now.id) return false;
  return known.since === undefined || now.since === undefined || known.since === now.since;
}

/** Finer times are not told everywhere. */
function secondsOf(ms: number): number {
  return Math.floor(ms / 1000);
}
