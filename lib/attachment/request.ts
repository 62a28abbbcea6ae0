import type { CallOptions } from "../async/call_options.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import type { JsonObject } from "../cni/json.ts";
import { validateContainerId, validateInterfaceName, validateNetworkName } from "../cni/name.ts";
import type { AttachTarget } from "../plugin/attach_target.ts";
import { type CniArgs, validateCniArgs } from "../plugin/invocation.ts";
import type { AttachmentKey } from "../state/attachment_key.ts";
import type { AutomaticPort } from "../state/automatic_ports.ts";
import { CLI_OWNER } from "../state/owner.ts";

/** One attachment to add, check or delete. */
export interface AttachRequest extends Pick<AttachTarget, "containerId" | "netns" | "ifName"> {
  /** `CNI_ARGS`, in order. @default {[]} */
  readonly args?: CniArgs | undefined;
  /** Capability arguments by capability; each plugin gets those that it declares. @default {{}} */
  readonly capabilityArgs?: JsonObject | undefined;
  /** The owner, as `formatOwner` writes it: `sandbox:<id>`, `pods:<engine>`, or a name such as `cli`. @default {"cli"} */
  readonly owner?: string | undefined;
}

/** An attachment to add, for which ports of the host may be chosen. */
export interface AddRequest extends AttachRequest {
  /** Ports of the container that get ports of the host, in addition to those of `capabilityArgs`. @default {[]} */
  readonly automaticPorts?: readonly AutomaticPort[] | undefined;
  /** `NAMESPACE/NAME`, by which Kubernetes knows the network. @default {none} */
  readonly title?: string | undefined;
}

/** Options of an ADD. */
export interface AddOptions extends CallOptions {
  /**
   * Whether podwire itself created the namespace for this container. No other interface can be in it then, and none is
   * looked for. @default {false}
   */
  readonly isNewNetns?: boolean | undefined;
}

/** Options of a DEL. */
export interface DelOptions extends CallOptions {
  /**
   * Whether the plugins get the namespace even if neither a record nor libcni's cache says that its interface is an
   * attachment. They then remove any interface of that name. @default {false}
   */
  readonly forceForeign?: boolean | undefined;
}

/** An attach request with all of its defaults. */
export interface FullAttachRequest extends AttachTarget {
  readonly owner: string;
  readonly automaticPorts?: readonly AutomaticPort[] | undefined;
  readonly title?: string | undefined;
}

/** Returns the request with its defaults. */
export function withAttachDefaults(request: AddRequest): FullAttachRequest {
  const { containerId, netns, ifName, args = [], capabilityArgs = {}, owner = CLI_OWNER } = request;
  const { automaticPorts, title } = request;
  return { containerId, netns, ifName, args, capabilityArgs, owner, automaticPorts, title };
}

/** One of several attachments to add for a container. */
export interface WantedAttachment extends Pick<AttachTarget, "ifName" | "args" | "capabilityArgs"> {
  readonly list: NetworkConfigList;
}

/** Returns the key of an attachment to the network of a list. */
export function keyOf(
  list: NetworkConfigList,
  { containerId, ifName }: Pick<AttachTarget, "containerId" | "ifName">,
): AttachmentKey {
  return { containerId, network: list.name, ifName };
}

/**
 * Refuses invalid names and arguments.
 *
 * @throws {CniError} kind `usage`
 */
export function validateAttachment(
  { containerId, network, ifName }: AttachmentKey,
  { args }: Pick<AttachTarget, "args">,
): void {
  validateContainerId(containerId);
  validateNetworkName(network);
  validateInterfaceName(ifName);
  validateCniArgs(args);
}
