import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import type { Dns } from "../cni/result.ts";
import { lenient, openObjectOf, ValidationError } from "../cni/shape.ts";
import { FLAG, isMac, nonEmpty, readConfig, section, TEXT } from "./config_shape.ts";
import { PAIR_MEMBERS } from "./pair_config.ts";

/** How a configuration names a device; the first one that is given counts. */
export interface NamedDevice {
  readonly device: string;
  /** In lower case. */
  readonly hwaddr: string;
  /** The directory of the device below `/sys/devices`. */
  readonly kernelpath: string;
  readonly pciBusId: string;
  /** The ID that a device plugin gave: on the PCI bus or on the auxiliary bus. */
  readonly deviceId: string;
}

/** Configuration of the host-device plugin. */
export interface HostDeviceConfig extends NamedDevice {
  /** Empty if there are no addresses. */
  readonly ipamType: string;
  /** Whether the device keeps the addresses and routes that it has on the host. */
  readonly useInterfaceNetwork: boolean;
  readonly dns: Dns | undefined;
}

/** What a DEL and a GC need; a mistake in the rest must not prevent them. */
export type HostDeviceTeardown = Pick<HostDeviceConfig, "device" | "ipamType">;

const DEVICES = "/sys/devices/";
/** A name in a directory of the kernel. */
const PLAIN = /^(?!\.{1,2}$)[^/\0]+$/;

const ID = nonEmpty((name, path) => {
  if (!PLAIN.test(name)) throw new ValidationError(path, `is not the ID of a device: ${name}`);
  return name;
});

const HARDWARE_ADDRESS = nonEmpty((text, path) => {
  const mac = text.replaceAll("-", ":").toLowerCase();
  if (!isMac(mac)) throw new ValidationError(path, `is not a MAC address: ${text}`);
  return mac;
});

const KERNEL_PATH = nonEmpty((path, at) => {
  const isBelow = path.startsWith(DEVICES) && !path.split("/").includes("..");
  if (!isBelow) throw new ValidationError(at, `is not a path below ${DEVICES}: ${path}`);
  return path;
});

/** What the plugin reads. */
export const HOST_DEVICE_SHAPE = openObjectOf({}, {
  device: TEXT,
  hwaddr: HARDWARE_ADDRESS,
  kernelpath: KERNEL_PATH,
  pciBusID: ID,
  runtimeConfig: section({ deviceID: ID }),
  useInterfaceNetwork: FLAG,
  ipam: section({ type: TEXT }),
  dns: PAIR_MEMBERS.dns,
});

const TEARDOWN = openObjectOf({}, { device: lenient(TEXT), ipam: section({ type: TEXT }) });

/**
 * Reads and validates the configuration.
 *
 * @throws {CniError} With the code 7.
 */
export function readHostDeviceConfig(config: JsonObject): HostDeviceConfig {
  const { device = "", hwaddr = "", kernelpath = "", pciBusID = "", ...more } = readConfig(
    HOST_DEVICE_SHAPE,
    config,
  );
  const deviceId = more.runtimeConfig?.deviceID ?? "";
  const ipamType = more.ipam?.type ?? "";
  const { useInterfaceNetwork = false, dns } = more;
  if ([device, hwaddr, kernelpath, pciBusID, deviceId].every((name) => name === "")) {
    throw refused(
      `the configuration names no device: it needs "device", "hwaddr", "kernelpath" or "pciBusID"`,
    );
  }
  if (useInterfaceNetwork && ipamType !== "") {
    throw refused(
      "useInterfaceNetwork: the device keeps its addresses, and ipam.type would give it others",
    );
  }
  return { device, hwaddr, kernelpath, pciBusId: pciBusID, deviceId, ipamType, useInterfaceNetwork, dns };
}

/**
 * Reads the part of the configuration that a DEL and a GC need.
 *
 * @throws {CniError} With the code 7.
 */
export function readHostDeviceTeardown(config: JsonObject): HostDeviceTeardown {
  const { device = "", ipam } = readConfig(TEARDOWN, config);
  return { device, ipamType: ipam?.type ?? "" };
}

function refused(msg: string): CniError {
  return new CniError("config", msg, { code: ERROR_CODES.invalidNetworkConfig });
}
