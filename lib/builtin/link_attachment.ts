import type { Dns, Interface, IpConfig, Result, Route } from "../cni/result.ts";
import { CURRENT_VERSION } from "../cni/version.ts";
import type { Sysctl } from "../host/ip_batch.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { nsProblem } from "../host/netns.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { removeLink } from "../kernel/links.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import { attachmentTag, isTag, staleTags } from "./attachment_tag.ts";
import { containerOperations, type ContainerPlan, enableIpv6Sysctls, needCidr } from "./container_plan.ts";
import { freeAddresses, freeThroughLink } from "./free_addresses.ts";
import type { LinkTeardown } from "./link_config.ts";
import { makeLink, type WantedLink } from "./make_link.ts";
import { linksEverywhere } from "./links_everywhere.ts";
import { hostOf, reserveAddresses, tagged } from "./pair_attachment.ts";
import { Undo } from "./undo.ts";
import { validTagged } from "./valid_attachments.ts";

/** An attachment that consists of one interface. */
export interface LinkAttachment extends WantedLink, LinkTeardown {
  /** Addresses and routes that were given before, which take the place of those of an IPAM plugin. @default none */
  readonly given?: Result | undefined;
  /** A result to which the interface and its addresses are added. @default none */
  readonly before?: Result | undefined;
  /** Set before the interface is up. */
  readonly sysctls: readonly Sysctl[];
  /** Chooses the DNS of the result. `ipam` is undefined for an interface without addresses. */
  readonly dnsOf: (ipam: Result | undefined) => Dns | undefined;
}

/** Returns the parameters with which an interface announces its addresses to neighbours that remember a former owner. */
export function announcingSysctls(name: string): readonly Sysctl[] {
  return [
    { name: `net/ipv4/conf/${name}/arp_notify`, value: "1" },
    { name: `net/ipv6/conf/${name}/ndisc_notify`, value: "1" },
  ];
}

/**
 * Makes the interface, then gets its addresses: an IPAM plugin such as dhcp requests one through it. If the call fails, it
 * undoes everything.
 */
export async function attachLink(request: PluginRequest, attachment: LinkAttachment): Promise<Result> {
  const { name, ipamType, given, before, sysctls, dnsOf } = attachment;
  const { netns, run, signal } = request;
  const kernel = kernelFor(run);
  const undo = new Undo(request.log);
  try {
    const { mac } = await makeLink(request, attachment, undo);
    const interfaces = [...before?.interfaces ?? [], { name, mac, sandbox: netns }];
    if (ipamType === "" && given === undefined) {
      await kernel.apply([{ kind: "set-link", name, up: true }], { netns, signal });
      return resultOf({ interfaces, dns: dnsOf(undefined) });
    }
    const ipam = given ?? await reserveAddresses(request, attachment, undo);
    const plan = planLink(ipam, interfaces.length - 1);
    await kernel.apply(containerOperations(name, plan), {
      netns,
      signal,
      sysctls: [...sysctls, ...enableIpv6Sysctls(name, plan.addresses)],
    });
    const ips = [...before?.ips ?? [], ...plan.ips];
    const routes = [...before?.routes ?? [], ...plan.routes];
    return resultOf({ interfaces, ips, routes, dns: dnsOf(ipam) });
  } catch (error) {
    await undo.run();
    throw error;
  }
}

/** Returns what the result of the IPAM plugin asks for; `index` is that of the interface in the result of the ADD. */
function planLink({ ips = [], routes = [] }: Result, index: number): ContainerPlan {
  if (ips.length === 0) throw new Error("IPAM plugin returned missing IP config");
  return {
    ips: ips.map((ip) => ({ ...ip, interface: index })),
    routes,
    addresses: ips.map(({ address }) => needCidr(address)),
  };
}

function resultOf({ interfaces, ips, routes = [], dns }: {
  readonly interfaces: readonly Interface[];
  readonly ips?: readonly IpConfig[];
  readonly routes?: readonly Route[];
  readonly dns: Dns | undefined;
}): Result {
  return {
    cniVersion: CURRENT_VERSION,
    interfaces,
    ...(ips === undefined ? {} : { ips }),
    ...(routes.length > 0 ? { routes } : {}),
    ...(dns === undefined ? {} : { dns }),
  };
}

/**
 * Removes the interface of an attachment, even if the container has renamed it, and then frees its address, which must not go
 * to another container before. An interface without a tag, as the CNI plugins project makes it, is found by its name.
 *
 * Nothing that `isOurs` does not know is removed, and nothing with the tag of another attachment. With its namespace an
 * interface disappears by itself.
 */
export async function detachLink(
  request: PluginRequest,
  { ipamType }: LinkTeardown,
  isOurs: (link: LinkInfo) => boolean,
  name: string = request.ifName,
): Promise<void> {
  const { netns, run, signal } = request;
  await freeThroughLink(request, ipamType);
  if (netns !== "" && await nsProblem(netns) === undefined) {
    const kernel = kernelFor(run);
    const tag = await attachmentTag(tagged(request));
    const [links] = await kernel.apply([{ kind: "show-links" }], { netns, signal });
    const ours = links.filter((link) => link.alias.startsWith(tag) && isOurs(link));
    for (const { name } of ours) await removeLink(kernel, name, { netns, signal });
    const named = links.find((link) => link.name === name && !ours.includes(link));
    if (named !== undefined && ours.length === 0) {
      if (isOurs(named) && !isTag(named.alias)) await removeLink(kernel, name, { netns, signal });
      else request.log(`"${name}" is left as it is: this plugin did not make it`);
    }
  }
  await freeAddresses(request, ipamType);
}

/** Removes the interfaces of one kind that belong to no valid attachment of the network, and then their addresses. */
export async function collectLinks(
  request: PluginRequest,
  { ipamType }: LinkTeardown,
  kind: string,
): Promise<void> {
  const host = hostOf(request);
  const kernel = kernelFor(host.run);
  const isStale = await staleTags(request.name, validTagged(request));
  const stale = await linksEverywhere(host, ({ alias, kind: of }) => of === kind && isStale(alias));
  for (const { link: { name }, netns } of stale) {
    const where = netns === undefined ? "" : ` in "${netns}"`;
    request.log(`${request.config.type}: removed ${name}${where}, which no attachment holds`);
    await removeLink(kernel, name, { netns, signal: host.signal });
  }
  if (ipamType !== "") await request.delegate(ipamType, request.config, "GC");
}
