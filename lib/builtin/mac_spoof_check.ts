import { HostError } from "../host/command.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { vethsOfHost } from "../kernel/links.ts";
import type { Host } from "./host.ts";
import { applyNft, changeNft, listNft, type NftRule } from "./nft.ts";

/** The port of a bridge whose frames must have the MAC address of the container. */
export interface GuardedPort {
  readonly containerId: string;
  readonly ifName: string;
  readonly hostName: string;
  readonly mac: string;
}

/** An attachment as the names of its chains and the comment of its rules have it: they do not name the network. */
export type GuardedAttachment = Pick<GuardedPort, "containerId" | "ifName">;

/** Names and comments are those of the CNI plugins project, so that each of the two removes the rules of the other. */
const TABLE = "bridge nat";
const BASE = `${TABLE} PREROUTING`;
const SCOPE = `chain ${BASE}` as const;
const COMMENT = "macspoofchk-";

function chainsOf({ containerId, ifName }: GuardedAttachment) {
  const name = `cni-br-iface-${containerId}-${ifName}`;
  return { iface: name, mac: `${name}-mac` };
}

function commentOf({ containerId, ifName }: GuardedAttachment): string {
  return `${COMMENT}${containerId}-${ifName}`;
}

/**
 * Drops the frames of a port with another MAC address than the container's; replaces the former rules of the attachment.
 * Returns false, and does nothing, if nftables does not work on this machine.
 */
export async function addSpoofCheck(host: Host, port: GuardedPort): Promise<boolean> {
  const { iface, mac } = chainsOf(port);
  const comment = commentOf(port);
  return await changeNft(host, SCOPE, (rules) => [
    `add table ${TABLE}`,
    `add chain ${BASE} { type filter hook prerouting priority -300 ; policy accept ; }`,
    `add chain ${TABLE} ${iface}`,
    `add chain ${TABLE} ${mac}`,
    `flush chain ${TABLE} ${iface}`,
    `flush chain ${TABLE} ${mac}`,
    ...rules.filter((rule) => rule.comment === comment).map(deletion),
    `add rule ${BASE} iifname "${port.hostName}" jump ${iface} comment "${comment}"`,
    `add rule ${TABLE} ${iface} jump ${mac} comment "${comment}"`,
    `add rule ${TABLE} ${mac} ether saddr ${port.mac} return comment "${comment}"`,
    `add rule ${TABLE} ${mac} drop comment "${comment}"`,
  ]);
}

/** Removes the rules and the chains of an attachment. The table and its first chain stay: others may use them. */
export async function removeSpoofCheck(host: Host, attachment: GuardedAttachment): Promise<void> {
  const comment = commentOf(attachment);
  let isFound = false;
  await changeNft(host, SCOPE, (rules) => {
    const own = rules.filter((rule) => rule.comment === comment);
    isFound = own.length > 0;
    return isFound ? [...own.map(deletion), ...removalOf(attachment)] : [];
  });
  if (!isFound) await removeChainsAlone(host, attachment);
}

/** Removes the chains of an attachment whose first rule is gone, if they are there. */
async function removeChainsAlone(host: Host, attachment: GuardedAttachment): Promise<void> {
  const { iface, mac } = chainsOf(attachment);
  for (const chain of [iface, mac]) {
    const rules = await listNft(host, `chain ${TABLE} ${chain}`);
    // An empty list may also be that of a chain that is not there.
    if (rules === undefined || rules.length === 0) continue;
    await applyNft(host, removalOf(attachment)).catch((error: unknown) => {
      if (!(error instanceof HostError) || error.reason !== "program-failed") throw error;
    });
    return;
  }
}

function removalOf(attachment: GuardedAttachment): readonly string[] {
  const { iface, mac } = chainsOf(attachment);
  // One of them may be gone: what is added first can be deleted in any case.
  return [
    ...[iface, mac].flatMap((chain) => [`add chain ${TABLE} ${chain}`, `flush chain ${TABLE} ${chain}`]),
    ...[iface, mac].map((chain) => `delete chain ${TABLE} ${chain}`),
  ];
}

