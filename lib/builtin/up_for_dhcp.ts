import { delay } from "../async/wait.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink } from "../kernel/links.ts";
import type { PluginRequest } from "../plugin/serve.ts";

const POLL_MS = 20;
/** An interface whose cable is not plugged in never gets there; then the daemon tries for as long as it wants. */
const LIMIT_MS = 2_000;

/**
 * Brings the interface of a container up, and waits until frames pass. The DHCP daemon would bring it up itself and send its
 * first question at once, which is lost; it asks again after ten seconds.
 */
export async function bringUpForDhcp({ run, netns, ifName, signal }: PluginRequest): Promise<void> {
  const kernel = kernelFor(run);
  await kernel.apply([{ kind: "set-link", name: ifName, up: true }], { netns, signal });
  const end = performance.now() + LIMIT_MS;
  while (performance.now() < end) {
    const link = await findLink(kernel, ifName, { netns, signal });
    if (link?.operState !== "DOWN" && link?.operState !== "LOWERLAYERDOWN") return;
    await delay(POLL_MS, signal);
  }
}
