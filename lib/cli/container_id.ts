import { basename, dirname } from "@std/path";
import { realPath } from "../host/file.ts";

/** The ID that cnitool gives a namespace: a digest of its path. */
export async function containerIdOf(netns: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-512", new TextEncoder().encode(netns));
  return `cnitool-${new Uint8Array(digest).slice(0, 10).toHex()}`;
}

/**
 * The ID under which a namespace is attached already, else that of the path as it is written. `/var/run/netns/x` and
 * `/run/netns/x` are one namespace: what was attached by one of them is checked and detached by the other too, and not
 * attached twice.
 */
export async function knownContainerId(
  netns: string,
  isAttached: (containerId: string) => Promise<boolean>,
): Promise<string> {
  const own = await containerIdOf(netns);
  for (const path of await spellingsOf(netns)) {
    const containerId = await containerIdOf(path);
    if (await isAttached(containerId)) return containerId;
  }
  return own;
}

/** The path itself first; those that need no namespace there any more among the others. */
async function spellingsOf(netns: string): Promise<Iterable<string>> {
  const dir = await resolved(dirname(netns));
  const canonical = `${dir}/${basename(netns)}`;
  const spellings = [netns, canonical, await resolved(netns)];
  if (await resolved(`/var${dir}`) === dir) spellings.push(`/var${canonical}`);
  return new Set(spellings);
}

/** Without links as far as that can be told. */
async function resolved(path: string): Promise<string> {
  return await realPath(path).catch(() => path);
}
