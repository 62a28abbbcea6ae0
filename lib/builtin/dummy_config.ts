import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { type LinkTeardown, readLinkTeardown } from "./link_config.ts";

/**
 * Reads and validates the configuration.
 *
 * @throws {CniError} With the code 7.
 */
export function readDummyConfig(config: JsonObject): LinkTeardown {
  const teardown = readLinkTeardown(config);
  if (teardown.ipamType !== "") return teardown;
  throw new CniError("config", "ipam.type is missing: a dummy interface is there for its addresses", {
    code: ERROR_CODES.invalidNetworkConfig,
  });
}
