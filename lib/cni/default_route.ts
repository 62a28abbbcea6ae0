import { formatIp, parseCidr, parseIp } from "./address.ts";
import { isArray, isObject, type Json, type JsonObject } from "./json.ts";
import { asResult, type Result } from "./result.ts";

/** Both families of addresses. */
export const FAMILIES = [4, 6] as const;

/** 4 or 6. */
export type Family = typeof FAMILIES[number];

/** The destination of the default route of each family. */
export const EVERYTHING: Readonly<Record<Family, string>> = { 4: "0.0.0.0/0", 6: "::/0" };

/** The routing table that is used unless a rule selects another one. */
const MAIN_TABLE = 254;

/** A default route in a result. */
export interface DefaultRoute {
  readonly family: Family;
  /** In canonical form; undefined for a route to the link itself. */
  readonly gateway: string | undefined;
}

/** The default routes in a result, without those of tables that only rules select. */
export function defaultRoutesOf(json: JsonObject): readonly DefaultRoute[] {
  return defaultRoutesIn(asResult(json));
}

/** The default routes in a result of the newest version. */
export function defaultRoutesIn(result: Result): readonly DefaultRoute[] {
  const { routes = [] } = result;
  return routes.flatMap(({ dst, gw, table }) => {
    const family = defaultFamily(dst, table);
    if (family === undefined) return [];
    // As plugins read it: a route without a next hop goes through the first gateway of its family.
    return [{ family, gateway: normal(gw) ?? gatewayIn(result, family) }];
  });
}

/** The first gateway that a result has for a family. */
export function gatewayOf(json: JsonObject, family: Family): string | undefined {
  return gatewayIn(asResult(json), family);
}

function gatewayIn({ ips = [] }: Result, family: Family): string | undefined {
  const own = ips.find(({ address, gateway }) =>
    gateway !== undefined && parseCidr(address)?.ip.family === family
  );
  return normal(own?.gateway);
}

/** Returns the result with that default route only, for its family; without a gateway, with none. */
export function withDefaultRoute(json: JsonObject, family: Family, gateway?: string): JsonObject {
  const added = gateway === undefined ? [] : [{ dst: EVERYTHING[family], gw: gateway }];
  // Versions before 0.3.0 keep routes beside the address of their family.
  if (!isObject(json.ip4) && !isObject(json.ip6)) return withRoutes(json, family, added);
  const member = family === 4 ? "ip4" : "ip6";
  const own = json[member];
  return isObject(own) ? { ...json, [member]: withRoutes(own, family, added) } : json;
}

function withRoutes(json: JsonObject, family: Family, added: readonly JsonObject[]): JsonObject {
  const { routes, ...rest } = json;
  const kept = isArray(routes) ? routes.filter((route: Json) => !isDefault(route, family)) : [];
  const all = [...kept, ...added];
  return all.length === 0 ? rest : { ...rest, routes: all };
}

function isDefault(route: Json, family: Family): boolean {
  if (!isObject(route) || typeof route.dst !== "string") return false;
  return defaultFamily(route.dst, typeof route.table === "number" ? route.table : undefined) === family;
}

function defaultFamily(dst: string, table = MAIN_TABLE): Family | undefined {
  const cidr = parseCidr(dst);
  const isMain = table === MAIN_TABLE || table === 0;
  return cidr?.prefix === 0 && isMain ? cidr.ip.family : undefined;
}

function normal(text: string | undefined): string | undefined {
  const ip = text === undefined ? undefined : parseIp(text);
  return ip === undefined ? undefined : formatIp(ip);
}
