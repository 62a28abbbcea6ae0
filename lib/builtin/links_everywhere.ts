import { inParallel } from "../async/parallel.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { mountedNamespaces } from "../host/mounted_netns.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { KernelError } from "../kernel/kernel.ts";
import type { Host } from "./host.ts";

/** An interface, and where it is. */
export interface PlacedLink {
  readonly link: LinkInfo;
  /** The path of its namespace; undefined for that of this process. */
  readonly netns: string | undefined;
}

const AT_ONCE = 4;

/**
 * Returns the interfaces that `select` wants, in the namespace of this process and in all namespaces with a name in the file
 * system: an interface on a master is in the namespace of its container, and nothing on the host leads to it.
 */
export async function linksEverywhere(
  { run, signal }: Host,
  select: (link: LinkInfo) => boolean,
): Promise<readonly PlacedLink[]> {
  const kernel = kernelFor(run);
  const places = [undefined, ...await mountedNamespaces({ run, signal })];
  const found = await inParallel(places, AT_ONCE, async (netns) => {
    try {
      const [links] = await kernel.apply([{ kind: "show-links" }], { netns, signal });
      return links.filter(select).map((link) => ({ link, netns }));
    } catch (error) {
      // A namespace may disappear meanwhile, and its interfaces with it.
      if (netns !== undefined && error instanceof KernelError) return [];
      throw error;
    }
  }, signal);
  return found.flat();
}
