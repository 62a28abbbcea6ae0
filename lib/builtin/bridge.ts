import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { Result } from "../cni/result.ts";
import { CURRENT_VERSION, SPEC_VERSIONS } from "../cni/version.ts";
import type { Sysctl } from "../host/ip_batch.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { removeLink } from "../kernel/links.ts";
import type { SetNeighbor } from "../kernel/neighbor.ts";
import type { Change, SetLink } from "../kernel/operation.ts";
import { refuseUnknownArgs } from "../plugin/invocation.ts";
import { DHCP } from "../plugin/dhcp.ts";
import type { Plugin, PluginRequest } from "../plugin/serve.ts";
import { type Cidr, formatCidr } from "../cni/address.ts";
import { advertisedRouteSysctls } from "./advertised_routes.ts";
import { all } from "./all.ts";
import { checkIpam } from "./check_ipam.ts";
import type { Host } from "./host.ts";
import { attachmentComment } from "./attachment_tag.ts";
import { checkBridge } from "./bridge_check.ts";
import { type BridgeConfig, readBridgeConfig, readBridgeTeardown } from "./bridge_config.ts";
import { ensureVlanGateway, removeUnusedGateway, removeUnusedGateways } from "./vlan_gateway.ts";
import { aliasWith, replaceable } from "./bridge_owner.ts";
import { type AddressPlan, bridgeAddressOperations, hasConflict, planAddresses } from "./bridge_plan.ts";
import { addPort, type BridgePort, cidrsOf, waitForPort } from "./bridge_port.ts";
import { holdBridge, removeEmptyBridge } from "./bridge_removal.ts";
import { containerOperations, containerSysctls, forwardingSysctls } from "./container_plan.ts";
import {
  collectPairs,
  detachPair,
  hostOf,
  layer3Result,
  masqueradeUndone,
  pairStatus,
  requireUsable,
  reserveAddresses,
  tagged,
} from "./pair_attachment.ts";
import { addSpoofCheck, collectSpoofChecks, removeSpoofCheck } from "./mac_spoof_check.ts";
import { removePair } from "./remove_pair.ts";
import { settleAddresses } from "./settle_addresses.ts";
import { Undo } from "./undo.ts";

/**
 * Connects containers to a Linux bridge on the host, as the bridge plugin of the CNI plugins project does: each of the two
 * can check and detach what the other has attached.
 */
export const bridge: Plugin = {
  about: "CNI plugin bridge (podwire)",
  versions: SPEC_VERSIONS,
  verbs: { ADD: add, CHECK: check, DEL: del, STATUS: status, GC: gc },
};

/**
 * Makes the pair first, then gets the address: an IPAM plugin such as dhcp requests one through the interface. If the call
 * fails, it undoes everything except the bridge and its addresses, because other containers may use them already.
 */
async function add(request: PluginRequest): Promise<Result> {
  refuseUnknownArgs(request.args, ["MAC"]);
  const config = readBridgeConfig(request.config, request.args);
  await requireUsable(request, [config.bridge]);
  const undo = new Undo(request.log);
  try {
    const { bridge, vlans: { vlan } } = config;
    // After the port is gone.
    if (vlan !== 0 && config.isGateway) {
      undo.push(
        "the gateway",
        (signal) => removeUnusedGateway({ run: request.run, signal }, { bridge, vlan }),
      );
    }
    const comment = await attachmentComment(tagged(request));
    const port = await addHeldPort(request, config, comment);
    undo.push("the interface", (signal) => removeLink(kernelFor(request.run), port.hostName, { signal }));
    await guardPort(request, config, port, undo);
    const attaching = { request, config, port };
    return await (config.ipamType === "" ? addLayer2(attaching) : addLayer3(attaching, undo));
  } catch (error) {
    await undo.run();
    throw error;
  }
}

async function addHeldPort(
  request: PluginRequest,
  config: BridgeConfig,
  comment: string,
): Promise<BridgePort> {
  const { netns, ifName, signal } = request;
  using _held = config.removeEmptyBridge ? await holdBridge(config.bridge, signal) : undefined;
  return await addPort(hostOf(request), { config, netns, ifName, comment });
}

