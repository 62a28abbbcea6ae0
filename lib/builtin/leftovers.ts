import { formatIp, type Ip, parseCidr, parseIp } from "../cni/address.ts";
import { isArray, isObject, type JsonObject, parseJson } from "../cni/json.ts";
import { messageOf } from "../errors/to_cni_error.ts";
import { statOf } from "../host/file.ts";
import { nsProblem } from "../host/netns.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink, ifbsOfHost, linksByAlias, removeLink } from "../kernel/links.ts";
import { withAddressStore } from "./address_store.ts";
import { attachmentTag, type TaggedAttachment } from "./attachment_tag.ts";
import { removeRules } from "./firewall_rules.ts";
import type { Host } from "./host.ts";
import { giveBack, isLent } from "./host_device_move.ts";
import { readLentDevice, removeLentDevice } from "./host_device_record.ts";
import { keptAddresses, storeDirs } from "./kept_addresses.ts";
import { removeMasquerade } from "./masquerade.ts";
import { removeForwarding } from "./port_forwarding.ts";
import { forgetFlowsOf } from "./stale_flows.ts";

/** An attachment whose plugins did not remove what they made. */
export interface AbandonedAttachment extends TaggedAttachment {
  /** The text of its configuration list, or of a single configuration; it may be invalid. */
  readonly config: string;
  /** The path of its namespace; empty if that is gone. */
  readonly netns: string;
  /** The addresses in the result of its ADD, with or without prefix length; empty if there is none. */
  readonly addresses: readonly string[];
}

/** The result, each entry as text. */
export interface LeftoverReport {
  /** What was freed, or would be. */
  readonly freed: readonly string[];
  /** What was found and could not be freed, and why. */
  readonly remaining: readonly string[];
}

/** A report that is being written. */
interface Report {
  readonly freed: string[];
  readonly remaining: string[];
}

/**
 * Frees what built-in plugins, and those of the CNI plugins project with the same names, made for an attachment, if it has the tag of
 * the attachment: its veth pair, its rules, and then its addresses; also an interface that `macvlan`, `ipvlan`, `vlan` or `dummy` made
 * in its namespace. A device that `host-device` has on record goes back to the host. An address stays reserved while an interface may
 * still use it.
 *
 * Needs no plugin and no valid configuration. Permissions: those of the built-in plugins.
 */
export async function freeLeftovers(
  attachment: AbandonedAttachment,
  host: Host,
  { dryRun = false }: { readonly dryRun?: boolean | undefined } = {},
): Promise<LeftoverReport> {
  const report: Report = { freed: [], remaining: [] };
  const plugins = pluginsIn(attachment.config);
  await attempt(report, "its interfaces", () => freeLinks(attachment, host, dryRun, report));
  await attempt(report, "its device of the host", () => freeDevice(attachment, host, dryRun, report));
  const mayMasquerade = ({ ipMasq, ipMasqIPv4, ipMasqIPv6 }: JsonObject) =>
    [ipMasq, ipMasqIPv4, ipMasqIPv6].includes(true);
  if (plugins.some(mayMasquerade)) {
    await attempt(report, "its masquerading rules", async () => {
      if (!dryRun) await removeMasquerade(host, attachment, keptAddresses(attachment, plugins, host));
      report.freed.push("its masquerading rules");
    });
  }
  if (plugins.some(({ type }) => type === "bandwidth")) {
    await attempt(report, "its interfaces for limits", () => freeIfbs(attachment, host, dryRun, report));
  }
  if (plugins.some(({ type }) => type === "firewall")) {
    await attempt(report, "its firewall rules", async () => {
      if (!dryRun) await freeFirewall(attachment, host);
      report.freed.push("its firewall rules");
    });
  }
  if (plugins.some(({ type }) => type === "portmap")) {
    await attempt(report, "its port mappings", async () => {
      if (!dryRun) await freePorts(attachment, host);
      report.freed.push("its port mappings");
    });
  }
  const { netns, ifName } = attachment;
  const isInUse = netns !== "" && await hasLink(host, netns, ifName);
  if (isInUse && !dryRun) report.remaining.push(`the interface ${ifName} in ${netns}`);
  for (const dir of storeDirs(plugins, attachment.network)) {
    const how = { isInUse: isInUse && !dryRun, dryRun, signal: host.signal };
    await attempt(report, `its addresses in ${dir}`, () => freeAddresses(dir, attachment, how, report));
  }
  return report;
}

