import type { Dns, IpConfig, Result } from "../cni/result.ts";
import { CURRENT_VERSION, SPEC_VERSIONS } from "../cni/version.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import type { Plugin, PluginRequest } from "../plugin/serve.ts";
import { checkIpam } from "./check_ipam.ts";
import { containerOperations, type ContainerPlan, enableIpv6Sysctls, needCidr } from "./container_plan.ts";
import { freeAddresses, freeThroughLink } from "./free_addresses.ts";
import { checkHostDevice } from "./host_device_check.ts";
import { type HostDeviceConfig, readHostDeviceConfig, readHostDeviceTeardown } from "./host_device_config.ts";
import { findHostDevice } from "./host_device_find.ts";
import { giveBack, lend } from "./host_device_move.ts";
import { networkOf } from "./host_device_network.ts";
import { lentDevices, readLentDevice, removeLentDevice } from "./host_device_record.ts";
import { hostOf, requireUsable, reserveAddresses } from "./pair_attachment.ts";
import { Undo } from "./undo.ts";
import { validAttachments } from "./valid_attachments.ts";

/**
 * Moves a device of the host into a container, and back, as the host-device plugin of the CNI plugins project does: each of
 * the two can check and give back what the other has moved.
 */
export const hostDevice: Plugin = {
  about: "CNI plugin host-device (podwire)",
  versions: SPEC_VERSIONS,
  verbs: { ADD: add, CHECK: check, DEL: del, STATUS: status, GC: gc },
};

async function add(request: PluginRequest): Promise<Result> {
  const config = readHostDeviceConfig(request.config);
  await requireUsable(request, [config.device]);
  const device = await findHostDevice(hostOf(request), config);
  const undo = new Undo(request.log);
  try {
    if (device === undefined) return await reserveOnly(request, config, undo);
    return await attach(request, config, device, undo);
  } catch (error) {
    await undo.run();
    throw error;
  }
}

/** The program that uses the device takes its addresses from the result. */
async function reserveOnly(request: PluginRequest, config: HostDeviceConfig, undo: Undo): Promise<Result> {
  const { ifName: name, netns: sandbox } = request;
  const plan = config.ipamType === "" ? undefined : planOf(await reserveAddresses(request, config, undo));
  return resultOf({ name, sandbox }, plan, config.dns);
}

async function attach(
  request: PluginRequest,
  config: HostDeviceConfig,
  device: LinkInfo,
  undo: Undo,
): Promise<Result> {
  const { ifName: name, netns, run, signal } = request;
  const own = config.useInterfaceNetwork ? await networkOf(hostOf(request), device, name) : undefined;
  const { mac } = await lend(request, device, undo);
  const plan = config.ipamType === "" ? own?.plan : planOf(await reserveAddresses(request, config, undo));
  const operations = plan === undefined
    ? [{ kind: "set-link", name, up: true } as const]
    : own?.operations ?? containerOperations(name, plan);
  const sysctls = plan === undefined ? [] : enableIpv6Sysctls(name, plan.addresses);
  await kernelFor(run).apply(operations, { netns, signal, sysctls });
  return resultOf({ name, mac, sandbox: netns }, plan, config.dns);
}

function planOf({ ips = [], routes = [] }: Pick<Result, "ips" | "routes">): ContainerPlan {
  if (ips.length === 0) throw new Error("IPAM plugin returned missing IP config");
  return {
    ips: ips.map((ip): IpConfig => ({ ...ip, interface: 0 })),
    routes,
    addresses: ips.map(({ address }) => needCidr(address)),
  };
}

/** That of the IPAM plugin does not count, as in the original. */
function resultOf(
  device: NonNullable<Result["interfaces"]>[number],
  plan: ContainerPlan | undefined,
  dns: Dns | undefined,
): Result {
  return {
    cniVersion: CURRENT_VERSION,
    interfaces: [device],
    ...(plan === undefined ? {} : { ips: plan.ips }),
    ...(plan === undefined || plan.routes.length === 0 ? {} : { routes: plan.routes }),
    ...(plan === undefined || dns === undefined ? {} : { dns }),
  };
}

async function check(request: PluginRequest): Promise<void> {
  const config = readHostDeviceConfig(request.config);
  await checkIpam(request, config.ipamType);
  await checkHostDevice(request);
}

/** Gives the device back first: its address must not go to another container while it has it. */
async function del(request: PluginRequest): Promise<void> {
  const { device, ipamType } = readHostDeviceTeardown(request.config);
  const lent = await readLentDevice(request);
  const from = { ...lent, netns: request.netns, ifName: request.ifName };
  await freeThroughLink(request, ipamType);
  const wasMoved = await giveBack(hostOf(request), from, request.log, { device, mac: recordedMac(request) });
  if (wasMoved && request.config.useInterfaceNetwork === true) {
    request.log("host-device: the network manager of the host has to give the device its addresses again");
  }
  await removeLentDevice(request);
  await freeAddresses(request, ipamType);
}

/** The MAC address in the result of the ADD; empty if it cannot be read, which must not prevent a DEL. */
function recordedMac(request: PluginRequest): string {
  try {
    return request.prevResult?.interfaces?.find(({ name }) => name === request.ifName)?.mac ?? "";
  } catch {
    return "";
  }
}

/** Whether the device is on the host does not count: it is not while a container has it. */
async function status(request: PluginRequest): Promise<void> {
  const { ipamType } = readHostDeviceConfig(request.config);
  if (ipamType !== "") await request.delegate(ipamType, request.config, "STATUS");
}

async function gc(request: PluginRequest): Promise<void> {
  const { ipamType } = readHostDeviceTeardown(request.config);
  const valid = validAttachments(request.config);
  for (const lent of await lentDevices()) {
    const isValid = valid.some(({ containerId, ifName }) =>
      containerId === lent.containerId && ifName === lent.ifName
    );
    if (lent.network !== request.name || isValid) continue;
    if (await giveBack(hostOf(request), lent, request.log)) {
      request.log(`host-device: gave "${lent.name}" back, which no attachment holds`);
    }
    await removeLentDevice(lent);
  }
  if (ipamType !== "") await request.delegate(ipamType, request.config, "GC");
}
