import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { Cidr } from "../cni/address.ts";
import type { TaggedAttachment } from "./attachment_tag.ts";
import type { Host } from "./host.ts";
import { all } from "./all.ts";
import { addIptablesRules, collectIptablesRules, removeIptablesRules } from "./masquerade_iptables.ts";
import { addNftRules, collectNftRules, removeNftRules } from "./masquerade_nft.ts";

/** What can do the masquerading, by the names of the bridge plugin's option `ipMasqBackend`. */
export const MASQUERADE_BACKENDS = ["iptables", "nftables"] as const;

/** One of {@linkcode MASQUERADE_BACKENDS}. */
export type MasqueradeBackend = typeof MASQUERADE_BACKENDS[number];

/** Options of {@linkcode addMasquerade}. */
export interface MasqueradeOptions {
  /** @default {undefined} (what works here) */
  readonly backend?: MasqueradeBackend | undefined;
}

/**
 * Masquerades what comes from these addresses and leaves their network.
 *
 * Without a wish for a backend it is iptables where that works, else nftables. That is the choice of the CNI plugins
 * project, and releases of it before 1.6 know nothing else: rules that are made so can be removed by all of them,
 * while rules in nftables stay behind when such an old plugin does the DEL.
 */
export async function addMasquerade(
  host: Host,
  attachment: TaggedAttachment,
  addresses: readonly Cidr[],
  { backend }: MasqueradeOptions = {},
): Promise<void> {
  if (backend !== "nftables" && await addIptablesRules(host, attachment, addresses)) return;
  if (backend !== "iptables" && await addNftRules(host, attachment, addresses)) return;
  const state = backend === undefined
    ? "neither iptables nor nftables works here"
    : `${backend} does not work here`;
  throw new CniError("not-ready", `Cannot masquerade: ${state}`, {
    code: ERROR_CODES.internal,
    details: "install iptables or nftables, or set ipMasq to false",
  });
}

/** Removes an attachment's rules from both backends: which one made them may have changed since. */
export async function removeMasquerade(host: Host, attachment: TaggedAttachment): Promise<void> {
  await all([removeIptablesRules(host, attachment), removeNftRules(host, attachment)]);
}

/** Removes the rules of a network's attachments but these, from both backends. */
export async function collectMasquerade(
  host: Host,
  network: string,
  valid: readonly TaggedAttachment[],
): Promise<void> {
  await all([collectIptablesRules(host, network, valid), collectNftRules(host, network, valid)]);
}