/** Reports what cannot be freed, so that the rest is still freed. */
async function attempt(report: Report, what: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    report.remaining.push(`${what}: ${messageOf(error)}`);
  }
}

async function freeLinks(
  attachment: AbandonedAttachment,
  host: Host,
  dryRun: boolean,
  { freed }: Report,
): Promise<void> {
  const tag = await attachmentTag(attachment);
  const kernel = kernelFor(host.run);
  for (const name of await linksByAlias(kernel, (alias) => alias.startsWith(tag), host)) {
    if (!dryRun) await removeLink(kernel, name, { signal: host.signal });
    freed.push(`the interface ${name} on the host`);
  }
  const { netns } = attachment;
  if (netns === "" || await nsProblem(netns) !== undefined) return;
  const [inside] = await kernel.apply([{ kind: "show-links" }], { netns, signal: host.signal });
  for (const { name } of inside.filter(({ alias }) => alias.startsWith(tag))) {
    if (!dryRun) await removeLink(kernel, name, { netns, signal: host.signal });
    freed.push(`the interface ${name} in ${netns}`);
  }
}

async function freeDevice(
  { network, containerId, ifName, netns }: AbandonedAttachment,
  host: Host,
  dryRun: boolean,
  { freed }: Report,
): Promise<void> {
  const onRecord = await readLentDevice({ containerId, ifName });
  if (onRecord?.network !== network) return;
  // The path of the record may lead to another namespace by now.
  const lent = { ...onRecord, netns };
  const isFreed = dryRun ? await isLent(host, lent) : await giveBack(host, lent, () => {});
  if (isFreed) freed.push(`the device ${lent.name} of the host in ${netns}`);
  // As long as its namespace is there, a GC can still give it back.
  const isOver = isFreed || await nsProblem(onRecord.netns) !== undefined;
  if (isOver && !dryRun) await removeLentDevice(onRecord);
}

async function freeIfbs(
  attachment: AbandonedAttachment,
  host: Host,
  dryRun: boolean,
  { freed }: Report,
): Promise<void> {
  const tag = await attachmentTag(attachment);
  const kernel = kernelFor(host.run);
  for (const { name, alias } of await ifbsOfHost(kernel, host)) {
    if (!alias.startsWith(tag)) continue;
    if (!dryRun) await removeLink(kernel, name, { signal: host.signal });
    freed.push(`the interface ${name} on the host`);
  }
}

/** Before the addresses are free: the rules of an address without a tag may be those of its next owner then. */
async function freeFirewall(attachment: AbandonedAttachment, host: Host): Promise<void> {
  const tag = await attachmentTag(attachment);
  await removeRules(host, {
    isOwn: (comment) => comment.startsWith(tag),
    addresses: ipsOf(attachment),
    dropsInvalid: true,
  });
}

async function freePorts(attachment: AbandonedAttachment, host: Host): Promise<void> {
  const removed = await removeForwarding(host, attachment, { addresses: ipsOf(attachment) });
  // Without a way to end connections the rules are gone nevertheless.
  await forgetFlowsOf(host, removed, () => {});
}

function ipsOf({ addresses }: AbandonedAttachment): readonly Ip[] {
  return addresses.flatMap((text) => parseCidr(text)?.ip ?? parseIp(text) ?? []);
}

/** Whether the interface is in the namespace; true if that cannot be checked. */
async function hasLink({ run, signal }: Host, netns: string, ifName: string): Promise<boolean> {
  try {
    return await findLink(kernelFor(run), ifName, { netns, signal }) !== undefined;
  } catch {
    return true;
  }
}

async function freeAddresses(
  dir: string,
  { containerId, ifName }: AbandonedAttachment,
  { isInUse, dryRun, signal }: { isInUse: boolean; dryRun: boolean; signal: AbortSignal },
  { freed, remaining }: Report,
): Promise<void> {
  if (!(await statOf(dir))?.isDirectory) return;
  const owner = { containerId, ifName };
  await withAddressStore(dir, signal, async (store) => {
    const held = (await store.addressesOf(owner)).map((ip) => `the address ${formatIp(ip)} in ${dir}`);
    if (isInUse) return void remaining.push(...held);
    if (!dryRun) await store.release(owner);
    freed.push(...held);
  }, { adopts: false });
}

/** Returns the plugins of a configuration, even if most of it is invalid. */
function pluginsIn(text: string): readonly JsonObject[] {
  try {
    const json = parseJson(text);
    if (!isObject(json)) return [];
    return isArray(json.plugins) ? json.plugins.filter(isObject) : [json];
  } catch {
    return [];
  }
}
