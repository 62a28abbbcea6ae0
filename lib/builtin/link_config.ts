import type { JsonObject } from "../cni/json.ts";
import type { Dns } from "../cni/result.ts";
import { integer, openObjectOf, orNull } from "../cni/shape.ts";
import { FLAG, readConfig, section, TEXT } from "./config_shape.ts";
import { PAIR_MEMBERS } from "./pair_config.ts";

/**
 * What a DEL and a GC need of the configuration of a plugin that gives a container one interface; a mistake in the rest must
 * not prevent the cleaning up.
 */
export interface LinkTeardown {
  /** Empty if there are no addresses. */
  readonly ipamType: string;
}

/** What the plugins for interfaces on a master have in common. */
export interface LinkConfig extends LinkTeardown {
  /** The interface that the new one is on; empty for that of the default route. */
  readonly master: string;
  /** Whether the master is in the namespace of the container. */
  readonly isInside: boolean;
  /** In bytes; undefined for that of the master. */
  readonly mtu: number | undefined;
  /** That of the IPAM plugin does not count. */
  readonly dns: Dns | undefined;
}

const TEARDOWN = { ipam: section({ type: TEXT }) };

/** The members of {@linkcode LinkConfig}. */
export const LINK_MEMBERS = {
  ...TEARDOWN,
  master: TEXT,
  linkInContainer: FLAG,
  mtu: orNull(integer(0, 2 ** 31 - 1)),
  dns: PAIR_MEMBERS.dns,
};

/** What is read to take such a link away. */
export const LINK_TEARDOWN_SHAPE = openObjectOf({}, TEARDOWN);
/** What all plugins for links on a master read. */
export const LINK_SHAPE = openObjectOf({}, LINK_MEMBERS);

/**
 * Reads what the plugins have in common.
 *
 * @throws {CniError} With the code 7.
 */
export function readLinkConfig(config: JsonObject): LinkConfig {
  const { master = "", linkInContainer: isInside = false, mtu = 0, dns, ipam } = readConfig(
    LINK_SHAPE,
    config,
  );
  return { master, isInside, mtu: mtu || undefined, dns, ipamType: ipam?.type ?? "" };
}

/**
 * Reads the part of the configuration that a DEL and a GC need.
 *
 * @throws {CniError} With the code 7.
 */
export function readLinkTeardown(config: JsonObject): LinkTeardown {
  return { ipamType: readConfig(LINK_TEARDOWN_SHAPE, config).ipam?.type ?? "" };
}
