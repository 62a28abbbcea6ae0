import { type Cidr, compareIp, type Ip } from "../cni/address.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { Result } from "../cni/result.ts";
import { CURRENT_VERSION, SPEC_VERSIONS } from "../cni/version.ts";
import type { Sysctl } from "../host/ip_batch.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { nsProblem } from "../host/netns.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { isWritable } from "../kernel/ip_lines.ts";
import { linksByAlias, removeLink } from "../kernel/links.ts";
import type { SetLink } from "../kernel/operation.ts";
import { refuseUnknownArgs } from "../plugin/invocation.ts";
import type { Plugin, PluginRequest } from "../plugin/serve.ts";
import { all } from "./all.ts";
import { attachmentComment, attachmentTag, networkTag, type TaggedAttachment } from "./attachment_tag.ts";
import { checkBridge } from "./bridge_check.ts";
import { type BridgeConfig, readBridgeConfig, readBridgeTeardown } from "./bridge_config.ts";
import { removePair } from "./bridge_pair.ts";
import {
  type AddressPlan,
  bridgeAddressOperations,
  containerOperations,
  containerSysctls,
  forwardingSysctls,
  planAddresses,
} from "./bridge_plan.ts";
import { addPort, type BridgePort, cidrsOf, waitForPort } from "./bridge_port.ts";
import { holdBridge, removeEmptyBridge } from "./bridge_removal.ts";
import type { Host } from "./host.ts";
import { addressesIn, keptAddresses, staleAddresses } from "./kept_addresses.ts";
import { addMasquerade, collectMasquerade, removeMasquerade } from "./masquerade.ts";
import { Undo } from "./undo.ts";
import { validAttachments } from "./valid_attachments.ts";

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
  const { ifName, netns } = request;
  for (const word of [ifName, netns, config.bridge]) {
    if (!isWritable(word)) {
      throw new CniError(
        "usage",
        `Cannot use the name ${JSON.stringify(word)}: it has a character that ip does not accept`,
        {
          code: ERROR_CODES.invalidEnvironment,
        },
      );
    }
  }
  const problem = await nsProblem(netns);
  if (problem !== undefined) {
    throw new CniError("usage", `Cannot open network namespace "${netns}": ${problem}`, {
      code: ERROR_CODES.invalidNetns,
    });
  }
  const undo = new Undo(request.log);
  try {
    const comment = await attachmentComment(tagged(request));
    const port = await addHeldPort(request, config, comment);
    undo.push("the interface", (signal) => removeLink(kernelFor(request.run), port.hostName, { signal }));
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

/** An ADD whose port exists. */
interface Attaching {
  readonly request: PluginRequest;
  readonly config: BridgeConfig;
  readonly port: BridgePort;
}

async function addLayer2(attaching: Attaching): Promise<Result> {
  const { request, config } = attaching;
  const { netns, ifName, run, signal } = request;
  await kernelFor(run).apply([{ kind: "set-link", name: ifName, up: true }], {
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
  // Before, not after: an IPAM plugin that fails half-way may still have reserved something.
  undo.push("the addresses", () => request.delegate(config.ipamType, request.config, "DEL"));
  const ipam = await request.delegate(config.ipamType, request.config, "ADD");
  if (ipam === undefined) throw new Error(`the IPAM plugin "${config.ipamType}" returned no result`);
  const plan = planAddresses(ipam, config);
  const inContainer = kernelFor(run).apply(containerOperations(ifName, plan), {
    signal,
    netns,
    sysctls: containerSysctls(ifName, plan.addresses),
    sysctlsOutside: hostSysctls(attaching, plan.bridgeAddresses),
  });
  const masquerade = async () => {
    if (!config.ipMasq) return;
    const backend = config.ipMasqBackend;
    const isOther = (ip: Ip) => !plan.addresses.some((address) => compareIp(address.ip, ip) === 0);
    undo.push(
      "the masquerading",
      (signal) => removeMasquerade({ run: request.run, signal }, tagged(request), isOther, { backend }),
    );
    await addMasquerade(hostOf(request), tagged(request), plan.addresses, { backend });
  };
  // Concurrently: neither needs the other, and both take some time.
  const [interfaces] = await all([
    inContainer.then(() => finishHost(attaching, plan)),
    masquerade(),
  ]);
  const dns = config.dns ?? ipam.dns;
  return {
    cniVersion: CURRENT_VERSION,
    interfaces,
    ips: plan.ips,
    ...(plan.routes.length > 0 ? { routes: plan.routes } : {}),
    ...(dns === undefined ? {} : { dns }),
  };
}

/** The parameters with which the host forwards, and takes no routes from pods. The step in the container sets them too. */
function hostSysctls({ config, port }: Attaching, addresses: readonly Cidr[]): readonly Sysctl[] {
  const ownRoutes = [config.bridge, port.hostName].map((name) => ({
    name: `net/ipv6/conf/${name}/accept_ra`,
    value: "0" as const,
  }));
  return [...ownRoutes, ...forwardingSysctls(addresses)];
}

/** Sets the addresses of the bridge; then checks the links. */
async function finishHost(
  { request, config, port }: Attaching,
  plan: AddressPlan | undefined,
): Promise<NonNullable<Result["interfaces"]>> {
  const host = hostOf(request);
  const needed = plan?.bridgeAddresses ?? [];
  const addressing = bridgeAddressOperations(config, cidrsOf(port.bridge), needed);
  // A MAC address that was set explicitly does not change with the ports; else neighbours would lose the gateway.
  const pinned: readonly SetLink[] = addressing.length === 0
    ? []
    : [{ kind: "set-link", name: config.bridge, mac: port.bridge.mac }];
  const operations = [
    ...addressing,
    ...pinned,
    { kind: "show-link", name: config.bridge },
    { kind: "show-link", name: port.hostName },
  ] as const;
  const answers = await kernelFor(host.run).apply(operations, { signal: host.signal });
  // From the end: the number of changes before the questions varies.
  const [bridge, hostEnd] = answers.slice(-2);
  const veth = await waitForPort(host, hostEnd, port.hostName);
  requireSettings(config, bridge, veth);
  return [
    { name: config.bridge, mac: bridge?.mac ?? "" },
    { name: veth.name, mac: veth.mac },
    { name: request.ifName, mac: port.containerMac, sandbox: request.netns },
  ];
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

/**
 * Frees the address last: it must not go to another container while anything here still uses it. After a failure it stays
 * reserved, and the next DEL repeats all steps.
 */
async function del(request: PluginRequest): Promise<void> {
  const config = readBridgeTeardown(request.config);
  const host = hostOf(request);
  const addresses = recordedAddresses(request);
  const hasRules = config.ipMasq && config.ipamType !== "";
  const isUnknown = hasRules && addresses.length === 0;
  const addressesBefore = isUnknown ? await addressesIn(request.netns, host) : undefined;
  await removePair(host, config.bridge, request);
  if (hasRules) {
    const detached = { ...tagged(request), netns: request.netns, addresses, addressesBefore };
    const isKept = keptAddresses(detached, [request.config], host);
    await removeMasquerade(host, tagged(request), isKept, { backend: config.ipMasqBackend });
  }
  if (request.config.macspoofchk === true) {
    request.log("bridge: rules of macspoofchk, if another plugin made them, are left as they are");
  }
  if (config.ipamType !== "") await request.delegate(config.ipamType, request.config, "DEL");
  if (config.removeEmptyBridge && config.bridge !== "") await removeEmptyBridge(host, config.bridge);
}

async function check(request: PluginRequest): Promise<void> {
  refuseUnknownArgs(request.args, ["MAC"]);
  const config = readBridgeConfig(request.config, request.args);
  if (config.ipamType !== "") await request.delegate(config.ipamType, request.config, "CHECK");
  await checkBridge(hostOf(request), config, request);
}

async function status(request: PluginRequest): Promise<void> {
  const { ipamType } = readBridgeConfig(request.config, request.args);
  if (ipamType !== "") await request.delegate(ipamType, request.config, "STATUS");
}

/** Frees the addresses last, as DEL does. */
async function gc(request: PluginRequest): Promise<void> {
  const { ipamType, ipMasq } = readBridgeTeardown(request.config);
  const host = hostOf(request);
  const kernel = kernelFor(host.run);
  const valid = validAttachments(request.config).map((one) => ({ ...one, network: request.name }));
  const ours = `${await networkTag(request.name)}-`;
  const keep = await Promise.all(valid.map(attachmentTag));
  const isStale = (alias: string) => alias.startsWith(ours) && !keep.some((tag) => alias.startsWith(tag));
  for (const name of await linksByAlias(kernel, isStale, host)) {
    request.log(`bridge: removed ${name}, which no attachment holds`);
    await removeLink(kernel, name, host);
  }
  if (ipMasq && ipamType !== "") {
    const isStale = staleAddresses(request.name, request.config, valid);
    await collectMasquerade(host, request.name, valid, isStale);
  }
  if (ipamType !== "") await request.delegate(ipamType, request.config, "GC");
}

/** The addresses in the result of the ADD; none if it cannot be read, which must not prevent a DEL. */
function recordedAddresses(request: PluginRequest): readonly string[] {
  try {
    return request.prevResult?.ips?.map(({ address }) => address) ?? [];
  } catch {
    return [];
  }
}

function hostOf({ run, signal }: PluginRequest): Host {
  return { run, signal };
}

function tagged({ name, containerId, ifName }: PluginRequest): TaggedAttachment {
  return { network: name, containerId, ifName };
}
