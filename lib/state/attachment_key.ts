import { validateContainerId, validateInterfaceName, validateNetworkName } from "../cni/name.ts";

/** One (network, container ID, interface name) triple. */
export interface AttachmentKey {
  /** The container. */
  readonly containerId: string;
  /** The name of the network. */
  readonly network: string;
  /** The name of the interface in the container. */
  readonly ifName: string;
}

/** Returns the key alone, without the other members of the object. */
export function attachmentKey({ containerId, network, ifName }: AttachmentKey): AttachmentKey {
  return { containerId, network, ifName };
}

/** Whether both are keys of the same attachment. */
export function isSameAttachment(a: AttachmentKey, b: AttachmentKey): boolean {
  return a.containerId === b.containerId && a.network === b.network && a.ifName === b.ifName;
}

/** Whether all three names are valid, so that they may become names of files. */
export function hasValidNames({ containerId, network, ifName }: AttachmentKey): boolean {
  try {
    validateContainerId(containerId);
    validateNetworkName(network);
    validateInterfaceName(ifName);
    return true;
  } catch {
    return false;
  }
}

/** Returns a name for an attachment that no other has. */
export function attachmentId({ containerId, network, ifName }: AttachmentKey): string {
  return `${containerId} ${network} ${ifName}`;
}
