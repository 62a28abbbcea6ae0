import { CLI_OWNER } from "../state/owner.ts";
import type { CallOptions } from "../async/call_options.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import type { JsonObject } from "../cni/json.ts";
import type { AttachTarget } from "../plugin/attach_target.ts";
import type { CniArgs } from "../plugin/invocation.ts";

/** One attachment to make, check or delete. */
export interface AttachRequest extends Pick<AttachTarget, "containerId" | "netns" | "ifName"> {
  /** `CNI_ARGS`, in order. @default {[]} */
  readonly args?: CniArgs | undefined;
  /** Capability arguments by capability; each plugin gets those that it declares. @default {{}} */
  readonly capabilityArgs?: JsonObject | undefined;
  /** The owner, as `formatOwner` writes it: `sandbox:<id>`, `pods:<engine>`, or a name such as `cli`. @default {"cli"} */
  readonly owner?: string | undefined;
}

/** Options of an ADD. */
export interface AddOptions extends CallOptions {
  /**
   * Whether podwire itself has made the namespace for this container, so that no interface of others is in it and none is
   * looked for. @default {false}
   */
  readonly isNewNetns?: boolean | undefined;
}

/** Options of a DEL. */
export interface DelOptions extends CallOptions {
  /**
   * Whether the plugins get the namespace also where neither a record nor libcni's cache says that its interface is an
   * attachment, and so remove what has the name. @default {false}
   */
  readonly forceForeign?: boolean | undefined;
}

/** An attach request with all of its defaults. */
export interface FullAttachRequest extends AttachTarget {
  readonly owner: string;
}

/** Returns the request with its defaults. */
export function withAttachDefaults(request: AttachRequest): FullAttachRequest {
  const { containerId, netns, ifName, args = [], capabilityArgs = {}, owner = CLI_OWNER } = request;
  return { containerId, netns, ifName, args, capabilityArgs, owner };
}

/** One of several attachments that are to be made for a container. */
export interface WantedAttachment extends Pick<AttachTarget, "ifName" | "args" | "capabilityArgs"> {
  readonly list: NetworkConfigList;
}
