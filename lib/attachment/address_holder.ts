import { formatIp, parseCidr, parseIp } from "../cni/address.ts";
import type { CniError, ErrorKind } from "../cni/error.ts";
import { isArray, isObject, type Json, type JsonObject, member } from "../cni/json.ts";
import type { AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import { parseOwner } from "../state/owner.ts";
import { podInArgs } from "./pod_args.ts";
import { withDetails } from "./with_details.ts";

/** The kinds of error with which an IPAM plugin refuses an address. If it does not answer, nothing is known. */
const REFUSALS: readonly ErrorKind[] = ["plugin", "conflict", "exhausted"];

/**
 * Returns the error of a failed ADD, and adds the holders of the addresses that it requested. IPAM plugins know at most the
 * container, the records know its pod as well. Reads all records, but only if an address was requested.
 */
export async function withHolders(
  error: CniError,
  record: AttachmentRecord,
  store: AttachmentStore,
): Promise<CniError> {
  const wanted = requestedAddresses(record);
  if (wanted.length === 0 || !REFUSALS.includes(error.kind)) return error;
  try {
    const others = (await store.all()).filter(({ network, containerId, ifName }) =>
      network === record.network && (containerId !== record.containerId || ifName !== record.ifName)
    );
    const words = others.flatMap((other) =>
      addressesOf(other.result).filter((ip) => wanted.includes(ip)).map((ip) =>
        `${ip} is that of ${describe(other)}`
      )
    );
    return words.length === 0 ? error : withDetails(error, words.join("; "));
  } catch {
    // Records that cannot be read must not hide why the ADD failed.
    return error;
  }
}

/** By the capability `ips`, or by the older argument `IP`. */
function requestedAddresses({ capabilityArgs, cniArgs }: AttachmentRecord): readonly string[] {
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

/** Returns the address without its prefix, in canonical form. */
function plainAddress(text: Json | undefined): readonly string[] {
  if (typeof text !== "string") return [];
  const ip = parseIp(text) ?? parseCidr(text)?.ip;
  return ip === undefined ? [] : [formatIp(ip)];
}

function describe(record: AttachmentRecord): string {
  const { containerId, ifName, owner, state } = record;
  const pod = podInArgs(record);
  const place = `${ifName}, ${state}`;
  if (pod === undefined) return `container "${containerId}" (${place})`;
  const kind = parseOwner(owner).kind === "sandbox" ? "sandbox" : "pod";
  return `${kind} "${pod.namespace}/${pod.name}" (container "${containerId}", ${place})`;
}
