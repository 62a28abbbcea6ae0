import { type CniError, ERROR_CODES } from "../cni/error.ts";
import { all } from "./all.ts";
import type { TaggedAttachment } from "./attachment_tag.ts";
import type { Forwarding, RemovedForwarding, WantedForwarding } from "./forwarding.ts";
import type { Host } from "./host.ts";
import type { PortmapBackend } from "./portmap_config.ts";
import { addPortsByIptables, collectPortsOfIptables, removePortsByIptables } from "./portmap_iptables.ts";
import { checkPortsOfIptables } from "./portmap_iptables_check.ts";
import { addPortsByNft, collectPortsOfNft, removePortsByNft } from "./portmap_nft.ts";
import { checkPortsOfNft } from "./portmap_nft_check.ts";
import { noRuleBackend, requireRuleBackend } from "./rule_backend.ts";

/**
 * Leads ports of the host to a container.
 *
 * By the back end that the configuration asks for, with its key `backend` or with keys that only one has. Without such a
 * request by iptables, if that works for each family of the container's addresses, else by nftables: the plugin of the CNI
 * plugins project chooses in the same way, and its releases before 1.6 know only iptables.
 *
 * @throws {CniError} If the back end does not work here.
 */
export async function addForwarding(
  host: Host,
  attachment: TaggedAttachment,
  wanted: WantedForwarding,
): Promise<void> {
  const { backend } = wanted.config;
  if (backend !== "nftables" && await addPortsByIptables(host, attachment, wanted)) return;
  if (backend !== "iptables" && await addPortsByNft(host, attachment, wanted)) return;
  throw unusable(backend, ERROR_CODES.internal);
}

/**
 * Refuses a machine on which {@linkcode addForwarding} would fail.
 *
 * @throws {CniError} With the code 50.
 */
export async function requireBackend(host: Host, backend: PortmapBackend | undefined): Promise<void> {
  await requireRuleBackend(host, backend, { ...NO_BACKEND, code: ERROR_CODES.pluginNotAvailable });
}

const NO_BACKEND = {
  what: "forward ports",
  details: "install iptables or nftables, or remove the port mappings",
};

function unusable(backend: PortmapBackend | undefined, code: number): CniError {
  return noRuleBackend(backend, { ...NO_BACKEND, code });
}

/** Removes the rules of an attachment from both back ends, whichever made them; returns what they did. */
export async function removeForwarding(
  host: Host,
  attachment: TaggedAttachment,
  removed: RemovedForwarding,
): Promise<readonly Forwarding[]> {
  const found = await all([
    removePortsByIptables(host, attachment, removed),
    removePortsByNft(host, attachment, removed),
  ]);
  return found.flat();
}

/** Removes the rules of all other attachments of a network from both back ends. */
export async function collectForwarding(
  host: Host,
  network: string,
  valid: readonly TaggedAttachment[],
): Promise<void> {
  await all([collectPortsOfIptables(host, network, valid), collectPortsOfNft(host, network, valid)]);
}

/** Returns what is wrong with the rules of an attachment, in the back end that has them; undefined if nothing is. */
export async function findForwardingProblem(
  host: Host,
  attachment: TaggedAttachment,
  wanted: WantedForwarding,
): Promise<string | undefined> {
  const { backend } = wanted.config;
  const checks = [
    ...backend === "nftables" ? [] : [checkPortsOfIptables],
    ...backend === "iptables" ? [] : [checkPortsOfNft],
  ];
  for (const check of checks) {
    const problem = await check(host, attachment, wanted);
    if (problem !== false) return problem;
  }
  return `no rules of the container are in ${backend ?? "iptables or nftables"}`;
}
