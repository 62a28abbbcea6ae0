import { formatIp, parseCidr, parseIp } from "../cni/address.ts";
import type { CniError, ErrorKind } from "../cni/error.ts";
import { isArray, isObject, type Json, type JsonObject, member } from "../cni/json.ts";
import type { AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import { parseOwner } from "../state/owner.ts";
import { withDetails } from "./with_details.ts";
import { podInArgs } from "./pod_args.ts";

/** How an IPAM plugin refuses an address; of one that never answered nothing is known. */
const REFUSALS: readonly ErrorKind[] = ["plugin", "conflict", "exhausted"];

/**
 * The error of a failed ADD, with who has the addresses that it asked for: IPAM plugins know containers at most, the
 * records know their pods. All of them are read, and only where an address was asked for.
 */
export async function withHolders(
  error: CniError,
  record: AttachmentRecord,
  store: AttachmentStore,
): Promise<CniError> {
  const wanted = wantedAddresses(record);
  if (wanted.length === 0 || !REFUSALS.includes(error.kind)) return error;
  try {
    const others = (await store.all()).filter(({ network, containerId, ifName }) =>
      network === record.network && (containerId !== record.containerId || ifName !== record.ifName)
    );
    const words = others.flatMap((other) =>
      addressesOf(other.result).filter((ip) => wanted.includes(ip)).map((ip) =>
        `${ip} is that of ${shown(other)}`
      )
    );
    return words.length === 0 ? error : withDetails(error, words.join("; "));
  } catch {
    // Records that cannot be read must not hide why the ADD failed.
    return error;
  }
}

/** By the capability, or the old way. */
function wantedAddresses({ capabilityArgs, cniArgs }: AttachmentRecord): readonly string[] {
  const ips = member(capabilityArgs, "ips");
  const texts = [
    ...isArray(ips) ? ips : [],
    ...cniArgs.flatMap(([key, value]) => key === "IP" ? [value] : []),
  ];
  return [...new Set(texts.flatMap(plainAddress))];
}

function addressesOf(result: JsonObject | undefined): readonly string[] {
  const ips = result === undefined ? undefined : member(result, "ips");
  return isArray(ips) ? ips.flatMap((ip) => isObject(ip) ? plainAddress(ip.address) : []) : [];
}

/** Without its prefix, in canonical form. */
function plainAddress(text: Json | undefined): readonly string[] {
  if (typeof text !== "string") return [];
  const ip = parseIp(text) ?? parseCidr(text)?.ip;
  return ip === undefined ? [] : [formatIp(ip)];
}

function shown(record: AttachmentRecord): string {
  const { containerId, ifName, owner, state } = record;
  const pod = podInArgs(record);
  const place = `${ifName}, ${state}`;
  if (pod === undefined) return `container "${containerId}" (${place})`;
  const kind = parseOwner(owner).kind === "sandbox" ? "sandbox" : "pod";
  return `${kind} "${pod.namespace}/${pod.name}" (container "${containerId}", ${place})`;
}