/** Before the interface is up, so that no frame passes unseen. */
async function guardPort(
  request: PluginRequest,
  { macspoofchk }: BridgeConfig,
  { hostName, containerMac: mac }: BridgePort,
  undo: Undo,
): Promise<void> {
  if (!macspoofchk) return;
  const { containerId, ifName, run } = request;
  undo.push(
    "the rules of macspoofchk",
    (signal) => removeSpoofCheck({ run, signal }, { containerId, ifName }),
  );
  if (await addSpoofCheck(hostOf(request), { containerId, ifName, hostName, mac })) return;
  throw new CniError("not-ready", "Cannot check MAC addresses: nftables does not work here", {
    code: ERROR_CODES.internal,
    details: "install nftables, or set macspoofchk to false",
  });
}

/** An ADD whose port exists. */
interface Attaching {
  readonly request: PluginRequest;
  readonly config: BridgeConfig;
  readonly port: BridgePort;
}

async function addLayer2(attaching: Attaching): Promise<Result> {
  const { request, config } = attaching;
  const { netns, ifName, run, signal } = request;
  const up = config.disableContainerInterface ? undefined : true;
  await kernelFor(run).apply([{ kind: "set-link", name: ifName, up }], {
    netns,
    signal,
    sysctlsOutside: hostSysctls(attaching, []),
  });
  return {
    cniVersion: CURRENT_VERSION,
    interfaces: await finishHost(attaching, undefined),
    ...(config.dns === undefined ? {} : { dns: config.dns }),
  };
}

async function addLayer3(attaching: Attaching, undo: Undo): Promise<Result> {
  const { request, config } = attaching;
  const { netns, ifName, run, signal } = request;
  const ipam = await reserveAddresses(request, config, undo);
  const plan = planAddresses(ipam, config);
  const kept = await advertisedRouteSysctls(hostOf(request), plan.bridgeAddresses);
  // DHCP gives no address of IPv6: what routers advertise is the only way to one then.
  const how = { detectsDuplicates: config.enabledad, takesAdvertised: config.ipamType === DHCP };
  const inContainer = kernelFor(run).apply(containerOperations(ifName, plan, how), {
    signal,
    netns,
    sysctls: containerSysctls(ifName, plan.addresses, how),
    sysctlsOutside: [...kept, ...hostSysctls(attaching, plan.bridgeAddresses)],
  });
  // Concurrently: neither needs the other, and both take some time.
  const [interfaces] = await all([
    inContainer.then(async () => {
      const interfaces = await finishHost(attaching, plan);
      // The search goes over the port, which has to be up.
      if (config.enabledad) await settleAddresses(hostOf(request), netns, ifName, plan.addresses);
      return interfaces;
    }),
    masqueradeUndone(request, config, plan.addresses, undo),
  ]);
  return layer3Result(interfaces, plan, config.dns ?? ipam.dns);
}

/** The parameters with which the host forwards, and takes no routes from pods. The step in the container sets them too. */
function hostSysctls({ config, port }: Attaching, addresses: readonly Cidr[]): readonly Sysctl[] {
  const ownRoutes = [config.bridge, port.hostName].map((name) => ({
    name: `net/ipv6/conf/${name}/accept_ra`,
    value: "0" as const,
  }));
  return [...ownRoutes, ...forwardingSysctls(addresses)];
}

/** Sets the addresses of the bridge, or of the gateway of its VLAN; then checks the links. */
async function finishHost(
  { request, config, port }: Attaching,
  plan: AddressPlan | undefined,
): Promise<NonNullable<Result["interfaces"]>> {
  const host = hostOf(request);
  const needed = plan?.bridgeAddresses ?? [];
  const gateway = await gatewayOf(host, config, port, needed);
  const addressing = await addressGateway(request, config, { gateway, hostName: port.hostName }, needed);
  // A MAC address that was set explicitly does not change with the ports; else neighbours would lose the gateway.
  const pinned: readonly SetLink[] = addressing.length === 0
    ? []
    : [{ kind: "set-link", name: gateway.name, mac: gateway.mac, alias: aliasWith(gateway, needed) }];
  // What the host knows of a former owner of the address would last for seconds.
  const neighbors = (needed.length === 0 ? [] : plan?.addresses ?? []).map(({ ip }): SetNeighbor => ({
    ...{ kind: "set-neighbor", device: gateway.name, ip, mac: port.containerMac },
  }));
  const operations = [
    ...addressing,
    ...pinned,
    ...neighbors,
    { kind: "show-link", name: config.bridge },
    { kind: "show-link", name: port.hostName },
  ] as const;
  const answers = await kernelFor(host.run).apply(operations, { signal: host.signal });
  // From the end: the number of changes before the questions varies.
  const [bridge, hostEnd] = answers.slice(-2);
  // The other end has to be up for that.
  const veth = config.disableContainerInterface && hostEnd !== undefined
    ? hostEnd
    : await waitForPort(host, { known: hostEnd, hostName: port.hostName, log: request.log });
  requireSettings(config, bridge, veth);
  return [
    { name: config.bridge, mac: bridge?.mac ?? "" },
    { name: veth.name, mac: veth.mac },
    { name: request.ifName, mac: port.containerMac, sandbox: request.netns },
    ...(gateway === port.bridge ? [] : [{ name: gateway.name, mac: gateway.mac }]),
  ];
}

