import { CniError, ERROR_CODES } from "../cni/error.ts";
import { type Ip, parseCidr, parseIp } from "../cni/address.ts";
import { isArray, type JsonObject } from "../cni/json.ts";
import type { Route } from "../cni/result.ts";
import { atLeast, type SpecVersion } from "../cni/version.ts";
import { type RangeSet, readRange, validateRangeSets } from "./address_range.ts";
import {
  arrayField,
  cidrField,
  fieldError,
  ipField,
  type Section,
  sectionAt,
  sectionField,
  sectionsField,
  stringField,
} from "./field.ts";

/** What the host-local plugin is told. */
export interface HostLocalConfig {
  readonly dataDir: string;
  readonly sets: readonly RangeSet[];
  /** Addresses that the caller wants, each once. */
  readonly requested: readonly Ip[];
  readonly routes: readonly Route[];
  /** A file in the form of `/etc/resolv.conf`; empty for none. */
  readonly resolvConf: string;
}

/** Where the addresses of all networks are kept, in a folder for each. */
export const DEFAULT_DATA_DIR = "/var/lib/cni/networks";

/**
 * Reads and validates the configuration, wishes from `CNI_ARGS` (`IP`), `args.cni.ips`, `runtimeConfig.ips` and
 * `runtimeConfig.ipRanges` included.
 *
 * @throws {CniError} with the code 7, or 4 for a bad `CNI_ARGS`.
 */
export function readHostLocalConfig(
  config: JsonObject,
  version: SpecVersion,
  args: ReadonlyMap<string, string>,
): HostLocalConfig {
  const top: Section = { json: config, path: "" };
  if (config.ipam === undefined || config.ipam === null) throw fieldError(top, "ipam", "is missing");
  const ipam = sectionField(top, "ipam");
  const runtime = sectionField(top, "runtimeConfig");
  const oldStyle = cidrField(ipam, "subnet") === undefined ? [] : [[readRange(ipam)]];
  const sets = [...rangeSetsField(runtime, "ipRanges"), ...oldStyle, ...rangeSetsField(ipam, "ranges")];
  validateRangeSets(sets);
  refuseManyAddresses(sets, version);
  return {
    dataDir: stringField(ipam, "dataDir") || DEFAULT_DATA_DIR,
    sets,
    requested: distinct([
      ...argsIp(args),
      ...ipList(sectionField(sectionField(top, "args"), "cni"), "ips"),
      ...ipList(runtime, "ips"),
    ]),
    routes: sectionsField(ipam, "routes").map(readRoute),
    resolvConf: stringField(ipam, "resolvConf"),
  };
}

function rangeSetsField(section: Section, key: string): RangeSet[] {
  return arrayField(section, key).map((set, index) => {
    if (!isArray(set)) throw fieldError(section, `${key}[${index}]`, "is not an array of ranges");
    return set.map((range, at) => readRange(sectionAt(section, `${key}[${index}][${at}]`, range)));
  });
}

/** Results before 0.3.0 have room for one address of each family. */
function refuseManyAddresses(sets: readonly RangeSet[], version: SpecVersion): void {
  const families = sets.map((set) => set[0]?.start.family);
  if (new Set(families).size < families.length && !atLeast(version, "0.3.0")) {
    throw new CniError("config", `CNI version ${version} does not support more than 1 address per family`, {
      code: ERROR_CODES.invalidNetworkConfig,
    });
  }
}

function argsIp(args: ReadonlyMap<string, string>): Ip[] {
  const text = args.get("IP") ?? "";
  if (text === "") return [];
  const ip = readIp(text);
  if (ip !== undefined) return [ip];
  throw new CniError("usage", `ARGS: IP is not an IP address: ${text}`, {
    code: ERROR_CODES.invalidEnvironment,
  });
}

function ipList(section: Section, key: string): Ip[] {
  return arrayField(section, key).flatMap((value, index) => {
    if (value === "" || value === null) return [];
    const ip = typeof value === "string" ? readIp(value) : undefined;
    if (ip === undefined) throw fieldError(section, `${key}[${index}]`, "is not an IP address");
    return [ip];
  });
}

/** A wish may have a prefix length; the range decides about that. */
function readIp(text: string): Ip | undefined {
  return text.includes("/") ? parseCidr(text)?.ip : parseIp(text);
}

function distinct(ips: readonly Ip[]): Ip[] {
  return ips.filter((ip, at) =>
    ips.findIndex((other) => other.family === ip.family && other.value === ip.value) === at
  );
}

/** Checked here, handed on as written: attributes that this code has never heard of included. */
function readRoute(section: Section): Route {
  if (cidrField(section, "dst") === undefined) throw fieldError(section, "dst", "is missing");
  ipField(section, "gw");
  return section.json as unknown as Route;
}
