import { statOf } from "../host/file.ts";
import { netnsId } from "../host/netns.ts";
import type { SandboxNetns } from "./record.ts";

/** By what a namespace is known again. */
export type NetnsIdentity = Pick<SandboxNetns, "id" | "since">;

/**
 * What a path leads to now. The kernel gives the number of a namespace that is gone to the next one, so the moment is
 * taken with it in which the file came to be: it stays as long as something is mounted on the path, but not under /proc.
 */
export async function identityOf(path: string): Promise<NetnsIdentity> {
  const isInProc = path.startsWith("/proc/");
  const [id, there] = await Promise.all([netnsId(path), isInProc ? undefined : statOf(path)]);
  if (id === undefined || isInProc) return { id };
  return there === undefined ? { id: undefined } : { id, since: secondsOf(there.ctimeMs) };
}

/** Whether a path leads to the namespace that is on record. */
export async function isUnchanged(
  { path, ...known }: Pick<SandboxNetns, "path" | "id" | "since">,
): Promise<boolean> {
  return isSame(known, await identityOf(path));
}

function isSame(known: NetnsIdentity, now: NetnsIdentity): boolean {
  if (known.id === undefined || known.id !== now.id) return false;
  return known.since === undefined || now.since === undefined || known.since === now.since;
}

/** Finer times are not told everywhere. */
function secondsOf(ms: number): number {
  return Math.floor(ms / 1000);
}
