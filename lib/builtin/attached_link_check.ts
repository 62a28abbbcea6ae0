import type { PluginRequest } from "../plugin/serve.ts";
import type { LinkConfig } from "./link_config.ts";
import { checkAddresses, checkLink, checkRoutes, expected, showNetns, wrong } from "./link_check.ts";
import { requireMaster } from "./master_link.ts";
import { hostOf } from "./pair_attachment.ts";

/** What a CHECK expects of an interface beside what the result of its ADD says. */
export interface ExpectedLink {
  readonly kind: string;
  /** @default {any} */
  readonly mode?: string | undefined;
  /** @default {any} */
  readonly vlanId?: number | undefined;
  /** @default {any} */
  readonly mtu?: number | undefined;
  /** Which it is on. @default {any, or none} */
  readonly on?: Pick<LinkConfig, "master" | "isInside"> | undefined;
}

/**
 * Checks that the interface of an earlier ADD is there as it was made, on its master, with the addresses and routes of its
 * result.
 *
 * @throws {CniError} Naming the first difference.
 */
export async function checkAttachedLink(
  request: PluginRequest,
  { kind, mode, vlanId, mtu, on }: ExpectedLink,
  name: string = request.ifName,
): Promise<void> {
  const { result, container } = await expected(request, name);
  const { link, routes } = await showNetns(hostOf(request), request.netns, name);
  checkLink(container, link, kind);
  if (mode !== undefined && link.mode !== mode) {
    throw wrong(`interface "${name}" has the mode ${link.mode}, not ${mode}`);
  }
  if (vlanId !== undefined && link.vlanId !== vlanId) {
    throw wrong(`interface "${name}" has the VLAN ID ${link.vlanId}, not ${vlanId}`);
  }
  // A plugin after this one may have changed it, and says so in the result.
  const wanted = container.mtu ?? mtu;
  if (wanted !== undefined && link.mtu !== wanted) {
    throw wrong(`interface "${name}" has the MTU ${link.mtu}, not ${wanted}`);
  }
  // Without a name in the configuration, another interface may have the default route by now.
  if (on !== undefined && on.master !== "") {
    const master = await requireMaster(request, { ...on, mtu: undefined });
    const isOn = on.isInside ? link.parent === master.name : link.peerIndex === master.index;
    if (!isOn) throw wrong(`interface "${name}" is not on "${on.master}"`);
  }
  // Other plugins of the chain may have added addresses and routes to other interfaces.
  const ips = (result.ips ?? []).filter(({ interface: index }) =>
    index === undefined || result.interfaces?.[index] === container
  );
  checkAddresses({ ...result, ips }, link, name);
  checkRoutes(result.routes ?? [], routes);
}
