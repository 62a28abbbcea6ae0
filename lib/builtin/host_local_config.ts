import { formatIp, type Ip, parseCidr, parseIp } from "../cni/address.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import type { Route } from "../cni/result.ts";
import {
  anyObject,
  anything,
  listOf,
  mapped,
  openObjectOf,
  orNull,
  type Shape,
  ValidationError,
} from "../cni/shape.ts";
import type { SpecVersion } from "../cni/version.ts";
import {
  ADDRESS_RANGE,
  ADDRESS_SPAN,
  type AddressSpan,
  type RangeSet,
  touches,
  validateRangeSets,
} from "./address_range.ts";
import {
  CIDR,
  FLAG,
  optionalList,
  present,
  readConfig,
  refuseManyAddresses,
  ROUTE,
  section,
  TEXT,
} from "./config_shape.ts";

/** Configuration of the host-local plugin. */
export interface HostLocalConfig {
  readonly dataDir: string;
  readonly sets: readonly RangeSet[];
  /** The addresses that the caller requests, each once. */
  readonly requested: readonly Ip[];
  readonly routes: readonly Route[];
  /** A file in the form of `/etc/resolv.conf`; empty for none. */
  readonly resolvConf: string;
  /** Addresses that no container gets: an option of podwire, which other plugins ignore. */
  readonly excluded: readonly AddressSpan[];
  /** Whether a sandbox gets the address that one of its name had last: an option of podwire, which other plugins ignore. */
  readonly sticky: boolean;
}

/** The directory with the addresses of all networks, in one directory for each network. */
export const DEFAULT_DATA_DIR = "/var/lib/cni/networks";

const RANGE_SETS = optionalList(listOf(ADDRESS_RANGE));

/** An address that a caller wants; undefined for null and an empty string. */
const WANTED_IP: Shape<Ip | undefined> = mapped(anything, (value, path) => {
  if (value === "" || value === null) return undefined;
  const ip = typeof value === "string" ? readIp(value) : undefined;
  if (ip === undefined) throw new ValidationError(path, "is not an IP address");
  return ip;
});

const IPAM = openObjectOf({}, {
  subnet: CIDR,
  ranges: RANGE_SETS,
  dataDir: TEXT,
  routes: optionalList(ROUTE),
  resolvConf: TEXT,
  exclude: optionalList(ADDRESS_SPAN),
  sticky: FLAG,
});

/** The ranges of a configuration, also the one that is written as members of `ipam`. */
const WITH_SETS = mapped(anyObject, (json, path) => {
  const { subnet, ranges = [], ...ipam } = IPAM.read(json, path);
  // A subnet beside the ranges is the old way to write one set of one range.
  return { ...ipam, sets: subnet === undefined ? ranges : [[ADDRESS_RANGE.read(json, path)], ...ranges] };
});
/** The members of that range count only together with its subnet. */
const OLD_RANGE = { rangeStart: {}, rangeEnd: {}, gateway: {} };
const IPAM_SCHEMA = {
  allOf: [IPAM.schema],
  properties: OLD_RANGE,
  if: { properties: { subnet: { enum: [null, ""] } } },
  else: ADDRESS_RANGE.schema,
};

/** What the plugin reads. */
export const HOST_LOCAL_SHAPE = openObjectOf({
  ipam: present(orNull({ ...WITH_SETS, schema: IPAM_SCHEMA })),
}, {
  runtimeConfig: section({ ipRanges: RANGE_SETS, ips: optionalList(WANTED_IP) }),
  args: section({ cni: section({ ips: optionalList(WANTED_IP) }) }),
});

/**
 * Reads and validates the configuration, with the requests in `CNI_ARGS` (`IP`), `args.cni.ips`, `runtimeConfig.ips` and
 * `runtimeConfig.ipRanges`.
 *
 * @throws {CniError} With the code 7, or 4 for an invalid `CNI_ARGS`.
 */
export function readHostLocalConfig(
  config: JsonObject,
  version: SpecVersion,
  cniArgs: ReadonlyMap<string, string>,
): HostLocalConfig {
  const { ipam, runtimeConfig, args } = readConfig(HOST_LOCAL_SHAPE, config);
  const sets = [...runtimeConfig?.ipRanges ?? [], ...ipam.sets];
  validateRangeSets(sets);
  const excluded = ipam.exclude ?? [];
  requireTouching(sets, excluded);
  refuseManyAddresses(sets.map((set) => set[0]?.start.family), version);
  const ips = [...args?.cni?.ips ?? [], ...runtimeConfig?.ips ?? []].filter((ip) => ip !== undefined);
  return {
    dataDir: ipam.dataDir || DEFAULT_DATA_DIR,
    sets,
    requested: distinct([...argsIp(cniArgs), ...ips]),
    routes: ipam.routes ?? [],
    resolvConf: ipam.resolvConf ?? "",
    excluded,
    sticky: ipam.sticky ?? false,
  };
}

/** One that excludes nothing is a mistake: the address that it is about would be given out. */
function requireTouching(sets: readonly RangeSet[], excluded: readonly AddressSpan[]): void {
  const at = excluded.findIndex((span) => !sets.some((set) => touches(set, span)));
  const span = excluded[at];
  if (span === undefined) return;
  const [first, last] = [formatIp(span.first), formatIp(span.last)];
  const text = first === last ? first : `${first}-${last}`;
  throw new CniError("config", `ipam.exclude[${at}] ${text} is not in a range`, {
    code: ERROR_CODES.invalidNetworkConfig,
  });
}

function argsIp(cniArgs: ReadonlyMap<string, string>): Ip[] {
  const text = cniArgs.get("IP") ?? "";
  if (text === "") return [];
  const ip = readIp(text);
  if (ip !== undefined) return [ip];
  throw new CniError("usage", `ARGS: IP is not an IP address: ${text}`, {
    code: ERROR_CODES.invalidEnvironment,
  });
}

/** Reads a requested address. It may have a prefix length, which the range decides. */
function readIp(text: string): Ip | undefined {
  return text.includes("/") ? parseCidr(text)?.ip : parseIp(text);
}

function distinct(ips: readonly Ip[]): Ip[] {
  return ips.filter((ip, at) =>
    ips.findIndex((other) => other.family === ip.family && other.value === ip.value) === at
  );
}
