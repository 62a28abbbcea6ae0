import {
  bitsOf,
  type Cidr,
  compareIp,
  contains,
  formatCidr,
  formatIp,
  type Ip,
  networkOf,
} from "../cni/address.ts";
import type { IpConfig, Result, Route } from "../cni/result.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink } from "../kernel/links.ts";
import type { RouteInfo, RuleInfo } from "../kernel/operation.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import { needCidr, needIp } from "./container_plan.ts";
import { checkRoutes, wrong } from "./link_check.ts";
import { requirePrevResult } from "./prev_result.ts";
import { requireNetns } from "./require_netns.ts";
import type { SbrConfig } from "./sbr_config.ts";
import { FIRST_TABLE, sourcesOf } from "./sbr_plan.ts";
import { showRouting } from "./shown_routing.ts";

/**
 * Checks that each address of the interface has its rule, that the table to which it leads has the routes of the result that
 * go through its network, and that the main one has the routes for packets without a source.
 *
 * @throws {CniError} Naming the first difference.
 */
export async function checkSbr(request: PluginRequest, config: SbrConfig): Promise<void> {
  const result = requirePrevResult(request);
  const { netns, ifName, run, signal } = request;
  await requireNetns(netns);
  if (await findLink(kernelFor(run), ifName, { netns, signal }) === undefined) {
    throw wrong(`interface "${ifName}" is not in "${netns}" any more`);
  }
  const { rules, routes } = await showRouting(request);
  const own = routes.filter(({ hops }) => hops.some(({ device }) => device === ifName));
  for (const source of sourcesOf(result, ifName)) {
    const address = needCidr(source.address);
    const tables = rules.filter((rule) => isRuleFor(rule, address, config)).map(({ table }) => table);
    if (tables.length === 0) {
      throw wrong(`the rule for packets from ${formatIp(address.ip)} is not there any more`);
    }
    if (config.table !== undefined) continue;
    const [table] = tables;
    checkRoutes(routesFor(source, address, result, config), own.filter((route) => route.table === table));
    if (config.addSourceHints) checkHint(address, own);
  }
}

function isRuleFor({ isBySource, source, table = 0 }: RuleInfo, { ip }: Cidr, config: SbrConfig): boolean {
  if (!isBySource || source?.ip.family !== ip.family) return false;
  const isOfTable = config.table === undefined ? table >= FIRST_TABLE : table === config.table;
  return isOfTable && source.prefix === bitsOf(ip) && compareIp(source.ip, ip) === 0;
}

/** The routes that a table must have, as far as the result says: those of the main table were copied too. */
function routesFor(
  { gateway }: IpConfig,
  address: Cidr,
  { ips = [], routes = [] }: Result,
  { gateways }: SbrConfig,
): readonly Route[] {
  const { family } = address.ip;
  const ofFamily = (ip: Ip) => ip.family === family;
  const fixed = gateways.find(ofFamily);
  const all = family === 4 ? "0.0.0.0/0" : "::/0";
  const gatewayOfAll = ips.flatMap((ip) => ip.gateway === undefined ? [] : [needIp(ip.gateway)]).find(
    ofFamily,
  );
  const copied = routes.flatMap(({ dst, gw, table }): Route[] => {
    const network = needCidr(dst);
    const next = gw === undefined ? gatewayOfAll : needIp(gw);
    const isOfMain = (table ?? 0) === 0;
    if (network.ip.family !== family || next === undefined || !isOfMain || !contains(address, next)) {
      return [];
    }
    return [{ dst, gw: formatIp(next) }];
  });
  const defaults = copied.filter(({ dst }) => needCidr(dst).prefix === 0);
  const others = copied.filter(({ dst }) => needCidr(dst).prefix > 0);
  if (fixed !== undefined) return [{ dst: all, gw: formatIp(fixed) }, ...others];
  if (defaults.length > 0 || gateway === undefined) return copied;
  return [{ dst: all, gw: formatIp(needIp(gateway)) }, ...others];
}

function checkHint(address: Cidr, routes: readonly RouteInfo[]): void {
  const network = formatCidr(networkOf(address));
  const isThere = routes.some(({ isMain, dst, source }) =>
    isMain && dst?.ip.family === address.ip.family && formatCidr(dst) === network &&
    source !== undefined && compareIp(source, address.ip) === 0
  );
  if (!isThere) {
    throw wrong(`the main table has no route to ${network} from ${formatIp(address.ip)} any more`);
  }
}
