import { type Cidr, contains, type Ip, parseCidr, parseIp } from "../cni/address.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import type { Dns, Route } from "../cni/result.ts";
import { listOf, mapped, openObjectOf, orNull, type Shape, ValidationError } from "../cni/shape.ts";
import type { SpecVersion } from "../cni/version.ts";
import {
  CIDR,
  handedOn,
  IP,
  nonEmpty,
  optionalList,
  present,
  readConfig,
  refuseManyAddresses,
  ROUTE,
  section,
  TEXT,
} from "./config_shape.ts";

/** An address that the configuration or the caller gives. */
export interface StaticAddress {
  readonly address: Cidr;
  readonly gateway: Ip | undefined;
}

/** Configuration of the static plugin. */
export interface StaticConfig {
  readonly addresses: readonly StaticAddress[];
  readonly routes: readonly Route[];
  readonly dns: Dns;
}

const ADDRESS: Shape<StaticAddress> = mapped(
  openObjectOf({ address: present(CIDR) }, { gateway: IP }),
  ({ address, gateway }) => ({ address, gateway }),
);

const NAMES = optionalList(TEXT);

/** Checked, and handed on as written. */
const DNS: Shape<Dns> = handedOn(
  openObjectOf({}, { nameservers: NAMES, domain: TEXT, search: NAMES, options: NAMES }),
);

const WANTED = optionalList(present(nonEmpty((text, path): Cidr => {
  const address = parseCidr(text);
  if (address !== undefined) return address;
  throw new ValidationError(path, `is not an address with a prefix length: ${text}`);
})));

/** What the plugin reads. */
export const STATIC_SHAPE = openObjectOf({
  ipam: present(orNull(openObjectOf({}, {
    addresses: optionalList(ADDRESS),
    routes: orNull(listOf(ROUTE)),
    dns: orNull(DNS),
  }))),
}, {
  runtimeConfig: section({ ips: WANTED }),
  args: section({ cni: section({ ips: WANTED }) }),
});

/**
 * Reads and validates the configuration. `CNI_ARGS` adds addresses (`IP`) and their gateways (`GATEWAY`); `args.cni.ips` takes the
 * place of all addresses, and `runtimeConfig.ips` that of these. Such an address has no gateway of its own: it gets that of
 * an address of the configuration in whose network it is.
 *
 * @throws {CniError} With the code 7, or 4 for an invalid `CNI_ARGS`.
 */
export function readStaticConfig(
  config: JsonObject,
  version: SpecVersion,
  cniArgs: ReadonlyMap<string, string>,
): StaticConfig {
  const { ipam, runtimeConfig, args } = readConfig(STATIC_SHAPE, config);
  const own = [...ipam.addresses ?? [], ...withGateways(argsAddresses(cniArgs), argsGateways(cniArgs))];
  const wanted = [runtimeConfig?.ips, args?.cni?.ips].find((ips) => ips !== undefined && ips.length > 0);
  const addresses = wanted?.map((address) => ({ address, gateway: gatewayFor(address, own) })) ?? own;
  refuseManyAddresses(addresses.map(({ address }) => address.ip.family), version);
  return { addresses, routes: ipam.routes ?? [], dns: ipam.dns ?? {} };
}

/** The last gateway in the network of an address is its gateway. */
function withGateways(
  addresses: readonly StaticAddress[],
  gateways: readonly Ip[],
): readonly StaticAddress[] {
  return addresses.map(({ address, gateway }) => ({
    address,
    gateway: gateways.findLast((ip) => contains(address, ip)) ?? gateway,
  }));
}

function gatewayFor({ ip }: Cidr, configured: readonly StaticAddress[]): Ip | undefined {
  return configured.find(({ address, gateway }) => gateway !== undefined && contains(address, ip))
    ?.gateway;
}

function argsAddresses(cniArgs: ReadonlyMap<string, string>): readonly StaticAddress[] {
  return itemsOf(cniArgs, "IP").map((text) => {
    const address = parseCidr(text);
    if (address === undefined) throw invalidArg("IP", text, "an address with a prefix length");
    return { address, gateway: undefined };
  });
}

function argsGateways(cniArgs: ReadonlyMap<string, string>): readonly Ip[] {
  return itemsOf(cniArgs, "GATEWAY").map((text) => {
    const ip = parseIp(text);
    if (ip === undefined) throw invalidArg("GATEWAY", text, "an IP address");
    return ip;
  });
}

function itemsOf(cniArgs: ReadonlyMap<string, string>, key: string): readonly string[] {
  const value = cniArgs.get(key) ?? "";
  return value === "" ? [] : value.split(",").map((item) => item.trim());
}

function invalidArg(key: string, text: string, wanted: string): CniError {
  return new CniError("usage", `ARGS: ${key} is not ${wanted}: ${JSON.stringify(text)}`, {
    code: ERROR_CODES.invalidEnvironment,
  });
}
