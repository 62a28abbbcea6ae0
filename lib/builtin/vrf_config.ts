import type { JsonObject } from "../cni/json.ts";
import { integer, openObjectOf, orNull } from "../cni/shape.ts";
import { nonEmpty, present, readConfig } from "./config_shape.ts";

/** Configuration of the vrf plugin. */
export interface VrfConfig {
  /** The name of the VRF in the container. */
  readonly name: string;
  /** Of its routes; undefined for a free one. */
  readonly table: number | undefined;
}

const NAME = present(nonEmpty((name) => name));
const TABLE = orNull(integer(0, 2 ** 32 - 1));
/** What the plugin reads. */
export const VRF_SHAPE = openObjectOf({ vrfname: NAME }, { table: TABLE });
const TEARDOWN = openObjectOf({ vrfname: NAME }, {});

/**
 * Reads and validates the configuration.
 *
 * @throws {CniError} With the code 7.
 */
export function readVrfConfig(config: JsonObject): VrfConfig {
  const { vrfname, table = 0 } = readConfig(VRF_SHAPE, config);
  return { name: vrfname, table: table || undefined };
}

/**
 * Reads the name alone, which a DEL needs.
 *
 * @throws {CniError} With the code 7.
 */
export function readVrfName(config: JsonObject): string {
  return readConfig(TEARDOWN, config).vrfname;
}
