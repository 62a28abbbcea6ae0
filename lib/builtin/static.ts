import { compareIp, formatCidr, formatIp, parseCidr, parseIp } from "../cni/address.ts";
import { CniError } from "../cni/error.ts";
import type { IpConfig, Result } from "../cni/result.ts";
import { CURRENT_VERSION, SPEC_VERSIONS } from "../cni/version.ts";
import { refuseUnknownArgs } from "../plugin/invocation.ts";
import type { Plugin, PluginRequest } from "../plugin/serve.ts";
import { requirePrevResult } from "./prev_result.ts";
import { readStaticConfig, type StaticAddress, type StaticConfig } from "./static_config.ts";

/** Gives the addresses that the configuration or the caller names. It keeps no record of them: another container may have the same ones. */
export const staticAddresses: Plugin = {
  about: "CNI plugin static (podwire)",
  versions: SPEC_VERSIONS,
  // DEL and GC have nothing to free.
  verbs: { ADD: add, CHECK: check, STATUS: status },
};

function add(request: PluginRequest): Result {
  const { addresses, routes, dns } = read(request);
  return {
    cniVersion: CURRENT_VERSION,
    ips: addresses.map(({ address, gateway }): IpConfig => ({
      address: formatCidr(address),
      ...(gateway === undefined ? {} : { gateway: formatIp(gateway) }),
    })),
    ...(routes.length > 0 ? { routes: [...routes] } : {}),
    ...(Object.keys(dns).length > 0 ? { dns } : {}),
  };
}

/** The result of the ADD has each address, with its gateway. It may have more, of other plugins. */
function check(request: PluginRequest): void {
  const { addresses } = read(request);
  const prevResult = requirePrevResult(request);
  for (const wanted of addresses) {
    if (prevResult.ips?.some((found) => isSame(wanted, found))) continue;
    const { address, gateway } = wanted;
    const by = gateway === undefined ? "" : ` with the gateway ${formatIp(gateway)}`;
    throw new CniError(
      "not-found",
      `static: the result of the ADD does not have the address ${
        formatCidr(address)
      }${by} for ${request.ifName}`,
    );
  }
}

function status(request: PluginRequest): void {
  read(request);
}

function read(request: PluginRequest): StaticConfig {
  refuseUnknownArgs(request.args, ["IP", "GATEWAY"]);
  return readStaticConfig(request.config, request.cniVersion, request.args);
}

/** Without a gateway in the configuration, the calling plugin chose one. */
function isSame({ address, gateway }: StaticAddress, found: IpConfig): boolean {
  const there = parseCidr(found.address);
  if (there === undefined || compareIp(there.ip, address.ip) !== 0) return false;
  if (gateway === undefined) return true;
  const given = found.gateway === undefined ? undefined : parseIp(found.gateway);
  return given !== undefined && compareIp(given, gateway) === 0;
}
