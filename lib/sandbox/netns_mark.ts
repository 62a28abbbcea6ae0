import type { RunCommand } from "../host/command.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink } from "../kernel/links.ts";

const PREFIX = "podwire:";

/**
 * Returns the alias of `lo` in a namespace that this installation of podwire creates. Several installations may share the
 * directory of namespaces, and none knows the sandboxes of the others.
 */
export async function netnsMark(stateDir: string): Promise<string> {
  const path = new TextEncoder().encode(stateDir.replace(/\/+$/, ""));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", path));
  return `${PREFIX}${digest.slice(0, 8).toHex()}`;
}

/**
 * Whether a namespace has the mark of an installation with another state directory. Namespaces of older versions have no
 * mark.
 *
 * Requires root, and `--allow-run=ip,nsenter` or the whole `--allow-ffi`.
 */
export async function isOfOther(netns: string, stateDir: string, run: RunCommand): Promise<boolean> {
  const lo = await findLink(kernelFor(run), "lo", { netns });
  const alias = lo?.alias ?? "";
  return alias.startsWith(PREFIX) && alias !== await netnsMark(stateDir);
}
