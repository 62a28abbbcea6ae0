import { type Cidr, type Ip, parseCidr } from "../cni/address.ts";
import { FAMILIES, type Family } from "../cni/default_route.ts";
import { CniError } from "../cni/error.ts";
import type { Result } from "../cni/result.ts";
import { SPEC_VERSIONS } from "../cni/version.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { KernelError, SysctlError } from "../kernel/kernel.ts";
import type { Plugin, PluginRequest } from "../plugin/serve.ts";
import { attachedAddresses } from "./attached_addresses.ts";
import { firewalldRuns, refuseStrictForwarding } from "./firewalld.ts";
import { type Forwarding, type WantedForwarding, wantedPorts } from "./forwarding.ts";
import { mayHavePorts } from "./left_ports.ts";
import { wrong } from "./link_check.ts";
import { hostOf, tagged } from "./pair_attachment.ts";
import {
  addForwarding,
  collectForwarding,
  findForwardingProblem,
  removeForwarding,
  requireBackend,
} from "./port_forwarding.ts";
import { portsOfFamily } from "./port_range.ts";
import { readPortmapConfig, readPortsToRemove } from "./portmap_config.ts";
import { requirePrevResult } from "./prev_result.ts";
import type { RuleBatch } from "./rule_batch.ts";
import type { RepairRules } from "./rule_repair.ts";
import { forgetFlowsBefore, forgetFlowsOf } from "./stale_flows.ts";
import { Undo } from "./undo.ts";
import { validTagged } from "./valid_attachments.ts";

/**
 * Leads ports of the host to a container, as the portmap plugin of the CNI plugins project does: each of the two can check
 * and remove what the other has made. See {@linkcode addForwarding} for the choice between iptables and nftables.
 */
export const portmap: Plugin = {
  about: "CNI plugin portmap (podwire)",
  versions: SPEC_VERSIONS,
  verbs: { ADD: add, CHECK: check, DEL: del, STATUS: status, GC: gc },
};

async function add(request: PluginRequest): Promise<Result> {
  const config = readPortmapConfig(request.config);
  const prevResult = requirePrevResult(request);
  if (config.ports.length === 0) return prevResult;
  const wanted = { config, targets: targetsIn(prevResult, request) };
  reportIgnored(request, wanted);
  if (wanted.targets.size === 0) return prevResult;
  const host = hostOf(request);
  if (await firewalldRuns(host)) await refuseStrictForwarding(host);
  const undo = new Undo(request.log);
  try {
    // Before, not after: a back end that fails half-way may have made the rules of one family.
    undo.push("the port mappings", async (signal) => {
      await removeForwarding({ run: request.run, signal }, tagged(request), { addresses: ipsOf(wanted) });
    });
    await addForwarding(host, tagged(request), wanted);
    await forgetFlowsBefore(host, wanted, request.log);
    await routeLocalnet(request, wanted);
  } catch (error) {
    await undo.run();
    throw error;
  }
  return prevResult;
}

/** The first address of each family that the result has for the interface, or for none by name. */
function targetsIn(
  { ips = [], interfaces = [] }: Result,
  { ifName }: PluginRequest,
): ReadonlyMap<Family, Cidr> {
  const targets = new Map<Family, Cidr>();
  for (const { address, interface: index } of ips) {
    const owner = index === undefined ? undefined : interfaces[index];
    if (owner !== undefined && (owner.name !== ifName || !owner.sandbox)) continue;
    const cidr = parseCidr(address);
    if (cidr !== undefined && !targets.has(cidr.ip.family)) targets.set(cidr.ip.family, cidr);
  }
  return targets;
}

function ipsOf({ targets }: WantedForwarding): readonly Ip[] {
  return [...targets.values()].map(({ ip }) => ip);
}

/** Says what of the request has no effect. */
function reportIgnored({ log, ifName }: PluginRequest, { config, targets }: WantedForwarding): void {
  const { ports, requested } = config;
  const merged = requested - ports.reduce((sum, { count }) => sum + count, 0);
  if (merged > 0) log(`portmap: ${merged} of the ${requested} port mappings say the same as others`);
  if (targets.size === 0) log(`portmap: "${ifName}" has no address that ports could lead to`);
  for (const family of FAMILIES) {
    const isLost = ports.some(({ hostIp, family: only }) => (hostIp?.family ?? only) === family);
    if (targets.size === 0 || targets.has(family) || !isLost) continue;
    log(`portmap: "${ifName}" has no IPv${family} address: the port mappings of IPv${family} have no effect`);
  }
}

/**
 * Lets connections from 127.0.0.1 leave through the interface that leads to the container: the kernel would drop them as
 * impossible. The value is read first, because /proc/sys may be read-only where it is right already.
 */
