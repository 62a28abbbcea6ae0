import { basename, dirname } from "@std/path";
import { realPath } from "../host/file.ts";

/** Returns the ID that cnitool gives a namespace: a digest of its path. */
async function containerIdOf(netns: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-512", new TextEncoder().encode(netns));
  return `cnitool-${new Uint8Array(digest).slice(0, 10).toHex()}`;
}

/**
 * Returns the ID under which a namespace is attached already, else the ID of the path as it is written.
 * `/var/run/netns/x` and `/run/netns/x` are the same namespace: what was attached with one path can be checked and
 * detached with the other, and is not attached twice.
 */
export async function knownContainerId(
  netns: string,
  isAttached: (containerId: string) => Promise<boolean>,
): Promise<string> {
  // All at once, because each of them takes a thread.
  const own = containerIdOf(netns);
  const ids = await Promise.all([own, ...(await otherSpellings(netns)).map((path) => containerIdOf(path))]);
  for (const containerId of ids) {
    if (await isAttached(containerId)) return containerId;
  }
  return await own;
}

/** Returns the other spellings of a path. Some of them are found also if the namespace is gone. */
async function otherSpellings(netns: string): Promise<string[]> {
  const [dir, real] = await Promise.all([resolved(dirname(netns)), resolved(netns)]);
  const canonical = `${dir}/${basename(netns)}`;
  const spellings = [canonical, real];
  if (await resolved(`/var${dir}`) === dir) spellings.push(`/var${canonical}`);
  return [...new Set(spellings)].filter((path) => path !== netns);
}

/** Returns the path without links; the path itself if it cannot be resolved. */
async function resolved(path: string): Promise<string> {
  return await realPath(path).catch(() => path);
}
