import { formatIp, type Ip } from "../cni/address.ts";
import { FAMILIES } from "../cni/default_route.ts";
import { CniError, ERROR_CODES, isCniError } from "../cni/error.ts";
import type { Result } from "../cni/result.ts";
import { atLeast, SPEC_VERSIONS } from "../cni/version.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import type { Plugin, PluginRequest } from "../plugin/serve.ts";
import { all } from "./all.ts";
import { attachmentComment, attachmentTag, staleTags } from "./attachment_tag.ts";
import { attachedAddresses } from "./attached_addresses.ts";
import { type FirewallConfig, readFirewallConfig, readFirewallTeardown } from "./firewall_config.ts";
import { checkRules, makeRules, openersOf, removeRules, worksHere } from "./firewall_rules.ts";
import { addressesOfResult, bridgeOfResult, type FirewallNeeds } from "./firewall_needs.ts";
import { addSource, firewalldRuns, hasSource, refuseStrictForwarding, removeSource } from "./firewalld.ts";

import { closedChains, forwardChains } from "./forward_chains.ts";
import { closedLegacyChains, isLegacy } from "./legacy_chains.ts";
import { wrong } from "./link_check.ts";
import { hostOf, tagged } from "./pair_attachment.ts";
import { requirePrevResult } from "./prev_result.ts";
import type { BatchHost, RepairRules } from "./rule_repair.ts";
import { Undo } from "./undo.ts";
import { validTagged } from "./valid_attachments.ts";

/**
 * Lets the packets of a container pass where the machine stops forwarded packets, and keeps bridges apart, as the firewall
 * plugin of the CNI plugins project does: each of the two can check and remove what the other has made.
 */
export const firewall: Plugin = {
  about: "CNI plugin firewall (podwire)",
  // As the original: results of older versions have no list of interfaces, and their verbs no CHECK.
  versions: SPEC_VERSIONS.filter((version) => atLeast(version, "0.4.0")),
  verbs: { ADD: add, CHECK: check, DEL: del, STATUS: status, GC: gc },
};

async function add(request: PluginRequest): Promise<Result> {
  const config = readFirewallConfig(request.config);
  const result = requirePrevResult(request);
  if (config.backend === "none") return result;
  const needs = await needsOf(request, config, result);
  if (needs.addresses.length === 0) return result;
  const undo = new Undo(request.log);
  try {
    const isZoned = await enterZone(request, config, needs.addresses, undo);
    undo.push("the rules", (signal) => {
      const isOwn = (comment: string) => comment === needs.comment;
      const { addresses, dropsInvalid } = needs;
      return removeRules({ run: request.run, signal }, { isOwn, addresses, dropsInvalid });
    });
    const closed = await makeRules(hostOf(request), needs, { backend: config.backend, isZoned });
    for (const chain of closed) {
      request.log(
        `firewall: warning: the chain ${chain} stops what it does not know, and is not opened`,
      );
    }
    await warnOfBridge(request, needs);
    return result;
  } catch (error) {
    await undo.run();
    throw error;
  }
}

/** Says it if the machine lets packets between two ports of one bridge pass without a look at the rules. */
async function warnOfBridge(request: PluginRequest, { addresses, isolation }: FirewallNeeds): Promise<void> {
  if (!isolation?.isWithin) return;
  const names = FAMILIES.filter((family) => addresses.some((ip) => ip.family === family))
    .map((family) => `net/bridge/bridge-nf-call-${family === 4 ? "iptables" : "ip6tables"}`);
  const values = await kernelFor(request.run).readSysctls(names, { signal: request.signal });
  for (const name of names.filter((name) => values.get(name) !== "1")) {
    request.log(
      `firewall: warning: the sysctl ${name} is not 1: containers on "${isolation.bridge}" reach each other; ` +
        'set it, or "portIsolation" of the bridge plugin',
    );
  }
}

/**
 * Puts the addresses into the zone, if firewalld is requested, or runs. Returns false if other rules are needed: a caller that
 * did not request firewalld may lack the permission to use it.
 */
