import { CniError, ERROR_CODES } from "../cni/error.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import type { Kernel, KernelOptions } from "../kernel/kernel.ts";
import { findLink } from "../kernel/links.ts";
import { preferredRoute } from "../kernel/preferred_route.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import type { LinkConfig } from "./link_config.ts";

/** The interface that others are on. */
export interface MasterLink {
  readonly name: string;
  /** In its namespace. */
  readonly index: number;
}

/**
 * Returns the master that a configuration names, or the interface of the default route.
 *
 * @throws {CniError} With the code 7, if there is none, or if it is too small for the MTU.
 */
export async function requireMaster(
  request: PluginRequest,
  { master, isInside, mtu = 0 }: Pick<LinkConfig, "master" | "isInside" | "mtu">,
): Promise<MasterLink> {
  const { run, signal } = request;
  const kernel = kernelFor(run);
  const netns = isInside ? request.netns : undefined;
  const refused = (why: string) => {
    const msg = `Cannot use ${request.config.type}: ${why}`;
    return new CniError("config", msg, { code: ERROR_CODES.invalidNetworkConfig });
  };
  const where = isInside ? ` in "${request.netns}"` : "";
  const name = master || await defaultLink(kernel, { netns, signal });
  if (name === undefined) {
    throw refused(
      `the configuration names no master, and there is no default route${where} that leads to one`,
    );
  }
  const link = await findLink(kernel, name, { netns, signal });
  if (link === undefined) throw refused(`the master "${name}" does not exist${where}`);
  if (mtu > link.mtu) {
    throw refused(`the MTU of ${mtu} is above that of the master "${name}", which is ${link.mtu}`);
  }
  return { name: link.name, index: link.index };
}

/** Returns the interface of the default route that the kernel prefers; that of IPv4 if both families have equal ones. */
async function defaultLink(kernel: Kernel, options: KernelOptions): Promise<string | undefined> {
  const [v4, v6] = await kernel.apply([
    { kind: "show-routes", family: 4, defaults: true },
    { kind: "show-routes", family: 6, defaults: true },
  ], options);
  return preferredRoute([...v4, ...v6])?.hops[0]?.device;
}
