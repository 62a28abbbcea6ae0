import type { JsonObject } from "./json.ts";
import { resultError, type ResultFamily } from "./result_shape.ts";
import type { SpecVersion } from "./version.ts";

/** A route, the same in every version; only `dst` and `gw` are in the specifications before 1.1.0. */
export type Route = {
  readonly dst: string;
  readonly gw?: string;
  readonly mtu?: number;
  readonly advmss?: number;
  readonly priority?: number;
  readonly table?: number;
  readonly scope?: number;
};

/** DNS settings of an attachment, the same in every version. */
export type Dns = {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
};

/** An interface that an attachment created, in the container or on the host. */
export type Interface = {
  readonly name: string;
  readonly mac?: string;
  readonly mtu?: number;
  /** The path of the network namespace; absent on the host. */
  readonly sandbox?: string;
  readonly socketPath?: string;
  readonly pciID?: string;
};

/** An address that an attachment has. */
export type IpConfig = {
  /** With prefix length, as `10.1.2.3/24`. */
  readonly address: string;
  readonly gateway?: string;
  /** Index into the interfaces of the result. It is checked in the answer of a plugin only, not in stored results. */
  readonly interface?: number;
};

/**
 * Result of an attachment, as in CNI 1.1.0.
 *
 * Source: CNI specification, section 5 "ADD Success".
 */
export type Result = {
  readonly cniVersion: SpecVersion;
  readonly interfaces?: readonly Interface[];
  readonly ips?: readonly IpConfig[];
  readonly routes?: readonly Route[];
  readonly dns?: Dns;
};

type Result1 = Omit<Result, "cniVersion">;

type Result04 = {
  readonly interfaces?: readonly {
    readonly name: string;
    readonly mac?: string;
    readonly sandbox?: string;
  }[];
  readonly ips?: readonly (IpConfig & { readonly version: string })[];
  readonly routes?: readonly Route[];
  readonly dns: Dns;
};

type IpOfFamily = { readonly ip: string; readonly gateway?: string; readonly routes?: readonly Route[] };

type Result02 = { readonly ip4?: IpOfFamily; readonly ip6?: IpOfFamily; readonly dns: Dns };

const ROUTE = ["dst", "gw", "mtu", "advmss", "priority", "table", "scope"] as const;
const DNS = ["nameservers", "domain", "search", "options"] as const;

/**
 * Converts the members of a normalised result, without its version, to another family. Members that this family does not
 * define are lost, also unknown ones.
 *
 * @throws {CniError} of kind `plugin-output`, code 6, when the other family needs an address and there is none
 */
export function convertFamily(json: JsonObject, from: ResultFamily, to: ResultFamily): JsonObject {
  // Normalised results have exactly these types; see SHAPES in result_shape.ts.
  const result = json as unknown;
  switch (`${from} ${to}` as const) {
    case "02x 04x":
      return from02To04(result as Result02);
    case "02x 1xx":
      return from04To1(from02To04(result as Result02));
    case "04x 02x":
      return from04To02(result as Result04);
    case "04x 1xx":
      return from04To1(result as Result04);
    case "1xx 02x":
      return from04To02(from1To04(result as Result1));
    case "1xx 04x":
      return from1To04(result as Result1);
    default:
      return json;
  }
}

/** `version` follows the name of the member, not its address, and a gateway does not become a route. */
function from02To04({ ip4, ip6, dns }: Result02): Result04 {
  const ips = ([["4", ip4], ["6", ip6]] as const).flatMap(([version, config]) =>
    config === undefined ? [] : [{ version, address: config.ip, ...pick(config, ["gateway"]) }]
  );
  return {
    ...listed("ips", ips),
    ...routesOf([...ip4?.routes ?? [], ...ip6?.routes ?? []]),
    dns: pick(dns, DNS),
  };
}

/** Keeps the first address of each family, and only destinations and next hops of routes. */
function from04To02({ ips = [], routes = [], dns }: Result04): Result02 {
  const first = (family: "4" | "6"): { ip: string; gateway?: string } | undefined => {
    const config = ips.find(({ version, address }) => (version || familyOf(address)) === family);
    return config === undefined ? undefined : { ip: config.address, ...pick(config, ["gateway"]) };
  };
  const [ip4, ip6] = [first("4"), first("6")];
  if (ip4 === undefined && ip6 === undefined) throw resultError("cannot convert: no valid IP addresses");
  const routesTo = (family: "4" | "6") =>
    listed(
      "routes",
      routes.filter(({ dst }) => familyOf(dst) === family).map((route) => pick(route, ["dst", "gw"])),
    );
  return {
    ...(ip4 === undefined ? {} : { ip4: { ...ip4, ...routesTo("4") } }),
    ...(ip6 === undefined ? {} : { ip6: { ...ip6, ...routesTo("6") } }),
    dns: pick(dns, DNS),
  };
}

function from04To1({ interfaces = [], ips = [], routes = [], dns }: Result04): Result1 {
  const named = pick(dns, DNS);
  return {
    ...listed("interfaces", interfaces.map((link) => pick(link, ["name", "mac", "sandbox"]))),
    ...listed("ips", ips.map((config) => pick(config, ["interface", "address", "gateway"]))),
    ...routesOf(routes),
    ...(Object.keys(named).length === 0 ? {} : { dns: named }),
  };
}

function from1To04({ interfaces = [], ips = [], routes = [], dns = {} }: Result1): Result04 {
  return {
    ...listed("interfaces", interfaces.map((link) => pick(link, ["name", "mac", "sandbox"]))),
    ...listed(
      "ips",
      ips.map((config) => ({
        version: familyOf(config.address),
        ...pick(config, ["interface", "address", "gateway"]),
      })),
    ),
    ...routesOf(routes),
    dns: pick(dns, DNS),
  };
}

function routesOf(routes: readonly Route[]): { readonly routes?: readonly Route[] } {
  return listed("routes", routes.map((route) => pick(route, ROUTE)));
}

/** In canonical form, only IPv6 addresses have colons. */
function familyOf(cidr: string): "4" | "6" {
  return cidr.includes(":") ? "6" : "4";
}

function listed<K extends string, T>(key: K, list: readonly T[]): { readonly [_ in K]?: readonly T[] } {
  return (list.length === 0 ? {} : { [key]: list }) as { readonly [_ in K]?: readonly T[] };
}

function pick<T extends object, K extends keyof T>(from: T, keys: readonly K[]): Pick<T, K> {
  return Object.fromEntries(
    keys.filter((key) => Object.hasOwn(from, key)).map((key) => [key, from[key]]),
  ) as Pick<T, K>;
}