/** Plans the addresses of the bridge, or of the gateway of its VLAN; says it if one goes that no port uses any more. */
async function addressGateway(
  request: PluginRequest,
  { forceAddress }: BridgeConfig,
  { gateway, hostName }: { readonly gateway: LinkInfo; readonly hostName: string },
  needed: readonly Cidr[],
): Promise<readonly Change[]> {
  const present = cidrsOf(gateway);
  const device = { device: gateway.name, forceAddress };
  if (gateway.kind !== "bridge" || forceAddress || !hasConflict(present, needed)) {
    return bridgeAddressOperations(device, present, needed);
  }
  const { ports, addresses: unused } = await replaceable(hostOf(request), gateway, hostName);
  const operations = bridgeAddressOperations({ ...device, unused, ports }, present, needed);
  const gone = operations.flatMap((one) => one.kind === "remove-address" ? [formatCidr(one.address)] : []);
  request.log(
    `bridge: "${gateway.name}" has no other port, and ${needed.map(formatCidr).join(" and ")} in place of ${
      gone.join(" and ")
    }`,
  );
  return operations;
}

/** Returns the interface that has the addresses of the gateways: the bridge, unless they are in a VLAN. */
async function gatewayOf(
  host: Host,
  { bridge, vlans: { vlan } }: BridgeConfig,
  port: BridgePort,
  needed: readonly Cidr[],
): Promise<LinkInfo> {
  if (vlan === 0 || needed.length === 0) return port.bridge;
  return await ensureVlanGateway(host, { bridge, vlan }, port.bridge.mtu);
}

/** Fails if the kernel or a network manager has reverted a setting, which must not look like success. */
function requireSettings(config: BridgeConfig, bridge: LinkInfo | undefined, veth: LinkInfo): void {
  if (config.promiscMode && bridge?.isPromiscuous !== true) {
    throw new Error(`Cannot use bridge "${config.bridge}": it is not in promiscuous mode`);
  }
  if (config.mtu !== 0 && veth.mtu !== config.mtu) {
    throw new Error(`Cannot use bridge port "${veth.name}": its MTU is ${veth.mtu}, not ${config.mtu}`);
  }
}

/** See {@linkcode detachPair}. */
async function del(request: PluginRequest): Promise<void> {
  const config = readBridgeTeardown(request.config);
  const host = hostOf(request);
  await detachPair(
    request,
    config,
    () => removePair(host, request, ({ master }) => config.bridge !== "" && master === config.bridge),
  );
  if (config.macspoofchk) await removeSpoofCheck(host, request);
  const { bridge, vlan } = config;
  if (vlan !== 0 && bridge !== "") await removeUnusedGateway(host, { bridge, vlan });
  if (config.removeEmptyBridge && config.bridge !== "") await removeEmptyBridge(host, config.bridge);
}

async function gc(request: PluginRequest): Promise<void> {
  const config = readBridgeTeardown(request.config);
  await collectPairs(request, config);
  const host = hostOf(request);
  for (const gateway of await removeUnusedGateways(host, config.bridge)) {
    request.log(`bridge: removed ${gateway}, the gateway of a VLAN that no port is in`);
  }
  if (config.macspoofchk) await collectSpoofChecks(host);
}

async function check(request: PluginRequest): Promise<void> {
  refuseUnknownArgs(request.args, ["MAC"]);
  const config = readBridgeConfig(request.config, request.args);
  await checkIpam(request, config.ipamType);
  await checkBridge(hostOf(request), config, request);
}

async function status(request: PluginRequest): Promise<void> {
  await pairStatus(request, readBridgeConfig(request.config, request.args));
}
