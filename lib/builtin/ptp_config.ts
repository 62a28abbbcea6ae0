import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import type { Dns } from "../cni/result.ts";
import { openObjectOf } from "../cni/shape.ts";
import { readConfig, section } from "./config_shape.ts";
import {
  masqueradedFamilies,
  PAIR_MEMBERS,
  PAIR_RUNTIME,
  PAIR_TEARDOWN,
  type PairTeardown,
} from "./pair_config.ts";

/** Configuration of the ptp plugin. */
export interface PtpConfig extends PairTeardown {
  /** 0 lets the kernel choose. */
  readonly mtu: number;
  /** What the runtime asks for, or that of the configuration; undefined to use that of the IPAM plugin. */
  readonly dns: Dns | undefined;
}

/** What the plugin reads. */
export const PTP_SHAPE = openObjectOf({}, {
  ...PAIR_TEARDOWN,
  ...PAIR_MEMBERS,
  runtimeConfig: section(PAIR_RUNTIME),
});

/**
 * Reads and validates the configuration.
 *
 * @throws {CniError} With the code 7.
 */
export function readPtpConfig(config: JsonObject): PtpConfig {
  const { ipMasqBackend, mtu, dns, ipam, runtimeConfig, ...read } = readConfig(PTP_SHAPE, config);
  const ipamType = ipam?.type ?? "";
  if (ipamType === "") {
    throw new CniError(
      "config",
      "ipam.type is missing: ptp gives a container routes, and needs addresses for them",
      {
        code: ERROR_CODES.invalidNetworkConfig,
      },
    );
  }
  const ipMasq = masqueradedFamilies(read);
  return { ipMasq, ipMasqBackend, mtu: mtu ?? 0, dns: runtimeConfig?.dns ?? dns, ipamType };
}
