import type { JsonObject } from "../cni/json.ts";
import type { Shape } from "../cni/shape.ts";
import type { SpecVersion } from "../cni/version.ts";
import { BANDWIDTH_SHAPE, readBandwidthConfig } from "./bandwidth_config.ts";
import { BRIDGE_SHAPE, readBridgeConfig } from "./bridge_config.ts";
import { readDummyConfig } from "./dummy_config.ts";
import { FIREWALL_SHAPE, readFirewallConfig } from "./firewall_config.ts";
import { HOST_DEVICE_SHAPE, readHostDeviceConfig } from "./host_device_config.ts";
import { HOST_LOCAL_SHAPE, readHostLocalConfig } from "./host_local_config.ts";
import { IPVLAN_SHAPE, readIpvlanConfig } from "./ipvlan_config.ts";
import { LINK_SHAPE, LINK_TEARDOWN_SHAPE } from "./link_config.ts";
import { MACVLAN_SHAPE, readMacvlanConfig } from "./macvlan_config.ts";
import { PORTMAP_SHAPE, readPortmapConfig } from "./portmap_config.ts";
import { PTP_SHAPE, readPtpConfig } from "./ptp_config.ts";
import { readSbrConfig, SBR_SHAPE } from "./sbr_config.ts";
import { readStaticConfig, STATIC_SHAPE } from "./static_config.ts";
import { readTuningConfig, TUNING_SHAPE } from "./tuning_config.ts";
import { readVlanConfig, VLAN_SHAPE } from "./vlan_config.ts";
import { readVrfConfig, VRF_SHAPE } from "./vrf_config.ts";

/** How the configuration of a built-in plugin is read. */
export interface ConfigReading {
  /** All that the plugin reads; each shape reads some members of the same object. */
  readonly shapes: readonly Shape<unknown>[];
  /**
   * Reads a configuration as an ADD does, without arguments of a caller.
   *
   * @throws {CniError} kind `config`; its cause is a `ValidationError` if one member is wrong
   */
  readonly read: (config: JsonObject, version: SpecVersion) => unknown;
  /** Whether its ADD needs the result of a plugin before it. */
  readonly isChained?: boolean;
  /** Whether it is called by another plugin, with the member `ipam` of that. */
  readonly isIpam?: boolean;
}

const NO_ARGS: ReadonlyMap<string, string> = new Map();
const IF_NAME = "eth0";

/** The built-in plugins whose configuration is read, by type. */
export const CONFIG_READINGS: Readonly<Record<string, ConfigReading>> = {
  bandwidth: { shapes: [BANDWIDTH_SHAPE], read: readBandwidthConfig, isChained: true },
  bridge: { shapes: [BRIDGE_SHAPE], read: (config) => readBridgeConfig(config, NO_ARGS) },
  dummy: { shapes: [LINK_TEARDOWN_SHAPE], read: readDummyConfig },
  firewall: { shapes: [FIREWALL_SHAPE], read: readFirewallConfig, isChained: true },
  "host-device": { shapes: [HOST_DEVICE_SHAPE], read: readHostDeviceConfig },
  "host-local": {
    shapes: [HOST_LOCAL_SHAPE],
    read: (config, version) => readHostLocalConfig(config, version, NO_ARGS),
    isIpam: true,
  },
  ipvlan: { shapes: [LINK_SHAPE, IPVLAN_SHAPE], read: readIpvlanConfig },
  loopback: { shapes: [], read: () => undefined },
  macvlan: { shapes: [LINK_SHAPE, MACVLAN_SHAPE], read: (config) => readMacvlanConfig(config, NO_ARGS) },
  portmap: { shapes: [PORTMAP_SHAPE], read: readPortmapConfig, isChained: true },
  ptp: { shapes: [PTP_SHAPE], read: readPtpConfig },
  sbr: { shapes: [SBR_SHAPE], read: readSbrConfig, isChained: true },
  static: {
    shapes: [STATIC_SHAPE],
    read: (config, version) => readStaticConfig(config, version, NO_ARGS),
    isIpam: true,
  },
  tuning: {
    shapes: [TUNING_SHAPE],
    read: (config) => readTuningConfig(config, NO_ARGS, IF_NAME),
    isChained: true,
  },
  vlan: { shapes: [LINK_SHAPE, VLAN_SHAPE], read: (config) => readVlanConfig(config, IF_NAME) },
  vrf: { shapes: [VRF_SHAPE], read: readVrfConfig, isChained: true },
};

/** How the configuration of a plugin of that type is read; undefined if it is not a built-in one. */
export function configReading(type: string): ConfigReading | undefined {
  return Object.hasOwn(CONFIG_READINGS, type) ? CONFIG_READINGS[type] : undefined;
}
