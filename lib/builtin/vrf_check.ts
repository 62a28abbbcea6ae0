import { parseIp } from "../cni/address.ts";
import type { Result, Route } from "../cni/result.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import { needCidr } from "./container_plan.ts";
import { checkAddresses, checkRoutes, wrong } from "./link_check.ts";
import { requirePrevResult } from "./prev_result.ts";
import { requireNetns } from "./require_netns.ts";
import { ownIps } from "./sbr_plan.ts";
import { showRouting } from "./shown_routing.ts";
import type { VrfConfig } from "./vrf_config.ts";

/**
 * Checks that the interface is a port of the VRF, that this is up and has the table of the configuration, and that the
 * addresses and the routes through gateways of the result are there, the routes in the table of the VRF.
 *
 * @throws {CniError} Naming the first difference.
 */
export async function checkVrf(request: PluginRequest, { name, table }: VrfConfig): Promise<void> {
  const result = requirePrevResult(request);
  const { netns, ifName, run, signal } = request;
  await requireNetns(netns);
  const [links] = await kernelFor(run).apply([{ kind: "show-links", addresses: true }], { netns, signal });
  const vrf = links.find((link) => link.name === name && link.kind === "vrf");
  if (vrf === undefined) throw wrong(`the VRF "${name}" is not in "${netns}" any more`);
  if (!vrf.isUp) throw wrong(`the VRF "${name}" is down`);
  if (table !== undefined && vrf.vrfTable !== table) {
    throw wrong(`the VRF "${name}" has the routing table ${vrf.vrfTable}, not ${table}`);
  }
  const port = links.find((link) => link.name === ifName);
  if (port === undefined) throw wrong(`interface "${ifName}" is not in "${netns}" any more`);
  if (port.master !== name) throw wrong(`interface "${ifName}" is not a port of the VRF "${name}"`);
  checkAddresses({ ...result, ips: ownIps(result, ifName) }, port, ifName);
  const { routes } = await showRouting(request);
  const own = routes.filter((route) => route.table === vrf.vrfTable);
  checkRoutes(throughGateways(result), own);
}

/** The others may be lost after an ADD of the original. */
function throughGateways({ ips = [], routes = [] }: Result): readonly Route[] {
  const gateways = ips.flatMap(({ gateway }) => gateway ?? []);
  return routes.flatMap((route): Route[] => {
    const { family } = needCidr(route.dst).ip;
    const gw = route.gw ?? gateways.find((text) => parseIp(text)?.family === family);
    return gw === undefined || (route.table ?? 0) !== 0 ? [] : [{ dst: route.dst, gw }];
  });
}
