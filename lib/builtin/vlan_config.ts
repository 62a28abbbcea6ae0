import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { validateInterfaceName } from "../cni/name.ts";
import { integer, lenient, openObjectOf, orNull } from "../cni/shape.ts";
import { present, readConfig } from "./config_shape.ts";
import { type LinkConfig, readLinkConfig } from "./link_config.ts";

/** Configuration of the vlan plugin. */
export interface VlanConfig extends LinkConfig {
  readonly vlanId: number;
  /** The name of the interface in the container. */
  readonly name: string;
  /** Whether an interface of the chain is the master: the one that `CNI_IFNAME` names. */
  readonly isOnOwn: boolean;
}

/** The largest number; the one after it is reserved. */
const LAST_ID = 4094;

/** What the plugin reads beside the members of all links on a master. */
export const VLAN_SHAPE = openObjectOf({ vlanId: present(orNull(integer(0, LAST_ID))) }, {});
const TEARDOWN = openObjectOf({}, { vlanId: lenient(integer(0, LAST_ID)) });

/**
 * Reads and validates the configuration. Without a master, one in the container is the interface that an earlier plugin of the
 * list has made there; the new one is beside it, and its name is that of the master with the number after a dot.
 *
 * @throws {CniError} With the code 7.
 */
export function readVlanConfig(config: JsonObject, ifName: string): VlanConfig {
  const { vlanId } = readConfig(VLAN_SHAPE, config);
  const read = readLinkConfig(config);
  if (read.ipamType === "") throw refused("ipam.type is missing: vlan gives a container addresses");
  const isOnOwn = read.master === "" && read.isInside;
  if (read.master === "" && !isOnOwn) {
    throw refused("master is missing: it names the interface of the host that the VLAN is on");
  }
  if (!isOnOwn) return { ...read, vlanId, name: ifName, isOnOwn };
  if (read.ipamType === "dhcp") {
    throw refused("ipam.type: dhcp asks through CNI_IFNAME, which is the master, and not through the VLAN");
  }
  const name = `${ifName}.${vlanId}`;
  // STATUS is asked without an interface.
  if (ifName !== "") validateInterfaceName(name);
  return { ...read, master: ifName, vlanId, name, isOnOwn };
}

/** Returns the number of the VLAN, for a DEL; undefined if the configuration has no valid one. */
export function vlanIdIn(config: JsonObject): number | undefined {
  return readConfig(TEARDOWN, config).vlanId;
}

function refused(msg: string): CniError {
  return new CniError("config", msg, { code: ERROR_CODES.invalidNetworkConfig });
}
