import type { Family } from "../cni/default_route.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { validateInterfaceName } from "../cni/name.ts";
import type { Dns } from "../cni/result.ts";
import { lenient, openObjectOf, ValidationError } from "../cni/shape.ts";
import { type BridgeVlans, bridgeVlans, VLAN, VLAN_MEMBERS } from "./bridge_vlans.ts";
import { FLAG, MAC_ADDRESS, macOfArgs, nonEmpty, readConfig, section, TEXT } from "./config_shape.ts";
import type { MasqueradeBackend } from "./masquerade.ts";
import {
  masqueradedFamilies,
  PAIR_MEMBERS,
  PAIR_RUNTIME,
  PAIR_TEARDOWN,
  type PairTeardown,
  readPairTeardown,
} from "./pair_config.ts";
import { gatewayName, type VlanGateway } from "./vlan_gateway.ts";

/** Configuration of the bridge plugin. */
export interface BridgeConfig {
  readonly bridge: string;
  readonly removeEmptyBridge: boolean;
  readonly isGateway: boolean;
  readonly isDefaultGateway: boolean;
  readonly forceAddress: boolean;
  /** The families whose packets are masqueraded. */
  readonly ipMasq: readonly Family[];
  readonly ipMasqBackend: MasqueradeBackend | undefined;
  /** 0 lets the kernel choose. */
  readonly mtu: number;
  readonly hairpinMode: boolean;
  readonly promiscMode: boolean;
  readonly portIsolation: boolean;
  /** Whether frames of the container must have its MAC address. */
  readonly macspoofchk: boolean;
  /** Whether the ADD waits until no other owner of its IPv6 addresses is found. */
  readonly enabledad: boolean;
  /** Whether the interface of the container stays down. */
  readonly disableContainerInterface: boolean;
  readonly vlans: BridgeVlans;
  /** Empty for a random one. */
  readonly mac: string;
  /** Empty for a layer 2 network, without addresses. */
  readonly ipamType: string;
  /** What the runtime asks for, or that of the configuration; undefined to use that of the IPAM plugin. */
  readonly dns: Dns | undefined;
}

/** The part of the configuration that a DEL and a GC need; a mistake in the rest must not prevent the cleaning up. */
export interface BridgeTeardown extends PairTeardown {
  /** Empty if the configuration has no valid interface name: then there is no such bridge. */
  readonly bridge: string;
  /** Whether the bridge is removed with its last port: an option of podwire, which other plugins ignore. */
  readonly removeEmptyBridge: boolean;
  readonly macspoofchk: boolean;
  /** The VLAN of the ports; 0 for none, and if the configuration has no valid one. */
  readonly vlan: number;
}

/** The bridge of a configuration that names none. */
export const DEFAULT_BRIDGE = "cni0";
const TEARDOWN_MEMBERS = {
  ...PAIR_TEARDOWN,
  bridge: TEXT,
  removeEmptyBridge: FLAG,
  macspoofchk: FLAG,
};

const TEARDOWN = openObjectOf({}, { ...TEARDOWN_MEMBERS, vlan: lenient(VLAN) });
/** What the plugin reads. */
export const BRIDGE_SHAPE = openObjectOf({}, {
  ...TEARDOWN_MEMBERS,
  bridge: nonEmpty((name, path) => {
    if (isInterfaceName(name)) return name;
    throw new ValidationError(path, `is not the name of an interface: ${name}`);
  }),
  isGateway: FLAG,
  isDefaultGateway: FLAG,
  forceAddress: FLAG,
  ...PAIR_MEMBERS,
  ...VLAN_MEMBERS,
  hairpinMode: FLAG,
  promiscMode: FLAG,
  portIsolation: FLAG,
  disableContainerInterface: FLAG,
  enabledad: FLAG,
  runtimeConfig: section({ mac: MAC_ADDRESS, ...PAIR_RUNTIME }),
  args: section({ cni: section({ mac: MAC_ADDRESS }) }),
});

/**
 * Reads and validates the configuration, with the requested MAC address: `runtimeConfig.mac` wins over `args.cni.mac`, which
 * wins over `CNI_ARGS` (`MAC`).
 *
 * @throws {CniError} With the code 7 for an invalid field, 4 for an invalid `CNI_ARGS`.
 */
export function readBridgeConfig(config: JsonObject, cniArgs: ReadonlyMap<string, string>): BridgeConfig {
  const {
    bridge = DEFAULT_BRIDGE,
    isDefaultGateway = false,
    isGateway = false,
    hairpinMode = false,
    promiscMode = false,
    disableContainerInterface = false,
    ...read
  } = readConfig(BRIDGE_SHAPE, config);
  if (hairpinMode && promiscMode) {
    throw new CniError("config", "hairpinMode and promiscMode cannot both be set", {
      code: ERROR_CODES.invalidNetworkConfig,
    });
  }
  if (disableContainerInterface && (read.ipam?.type ?? "") !== "") {
    throw new CniError(
      "config",
      "disableContainerInterface and ipam cannot both be set: the interface stays down",
      {
        code: ERROR_CODES.invalidNetworkConfig,
      },
    );
  }
  const vlans = bridgeVlans(read);
  const hasGateway = (isGateway || isDefaultGateway) && (read.ipam?.type ?? "") !== "";
  if (hasGateway && vlans.vlan !== 0) requireGatewayName({ bridge, vlan: vlans.vlan });
  return {
    bridge,
    vlans,
    removeEmptyBridge: read.removeEmptyBridge ?? false,
    isGateway: isGateway || isDefaultGateway,
    isDefaultGateway,
    forceAddress: read.forceAddress ?? false,
    ipMasq: masqueradedFamilies(read),
    ipMasqBackend: read.ipMasqBackend,
    mtu: read.mtu ?? 0,
    hairpinMode,
    promiscMode,
    portIsolation: read.portIsolation ?? false,
    macspoofchk: read.macspoofchk ?? false,
    disableContainerInterface,
    enabledad: read.enabledad ?? false,
    mac: read.runtimeConfig?.mac ?? read.args?.cni?.mac ?? macOfArgs(cniArgs) ?? "",
    ipamType: read.ipam?.type ?? "",
    dns: read.runtimeConfig?.dns ?? read.dns,
  };
}

/** Reads the part of the configuration that a DEL and a GC need. */
export function readBridgeTeardown(config: JsonObject): BridgeTeardown {
  const { bridge, removeEmptyBridge = false, macspoofchk = false, vlan = 0 } = readConfig(TEARDOWN, config);
  const name = bridge || DEFAULT_BRIDGE;
  return {
    ...readPairTeardown(config),
    bridge: isInterfaceName(name) ? name : "",
    removeEmptyBridge,
    macspoofchk,
    vlan,
  };
}

/** Before anything is made: the name is longer than that of the bridge. */
function requireGatewayName(gateway: VlanGateway): void {
  const name = gatewayName(gateway);
  if (isInterfaceName(name)) return;
  throw new CniError(
    "config",
    `bridge is too long for a gateway in a VLAN: "${name}" is not the name of an interface`,
    {
      code: ERROR_CODES.invalidNetworkConfig,
    },
  );
}

function isInterfaceName(name: string): boolean {
  try {
    validateInterfaceName(name);
    return true;
  } catch {
    return false;
  }
}
