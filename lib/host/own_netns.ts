import { netnsId } from "./netns_path.ts";

let own: Promise<string | undefined> | undefined;

/** Returns a path of the network namespace of this process, for other programs too. */
export function ownNetnsPath(): string {
  return `/proc/${Deno.pid}/ns/net`;
}

/**
 * Returns the identity (see `netnsId`) of the network namespace of this process. It is read once: code of this
 * process that enters another namespace returns before anything else runs.
 *
 * Requires `--allow-read`, and from Deno 2.8.3 on the permission that `statOf` needs for files below `/proc`.
 */
export function ownNetnsId(): Promise<string | undefined> {
  if (own !== undefined) return own;
  const found = netnsId("/proc/self/ns/net");
  own = found;
  // A later call may have the permission that this one lacked.
  found.then((id) => own = id === undefined ? undefined : own, () => own = undefined);
  return found;
}