async function enterZone(
  request: PluginRequest,
  { backend, zone, publishesPorts }: FirewallConfig,
  addresses: readonly Ip[],
  undo: Undo,
): Promise<boolean> {
  const host = hostOf(request);
  if (!await usesFirewalld(request, backend)) return false;
  if (publishesPorts) await refuseStrictForwarding(host);
  for (const ip of addresses) {
    try {
      if (!await addSource(host, zone, ip)) continue;
    } catch (error) {
      if (backend !== undefined || !isCniError(error, "permission")) throw error;
      request.log(`firewall: ${error.msg}; iptables or nftables are used`);
      return false;
    }
    undo.push("the zone", (signal) => removeSource({ run: request.run, signal }, zone, ip));
  }
  return true;
}

async function usesFirewalld(
  request: PluginRequest,
  backend: FirewallConfig["backend"],
): Promise<boolean> {
  return backend === "firewalld" || (backend === undefined && await firewalldRuns(hostOf(request)));
}

async function check(request: PluginRequest): Promise<void> {
  const config = readFirewallConfig(request.config);
  const result = requirePrevResult(request);
  if (config.backend === "none") return;
  const needs = await needsOf(request, config, result);
  if (needs.addresses.length === 0) return;
  const isZoned = await checkZone(request, config, needs.addresses);
  await checkRules(hostOf(request), needs, { backend: config.backend, isZoned });
}

async function checkZone(
  request: PluginRequest,
  { backend, zone }: FirewallConfig,
  addresses: readonly Ip[],
): Promise<boolean> {
  if (!await usesFirewalld(request, backend)) return false;
  for (const ip of addresses) {
    try {
      if (await hasSource(hostOf(request), zone, ip)) continue;
    } catch (error) {
      if (backend !== undefined || !isCniError(error, "permission")) throw error;
      return false;
    }
    throw wrong(`an address of the container is not in zone "${zone}" of firewalld any more`);
  }
  return true;
}

/**
 * Removes the rules from all backends, because another one may have made them earlier. Without the result of the ADD the
 * addresses are those that the interface has, or that host-local keeps for it.
 */
async function del(request: PluginRequest): Promise<void> {
  const { backend, zone, ingressPolicy, dropsInvalid } = readFirewallTeardown(request.config);
  if (backend === "none") return;
  const host = hostOf(request);
  const addresses = await attachedAddresses(request);
  const tag = await attachmentTag(tagged(request));
  const names = hostInterfaces(request);
  await all([
    removeRules(host, {
      isOwn: (comment) => comment.startsWith(tag),
      addresses,
      dropsInvalid,
      ...(ingressPolicy === "open" ? {} : {
        isOwnLink: ({ name, alias }) => names.includes(name) || alias.startsWith(tag),
      }),
    }),
    leaveZone(request, backend, zone, addresses),
  ]);
}

async function leaveZone(
  request: PluginRequest,
  backend: FirewallConfig["backend"],
  zone: string,
  addresses: readonly Ip[],
): Promise<void> {
  const host = hostOf(request);
  const mayBeThere = backend === undefined || backend === "firewalld";
  if (addresses.length === 0 || !mayBeThere || !await firewalldRuns(host)) return;
  for (const ip of addresses) {
    try {
      await removeSource(host, zone, ip);
    } catch (error) {
      // It could not put the address there either.
      if (backend !== undefined || !isCniError(error, "permission")) throw error;
      return;
    }
  }
}

/** The interfaces of the attachment on the host. */
function hostInterfaces(request: PluginRequest): readonly string[] {
  try {
    return request.prevResult?.interfaces?.filter(({ sandbox }) => !sandbox).map(({ name }) => name) ?? [];
  } catch {
    // A result that cannot be read must not prevent a DEL.
    return [];
  }
}

/**
 * Removes the rules of all other attachments of the network, and the isolation of bridges without containers. Sources in zones
 * of firewalld stay: nothing says whose they are.
 */