/** Returns what is missing of the rules of a port; undefined if nothing is. */
export async function findSpoofProblem(host: Host, port: GuardedPort): Promise<string | undefined> {
  const { iface, mac } = chainsOf(port);
  const first = await listNft(host, SCOPE) ?? [];
  const leads = first.some((rule) => usesText(rule, port.hostName) && usesText(rule, iface));
  if (!leads) return `the rule of macspoofchk for "${port.hostName}" is not there any more`;
  const [inIface = [], inMac = []] = [
    await listNft(host, `chain ${TABLE} ${iface}`),
    await listNft(host, `chain ${TABLE} ${mac}`),
  ];
  const [allowed, dropped] = inMac;
  const isWhole = inIface.some((rule) => usesText(rule, mac)) && allowed !== undefined &&
    usesText(allowed, port.mac.toLowerCase()) && dropped !== undefined && drops(dropped);
  return isWhole ? undefined : `the rules of macspoofchk in "${iface}" are not as the ADD made them`;
}

/**
 * Removes the rules of ports that do not exist any more: the names of the rules say neither the network nor the runtime, so the
 * ports of others cannot be distinguished from those of attachments that are gone.
 */
export async function collectSpoofChecks(host: Host): Promise<void> {
  const rules = (await listNft(host, SCOPE) ?? []).filter(({ comment = "" }) => comment.startsWith(COMMENT));
  if (rules.length === 0) return;
  const there = new Set((await vethsOfHost(kernelFor(host.run), host)).map(({ name }) => name));
  const isGone = (rule: NftRule) => {
    const port = portOf(rule);
    return port !== undefined && !there.has(port);
  };
  const stale = rules.filter(isGone);
  if (stale.length === 0) return;
  const handles = new Set(stale.map(({ handle }) => handle));
  await changeNft(host, SCOPE, (now) => {
    const gone = now.filter((rule) => handles.has(rule.handle) && isGone(rule));
    return gone.flatMap((rule) => {
      const iface = targetOf(rule);
      const chains = iface === undefined ? [] : [iface, `${iface}-mac`];
      return [
        deletion(rule),
        ...chains.flatMap((chain) => [`add chain ${TABLE} ${chain}`, `flush chain ${TABLE} ${chain}`]),
        ...chains.map((chain) => `delete chain ${TABLE} ${chain}`),
      ];
    });
  });
}

function deletion({ handle }: NftRule): string {
  return `delete rule ${BASE} handle ${handle}`;
}

/** Whether a text is one of the values of a rule. */
function usesText({ expr }: NftRule, text: string): boolean {
  return valuesIn(expr).some((value) => value.toLowerCase() === text.toLowerCase());
}

function valuesIn(json: unknown): readonly string[] {
  if (typeof json === "string") return [json];
  if (Array.isArray(json)) return json.flatMap(valuesIn);
  return typeof json === "object" && json !== null ? Object.values(json).flatMap(valuesIn) : [];
}

function drops({ expr }: NftRule): boolean {
  return expr.some((statement) => typeof statement === "object" && statement !== null && "drop" in statement);
}

/** The interface that a rule is for. */
function portOf({ expr }: NftRule): string | undefined {
  const matches = expr as readonly { readonly match?: { readonly right?: unknown } }[];
  const right = matches.find(({ match }) => match !== undefined)?.match?.right;
  return typeof right === "string" ? right : undefined;
}

/** The chain of the plugin that a rule leads to. */
function targetOf({ expr }: NftRule): string | undefined {
  const statements = expr as readonly { readonly jump?: { readonly target?: string } }[];
  const target = statements.find(({ jump }) => jump !== undefined)?.jump?.target;
  return target?.startsWith("cni-br-iface-") ? target : undefined;
}
