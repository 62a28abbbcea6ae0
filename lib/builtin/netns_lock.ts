import { lockFile } from "../host/lock.ts";
import { isPermissionDenied } from "../host/permissions.ts";
import type { PluginRequest } from "../plugin/serve.ts";

/**
 * Runs `fn` while no other call holds the lock of a namespace: the lock of its file, which the plugins of the CNI plugins
 * project hold too. A namespace below `/proc` cannot be opened with the permissions that podwire has; there the lock of
 * the runtime has to do, which makes one change of a container at a time.
 *
 * Requires `--allow-read`.
 */
export async function withNetnsLock<T>(
  { netns, signal }: Pick<PluginRequest, "netns" | "signal">,
  fn: () => Promise<T>,
): Promise<T> {
  using _lock = await lockFile(netns, { readOnly: true, signal }).catch((error: unknown) => {
    if (isPermissionDenied(error)) return undefined;
    throw error;
  });
  return await fn();
}