async function gc(request: PluginRequest): Promise<void> {
  const { backend, ingressPolicy, dropsInvalid } = readFirewallTeardown(request.config);
  if (backend === "none") return;
  await removeRules(hostOf(request), {
    isOwn: await staleTags(request.name, validTagged(request)),
    addresses: [],
    dropsInvalid,
    ...(ingressPolicy === "open" ? {} : { isOwnLink: () => false }),
  });
}

async function status(request: PluginRequest): Promise<void> {
  const { backend } = readFirewallConfig(request.config);
  if (backend === "none") return;
  const host = hostOf(request);
  const [hasFirewalld, works, chains, legacy] = await all([
    firewalldRuns(host),
    worksHere(host, backend),
    forwardChains(host),
    closedLegacyChains(host, FAMILIES),
  ]);
  if (backend === "firewalld" && !hasFirewalld) throw notReady("firewalld does not run here");
  const isZoned = backend !== "iptables" && backend !== "nftables" && hasFirewalld;
  if (works === undefined && !isZoned) {
    throw notReady(
      backend === undefined ? "neither iptables nor nftables works here" : `${backend} does not work here`,
    );
  }
  // Before the first container the older kind of iptables has no rule of the plugin even where it is the one in use.
  const others = legacy.length > 0 && await isLegacy(host) ? [] : legacy;
  const closed = [...closedChains(chains, openersOf(works, { isZoned })), ...others];
  if (closed.length === 0) return;
  throw notReady(`the chain ${closed.join(" and the chain ")} stops the packets of containers`);
}

function notReady(msg: string): CniError {
  return new CniError("not-ready", msg, { code: ERROR_CODES.pluginNotAvailable });
}

async function needsOf(
  request: PluginRequest,
  { adminChain, ingressPolicy, dropsInvalid }: FirewallConfig,
  result: Result,
): Promise<FirewallNeeds> {
  return {
    comment: await attachmentComment(tagged(request)),
    addresses: addressesOfResult(result),
    adminChain,
    dropsInvalid,
    isolation: ingressPolicy === "open"
      ? undefined
      : { bridge: bridgeOfResult(result, ingressPolicy), isWithin: ingressPolicy === "isolated" },
  };
}

/** Puts back the rules of an attachment, see {@linkcode RepairRules}. */
export const repairFirewall: RepairRules = async (request, host) => {
  const config = readFirewallConfig(request.config);
  const result = requirePrevResult(request);
  if (config.backend === "none") return [];
  const needs = await needsOf(request, config, result);
  if (needs.addresses.length === 0) return [];
  const { isZoned, missing } = await repairZone(request, host, config, needs.addresses);
  const options = { backend: config.backend, isZoned };
  try {
    await checkRules(host, needs, options);
    return missing;
  } catch (error) {
    if (!isCniError(error, "not-found")) throw error;
    await makeRules(host, needs, options);
    return [...missing, error.msg];
  }
};

async function repairZone(
  request: PluginRequest,
  { batch }: BatchHost,
  { backend, zone }: FirewallConfig,
  addresses: readonly Ip[],
): Promise<{ readonly isZoned: boolean; readonly missing: readonly string[] }> {
  const host = hostOf(request);
  const isUsed = backend === "firewalld" ||
    (backend === undefined && await batch.once("firewalld", () => firewalldRuns(host)));
  if (!isUsed) return { isZoned: false, missing: [] };
  const missing: string[] = [];
  for (const ip of addresses) {
    try {
      if (await hasSource(host, zone, ip)) continue;
    } catch (error) {
      if (backend !== undefined || !isCniError(error, "permission")) throw error;
      return { isZoned: false, missing: [] };
    }
    missing.push(`the address ${formatIp(ip)} is not in zone "${zone}" of firewalld any more`);
    batch.after(async () => void await addSource(host, zone, ip));
  }
  return { isZoned: true, missing };
}
