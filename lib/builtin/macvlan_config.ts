import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { integer, openObjectOf, orNull } from "../cni/shape.ts";
import type { MacvlanMode } from "../kernel/operation.ts";
import { choice, MAC_ADDRESS, macOfArgs, readConfig, section } from "./config_shape.ts";
import { type LinkConfig, readLinkConfig } from "./link_config.ts";

/** Configuration of the macvlan plugin. */
export interface MacvlanConfig extends LinkConfig {
  readonly mode: MacvlanMode;
  /** Undefined for that of the kernel. */
  readonly broadcastQueue: number | undefined;
  /** Undefined for a random one. */
  readonly mac: string | undefined;
}

/** The modes that a configuration may name. */
const MODES = ["bridge", "private", "vepa", "passthru"] as const;

/** What the plugin reads beside the members of all links on a master. */
export const MACVLAN_SHAPE = openObjectOf({}, {
  mode: choice(MODES),
  bcqueuelen: orNull(integer(0, 2 ** 32 - 1)),
  mac: MAC_ADDRESS,
  runtimeConfig: section({ mac: MAC_ADDRESS }),
});

/**
 * Reads and validates the configuration, with the requested MAC address: `runtimeConfig.mac` wins over `CNI_ARGS` (`MAC`),
 * and that over the one of the configuration.
 *
 * @throws {CniError} With the code 7, or 4 for an invalid `CNI_ARGS`.
 */
export function readMacvlanConfig(config: JsonObject, cniArgs: ReadonlyMap<string, string>): MacvlanConfig {
  const { mode = "bridge", bcqueuelen, runtimeConfig, mac } = readConfig(MACVLAN_SHAPE, config);
  const read = {
    ...readLinkConfig(config),
    mode,
    broadcastQueue: bcqueuelen || undefined,
    mac: runtimeConfig?.mac ?? macOfArgs(cniArgs) ?? mac,
  };
  if (mode === "passthru" && read.mac !== undefined) {
    throw new CniError("config", `mac: in mode "passthru" the interface has that of its master`, {
      code: ERROR_CODES.invalidNetworkConfig,
    });
  }
  return read;
}
