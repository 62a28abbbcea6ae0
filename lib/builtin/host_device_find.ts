import { basename } from "@std/path/posix";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { listDir, realPath, statOf } from "../host/file.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink } from "../kernel/links.ts";
import type { Host } from "./host.ts";
import type { NamedDevice } from "./host_device_config.ts";

/** The drivers by which a program uses a device without the kernel, as with DPDK. Then it is not a network interface. */
const USERSPACE_DRIVERS: readonly string[] = ["vfio-pci", "uio_pci_generic", "igb_uio"];

/** Where the kernel shows devices. */
const SYS = "/sys";

/**
 * Returns the interface that a configuration names; undefined if a program uses the device without the kernel.
 *
 * Requires `--allow-read` for `/sys`, unless the configuration has a name or a hardware address.
 *
 * @throws {CniError} With the code 7, if there is none.
 */
export async function findHostDevice(
  host: Host,
  { deviceId, ...named }: NamedDevice,
  sys: string = SYS,
): Promise<LinkInfo | undefined> {
  const pci = `${sys}/bus/pci/devices`;
  const auxiliary = `${sys}/bus/auxiliary/devices`;
  const isOfPci = deviceId !== "" && await statOf(`${pci}/${deviceId}`) !== undefined;
  const isAuxiliary = deviceId !== "" && !isOfPci && await statOf(`${auxiliary}/${deviceId}`) !== undefined;
  if (deviceId !== "" && !isOfPci && !isAuxiliary) {
    throw notFound(`runtimeConfig.deviceID: "${deviceId}" is on no PCI or auxiliary bus of this machine`);
  }
  const pciBusId = isOfPci ? deviceId : isAuxiliary ? "" : named.pciBusId;
  if (pciBusId !== "" && await hasUserspaceDriver(`${pci}/${pciBusId}`, pciBusId)) return undefined;
  if (named.device !== "") return await byName(host, named.device);
  if (named.hwaddr !== "") return await byHardwareAddress(host, named.hwaddr);
  if (named.kernelpath !== "") return await byDirectory(host, `${named.kernelpath}/net`, named.kernelpath);
  if (pciBusId !== "") return await byDirectory(host, await pciDirectory(`${pci}/${pciBusId}`), pciBusId);
  return await byDirectory(host, `${auxiliary}/${deviceId}/net`, deviceId);
}

async function byName({ run, signal }: Host, name: string): Promise<LinkInfo> {
  const link = await findLink(kernelFor(run), name, { signal });
  if (link === undefined) throw notFound(`the host has no interface "${name}"`);
  return link;
}

/** Others may have the address of a device too, such as those that are on it. */
async function byHardwareAddress({ run, signal }: Host, mac: string): Promise<LinkInfo> {
  const [links] = await kernelFor(run).apply([{ kind: "show-links", addresses: true }], { signal });
  const having = links.filter((link) => link.mac.toLowerCase() === mac);
  const link = having.find(({ kind }) => kind === "") ?? having[0];
  if (link === undefined) throw notFound(`no interface of the host has the MAC address ${mac}`);
  return link;
}

async function byDirectory(host: Host, dir: string, device: string): Promise<LinkInfo> {
  const [name] = await listDir(dir);
  if (name === undefined) throw notFound(`the device "${device}" has no network interface on the host`);
  return await byName(host, name);
}

/** A device of a virtual machine has its interface one level below. */
async function pciDirectory(device: string): Promise<string> {
  const names = await listDir(device);
  const virtio = names.find((name) => name.startsWith("virtio"));
  return names.includes("net") || virtio === undefined ? `${device}/net` : `${device}/${virtio}/net`;
}

async function hasUserspaceDriver(device: string, id: string): Promise<boolean> {
  try {
    return USERSPACE_DRIVERS.includes(basename(await realPath(`${device}/driver`)));
  } catch {
    throw notFound(`the PCI device "${id}" does not exist, or has no driver`);
  }
}

function notFound(msg: string): CniError {
  return new CniError("config", `Cannot use host-device: ${msg}`, { code: ERROR_CODES.invalidNetworkConfig });
}
