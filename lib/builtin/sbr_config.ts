import type { Ip } from "../cni/address.ts";
import type { JsonObject } from "../cni/json.ts";
import { integer, listOf, mapped, openObjectOf, orNull, type Shape, ValidationError } from "../cni/shape.ts";
import { FLAG, IP, present, readConfig } from "./config_shape.ts";

/** Configuration of the sbr plugin. */
export interface SbrConfig {
  /** The table to which rules lead, whose routes are the business of others; undefined for a table of its own for each address. */
  readonly table: number | undefined;
  /** The next hops of the default routes, at most one of each family. */
  readonly gateways: readonly Ip[];
  /** Whether the networks of the addresses stay reachable for packets that have no source yet. */
  readonly addSourceHints: boolean;
}

const TABLE = orNull(integer(1, 2 ** 32 - 1));

const GATEWAYS: Shape<readonly Ip[] | undefined> = orNull(
  mapped(listOf(present(IP)), (gateways, path) => {
    for (const [at, { family }] of gateways.entries()) {
      if (gateways.findIndex((other) => other.family === family) === at) continue;
      throw new ValidationError(
        [...path, at],
        `is a second IPv${family} address; each family has one gateway`,
      );
    }
    return gateways;
  }),
);

/** What the plugin reads. */
export const SBR_SHAPE = openObjectOf({}, { table: TABLE, gateways: GATEWAYS, addSourceHints: FLAG });

/**
 * Reads and validates the configuration.
 *
 * @throws {CniError} With the code 7.
 */
export function readSbrConfig(config: JsonObject): SbrConfig {
  const { table, gateways = [], addSourceHints = false } = readConfig(SBR_SHAPE, config);
  return { table, gateways, addSourceHints };
}
