import { netnsId } from "./netns.ts";

let own: Promise<string | undefined> | undefined;

/**
 * The identity of the network namespace that this process is in, as `netnsId` gives those of paths. It is found once: no
 * code of this process enters another namespace, only programs that it starts do.
 *
 * Requires `--allow-read`, and from Deno 2.8.3 on what `statOf` needs for files below `/proc`.
 */
export function ownNetnsId(): Promise<string | undefined> {
  if (own !== undefined) return own;
  const found = netnsId("/proc/self/ns/net");
  own = found;
  // Another call may have the permission that this one lacked.
  found.then((id) => own = id === undefined ? undefined : own, () => own = undefined);
  return found;
}