async function routeLocalnet(request: PluginRequest, wanted: WantedForwarding): Promise<void> {
  const sysctl = await localnetSysctl(request, wanted);
  if (sysctl === undefined) return;
  const kernel = kernelFor(request.run);
  const { signal } = request;
  const before = await kernel.readSysctls([sysctl, LOCALNET_OF_ALL], { signal });
  if ([...before.values()].includes("1")) return;
  try {
    await kernel.writeSysctls(new Map([[sysctl, "1"]]), { signal });
  } catch (error) {
    if (!(error instanceof SysctlError)) throw error;
    const msg =
      `Cannot lead 127.0.0.1 to the container: the kernel parameter "${sysctl}" has to be 1: ${error.why}`;
    throw new CniError("io", msg, {
      hint: `set it or ${LOCALNET_OF_ALL} beforehand, or set snat to false`,
      cause: error,
    });
  }
}

/** As if it were set for each interface. */
const LOCALNET_OF_ALL = "net/ipv4/conf/all/route_localnet";

/** The kernel parameter that lets 127.0.0.1 reach the container; undefined if nothing asks for it. */
async function localnetSysctl(
  { run, signal }: PluginRequest,
  wanted: WantedForwarding,
): Promise<string | undefined> {
  const target = wanted.targets.get(4);
  if (!wanted.config.snat || target === undefined || wantedPorts(wanted, 4).length === 0) return undefined;
  try {
    const [device] = await kernelFor(run).apply([{ kind: "find-route", to: target.ip }], { signal });
    return `net/ipv4/conf/${device}/route_localnet`;
  } catch (error) {
    // An address that this host does not reach, as with macvlan.
    if (error instanceof KernelError) return undefined;
    throw error;
  }
}

async function check(request: PluginRequest): Promise<void> {
  const wanted = forwardingIn(request);
  if (wanted === undefined) return;
  const problem = await findForwardingProblem(hostOf(request), tagged(request), wanted) ??
    await findLocalnetProblem(request, wanted);
  if (problem !== undefined) throw wrong(problem);
}

/** What the ADD of a container has made; undefined if that is nothing. */
function forwardingIn(request: PluginRequest): WantedForwarding | undefined {
  const config = readPortmapConfig(request.config);
  const prevResult = requirePrevResult(request);
  if (config.ports.length === 0) return undefined;
  const targets = targetsIn(prevResult, request);
  return targets.size === 0 ? undefined : { config, targets };
}

async function findLocalnetProblem(
  request: PluginRequest,
  wanted: WantedForwarding,
  batch?: RuleBatch | undefined,
): Promise<string | undefined> {
  const { run, signal } = request;
  const read = async (name: string) => (await kernelFor(run).readSysctls([name], { signal })).get(name);
  // Most attachments of a batch have the same device.
  const valueOf = (name: string) => batch?.once(`sysctl ${name}`, () => read(name)) ?? read(name);
  const sysctl = await localnetSysctl(request, wanted);
  if (sysctl === undefined) return undefined;
  const value = await valueOf(sysctl);
  if (value === "1" || await valueOf(LOCALNET_OF_ALL) === "1") return undefined;
  return `the kernel parameter "${sysctl}" is ${value === undefined ? "not there" : `"${value}"`}, not "1"`;
}

/** Puts back the rules of an attachment, see {@linkcode RepairRules}. */
export const repairPorts: RepairRules = async (request, host) => {
  const wanted = forwardingIn(request);
  if (wanted === undefined) return [];
  const problem = await findForwardingProblem(host, tagged(request), wanted);
  if (problem !== undefined) {
    await addForwarding(host, tagged(request), wanted);
    // Those of TCP go on as they are. A client of UDP that sent on meanwhile would never reach the container.
    host.batch.after(() => forgetFlowsBefore(hostOf(request), wanted, request.log));
  }
  const closed = await findLocalnetProblem(request, wanted, host.batch);
  if (closed !== undefined) host.batch.after(() => routeLocalnet(request, wanted));
  return [problem, closed].filter((one) => one !== undefined);
};

/**
 * Removes the rules of an attachment, by its mark: whatever has become of the namespace, and whichever back end has them. Of
 * the configuration only the name of the network has to be valid.
 */
async function del(request: PluginRequest): Promise<void> {
  const ports = readPortsToRemove(request.config);
  const host = hostOf(request);
  if (ports.length === 0 && !await mayHavePorts(host, tagged(request))) return;
  const addresses = await attachedAddresses(request);
  const found = await removeForwarding(host, tagged(request), { addresses });
  // The rules first: a packet between the two would begin a connection that nothing ends.
  const named = addresses.flatMap((target): readonly Forwarding[] =>
    portsOfFamily(ports, target.family).map((port) => ({ port, target }))
  );
  await forgetFlowsOf(host, [...found, ...named], request.log);
}

async function status(request: PluginRequest): Promise<void> {
  await requireBackend(hostOf(request), readPortmapConfig(request.config).backend);
}

async function gc(request: PluginRequest): Promise<void> {
  const valid = validTagged(request);
  await collectForwarding(hostOf(request), request.name, valid);
}
