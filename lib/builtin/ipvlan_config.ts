import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import type { Result } from "../cni/result.ts";
import { openObjectOf } from "../cni/shape.ts";
import { IPVLAN_MODES, type IpvlanMode } from "../kernel/operation.ts";
import { choice, readConfig } from "./config_shape.ts";
import { type LinkConfig, readLinkConfig } from "./link_config.ts";

/** Configuration of the ipvlan plugin. */
export interface IpvlanConfig extends LinkConfig {
  readonly mode: IpvlanMode;
}

/** What the plugin reads beside the members of all links on a master. */
export const IPVLAN_SHAPE = openObjectOf({}, { mode: choice(IPVLAN_MODES) });

/**
 * Reads and validates the configuration.
 *
 * @throws {CniError} With the code 7.
 */
export function readIpvlanConfig(config: JsonObject): IpvlanConfig {
  const { mode = "l2" } = readConfig(IPVLAN_SHAPE, config);
  const read = { ...readLinkConfig(config), mode };
  if (read.ipamType === "dhcp") {
    throw refused(
      "ipam.type: dhcp cannot be used with ipvlan: all interfaces have the MAC address of their master, and the answer of " +
        "a DHCP server reaches none of them",
    );
  }
  return read;
}

/**
 * Returns the configuration as it is in a chain: without a name of its own, the master is the interface of the plugin before.
 *
 * @throws {CniError} With the code 7, if that has none, or several.
 */
export function afterResult(config: IpvlanConfig, prevResult: Result | undefined): IpvlanConfig {
  if (config.master !== "" || prevResult === undefined) return config;
  const [only, ...more] = prevResult.interfaces ?? [];
  if (only === undefined || only.name === "" || more.length > 0) {
    throw refused("master is missing, and the result of the plugin before it has not exactly one interface");
  }
  return { ...config, master: only.name };
}

/**
 * Returns the result before, if the interface gets its addresses; undefined if they are those of an IPAM plugin.
 *
 * @throws {CniError} With the code 7, if there are neither.
 */
export function givenAddresses(
  { ipamType }: IpvlanConfig,
  prevResult: Result | undefined,
): Result | undefined {
  if (ipamType !== "") return undefined;
  if ((prevResult?.ips ?? []).length > 0) return prevResult;
  throw refused("ipam.type is missing, and no plugin before it has given addresses");
}

function refused(msg: string): CniError {
  return new CniError("config", msg, { code: ERROR_CODES.invalidNetworkConfig });
}
