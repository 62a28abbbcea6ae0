import type { Cidr, Ip } from "../cni/address.ts";
import { ERROR_CODES } from "../cni/error.ts";
import { all } from "./all.ts";
import type { TaggedAttachment } from "./attachment_tag.ts";
import type { Host } from "./host.ts";
import {
  addIptablesRules,
  collectIptablesRules,
  type IsKept,
  removeIptablesRules,
} from "./masquerade_iptables.ts";
import { noRuleBackend, requireRuleBackend } from "./rule_backend.ts";
import { addNftRules, collectNftRules, removeNftRules } from "./masquerade_nft.ts";

/** The backends for masquerading, with the names of the option `ipMasqBackend` of the bridge plugin. */
export const MASQUERADE_BACKENDS = ["iptables", "nftables"] as const;

/** One of {@linkcode MASQUERADE_BACKENDS}. */
export type MasqueradeBackend = typeof MASQUERADE_BACKENDS[number];

/** Options of {@linkcode addMasquerade} and {@linkcode removeMasquerade}. */
export interface MasqueradeOptions {
  /** What the configuration of the ADD requests. @default {undefined} (the one that works on this machine) */
  readonly backend?: MasqueradeBackend | undefined;
}

/**
 * Masquerades packets that come from these addresses and leave their network.
 *
 * Without a requested backend it uses iptables if that works, else nftables. The CNI plugins project chooses in the same way,
 * and its releases before 1.6 know only iptables: all of them can remove such rules, while rules in nftables stay behind
 * when such an old plugin runs the DEL.
 */
export async function addMasquerade(
  host: Host,
  attachment: TaggedAttachment,
  addresses: readonly Cidr[],
  { backend }: MasqueradeOptions = {},
): Promise<void> {
  if (backend !== "nftables" && await addIptablesRules(host, attachment, addresses)) return;
  if (backend !== "iptables" && await addNftRules(host, attachment, addresses)) return;
  throw noRuleBackend(backend, { ...NO_BACKEND, code: ERROR_CODES.internal });
}

const NO_BACKEND = {
  what: "masquerade",
  details: "install iptables or nftables, or set ipMasq to false",
};

/** Fails if {@linkcode addMasquerade} would. */
export async function requireMasquerade(host: Host, { backend }: MasqueradeOptions = {}): Promise<void> {
  await requireRuleBackend(host, backend, { ...NO_BACKEND, code: ERROR_CODES.pluginNotAvailable });
}

/**
 * Removes the rules of an attachment from both backends, because another one may have made them earlier. In iptables the
 * interfaces of a container differ only in their addresses: the rules of the addresses that are kept stay.
 *
 * If nftables was requested and has rules of the attachment, its ADD made these and no others: iptables is not asked. Without
 * such rules it is: a release of the CNI plugins project before 1.6 ignores the request.
 */
export async function removeMasquerade(
  host: Host,
  attachment: TaggedAttachment,
  isKept: IsKept,
  { backend }: MasqueradeOptions = {},
): Promise<void> {
  if (backend === "nftables") {
    if (!await removeNftRules(host, attachment)) await removeIptablesRules(host, attachment, isKept);
    return;
  }
  await all([removeIptablesRules(host, attachment, isKept), removeNftRules(host, attachment)]);
}

/**
 * Removes the rules of all other attachments of a network, from both backends. In iptables those of a valid container stay
 * except for the addresses that are stale.
 */
export async function collectMasquerade(
  host: Host,
  network: string,
  valid: readonly TaggedAttachment[],
  isStale: (ip: Ip, containerId: string) => Promise<boolean>,
): Promise<void> {
  await all([collectIptablesRules(host, network, valid, isStale), collectNftRules(host, network, valid)]);
}
