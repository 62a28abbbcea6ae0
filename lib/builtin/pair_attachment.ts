import { type Cidr, compareIp, type Ip } from "../cni/address.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { Dns, Interface, Result } from "../cni/result.ts";
import { CURRENT_VERSION } from "../cni/version.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { isWritable } from "../kernel/ip_lines.ts";
import { linksByAlias, removeLink } from "../kernel/links.ts";
import { DHCP } from "../plugin/dhcp.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import { staleTags, type TaggedAttachment } from "./attachment_tag.ts";
import type { ContainerPlan } from "./container_plan.ts";
import { freeAddresses, freeThroughLink } from "./free_addresses.ts";
import type { Host } from "./host.ts";
import { addressesIn, keptAddresses, staleAddresses } from "./kept_addresses.ts";
import { addMasquerade, collectMasquerade, removeMasquerade, requireMasquerade } from "./masquerade.ts";
import type { PairTeardown } from "./pair_config.ts";
import { requireNetns } from "./require_netns.ts";
import type { Undo } from "./undo.ts";
import { bringUpForDhcp } from "./up_for_dhcp.ts";
import { validTagged } from "./valid_attachments.ts";

/**
 * Refuses a request whose namespace is not there, and one with a word that `ip` would not take as it is.
 *
 * @throws {CniError} kind `usage`
 */
export async function requireUsable(
  { netns, ifName }: PluginRequest,
  words: readonly string[] = [],
): Promise<void> {
  for (const word of [ifName, netns, ...words]) {
    if (isWritable(word)) continue;
    throw new CniError(
      "usage",
      `Cannot use the name ${JSON.stringify(word)}: it has a character that ip does not accept`,
      { code: ERROR_CODES.invalidEnvironment },
    );
  }
  await requireNetns(netns);
}

/** Reserves addresses by the IPAM plugin; `undo` frees them. */
export async function reserveAddresses(
  request: PluginRequest,
  { ipamType }: Pick<PairTeardown, "ipamType">,
  undo: Undo,
): Promise<Result> {
  // Before, not after: an IPAM plugin that fails half-way may still have reserved something.
  undo.push("the addresses", async (signal) => {
    if (ipamType === DHCP) return await freeThroughLink(request, ipamType, { signal });
    await request.delegate(ipamType, request.config, "DEL", { signal });
  });
  if (ipamType === DHCP) await bringUpForDhcp(request);
  const reserved = await request.delegate(ipamType, request.config, "ADD");
  if (reserved === undefined) throw new Error(`the IPAM plugin "${ipamType}" returned no result`);
  return reserved;
}

/** Returns the result of an ADD with addresses. */
export function layer3Result(
  interfaces: readonly Interface[],
  { ips, routes }: ContainerPlan,
  dns: Dns | undefined,
): Result {
  return {
    cniVersion: CURRENT_VERSION,
    interfaces,
    ips,
    ...(routes.length > 0 ? { routes } : {}),
    ...(dns === undefined ? {} : { dns }),
  };
}

/** Masquerades the addresses, if the configuration wants it; `undo` removes the rules again. */
export async function masqueradeUndone(
  request: PluginRequest,
  { ipMasq, ipMasqBackend: backend }: PairTeardown,
  given: readonly Cidr[],
  undo: Undo,
): Promise<void> {
  const addresses = given.filter(({ ip }) => ipMasq.includes(ip.family));
  if (addresses.length === 0) return;
  const isOther = (ip: Ip) => !addresses.some((address) => compareIp(address.ip, ip) === 0);
  undo.push(
    "the masquerading",
    (signal) => removeMasquerade({ run: request.run, signal }, tagged(request), isOther, { backend }),
  );
  await addMasquerade(hostOf(request), tagged(request), addresses, { backend });
}

/**
 * Removes what an ADD made. `removePair` removes the veth pair.
 *
 * Frees the address last: it must not go to another container while anything here still uses it. After a failure it stays
 * reserved, and the next DEL repeats all steps.
 */
export async function detachPair(
  request: PluginRequest,
  { ipamType, ipMasq, ipMasqBackend }: PairTeardown,
  removePair: () => Promise<void>,
): Promise<void> {
  const host = hostOf(request);
  const addresses = recordedAddresses(request);
  const hasRules = ipMasq.length > 0 && ipamType !== "";
  const isUnknown = hasRules && addresses.length === 0;
  const addressesBefore = isUnknown ? await addressesIn(request.netns, host) : undefined;
  await freeThroughLink(request, ipamType);
  await removePair();
  if (hasRules) {
    const detached = { ...tagged(request), netns: request.netns, addresses, addressesBefore };
    const isKept = keptAddresses(detached, [request.config], host);
    await removeMasquerade(host, tagged(request), isKept, { backend: ipMasqBackend });
  }
  await freeAddresses(request, ipamType);
}

/**
 * Asks the IPAM plugin whether it is ready, and looks whether addresses can be masqueraded.
 *
 * @throws {CniError} with the code 50 if not
 */
export async function pairStatus(
  request: PluginRequest,
  { ipamType, ipMasq, ipMasqBackend }: PairTeardown,
): Promise<void> {
  if (ipamType === "") return;
  await request.delegate(ipamType, request.config, "STATUS");
  if (ipMasq.length > 0) await requireMasquerade(hostOf(request), { backend: ipMasqBackend });
}

/** Removes what belongs to no valid attachment: pairs, rules, and the addresses last, as {@linkcode detachPair} does. */
export async function collectPairs(
  request: PluginRequest,
  { ipamType, ipMasq }: PairTeardown,
): Promise<void> {
  const host = hostOf(request);
  const kernel = kernelFor(host.run);
  const valid = validTagged(request);
  const isStale = await staleTags(request.name, valid);
  for (const name of await linksByAlias(kernel, isStale, host)) {
    request.log(`${request.config.type}: removed ${name}, which no attachment holds`);
    await removeLink(kernel, name, host);
  }
  if (ipMasq.length > 0 && ipamType !== "") {
    const isStale = staleAddresses(request.name, request.config, valid);
    await collectMasquerade(host, request.name, valid, isStale);
  }
  if (ipamType !== "") await request.delegate(ipamType, request.config, "GC");
}

/** The addresses in the result of the ADD; none if it cannot be read, which must not prevent a DEL. */
export function recordedAddresses(request: PluginRequest): readonly string[] {
  try {
    return request.prevResult?.ips?.map(({ address }) => address) ?? [];
  } catch {
    return [];
  }
}

/** How the functions of a plugin run programs. */
export function hostOf({ run, signal }: PluginRequest): Host {
  return { run, signal };
}

/** The attachment of a request, as its interface and its rules are tagged. */
export function tagged({ name, containerId, ifName }: PluginRequest): TaggedAttachment {
  return { network: name, containerId, ifName };
}
