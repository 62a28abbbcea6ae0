import { CniError } from "../cni/error.ts";
import { macDigits } from "../cni/mac.ts";
import { member } from "../cni/json.ts";
import { isSameAttachment } from "../state/attachment_key.ts";
import type { AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";

/**
 * Refuses an attachment whose requested MAC address another one of its network on this node has requested: switches would send the
 * frames of both to one of them. Call it when the record is written, so that of two at once each finds the other. What an earlier
 * boot or a failed removal left does not count.
 *
 * @throws {CniError} kind `conflict`, naming the holder
 */
export async function requireFreeMac(
  record: AttachmentRecord,
  store: Pick<AttachmentStore, "ofNetwork" | "read">,
): Promise<void> {
  const mac = requestedMac(record);
  if (mac === undefined) return;
  const { network, bootId } = record;
  for (const key of await store.ofNetwork(network)) {
    if (isSameAttachment(key, record)) continue;
    const other = await store.read(key);
    if (other === undefined || other.state === "failed" || other.bootId !== bootId) continue;
    const theirs = requestedMac(other);
    if (theirs === undefined || macDigits(theirs) !== macDigits(mac)) continue;
    throw new CniError("conflict", `the MAC address ${mac} is that of ${nameOf(other)} already`, {
      verb: "ADD",
      network,
      path: "mac",
    });
  }
}

/** The MAC address that the ADD asked for, by its capability or by `CNI_ARGS`. */
function requestedMac({ capabilityArgs, cniArgs }: AttachmentRecord): string | undefined {
  const mac = member(capabilityArgs, "mac");
  return typeof mac === "string" ? mac : argOf(cniArgs, "MAC");
}

/** Plugins take the last value of a key. */
function argOf(args: AttachmentRecord["cniArgs"], key: string): string | undefined {
  return args.findLast(([name]) => name === key)?.[1];
}

function nameOf({ cniArgs, containerId, ifName }: AttachmentRecord): string {
  const pod = argOf(cniArgs, "K8S_POD_NAME");
  const namespace = argOf(cniArgs, "K8S_POD_NAMESPACE");
  const title = pod === undefined || namespace === undefined ? "" : ` of ${namespace}/${pod}`;
  return `the interface ${ifName} of container "${containerId}"${title}`;
}
