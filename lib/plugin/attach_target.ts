import type { JsonObject } from "../cni/json.ts";
import type { CniArgs } from "./invocation.ts";

/** Attachment parameters that all plugins of a chain get. */
export interface AttachTarget {
  /** `CNI_CONTAINERID`. */
  readonly containerId: string;
  /** `CNI_NETNS`: the path of the namespace; empty if it no longer exists. */
  readonly netns: string;
  /** `CNI_IFNAME`. */
  readonly ifName: string;
  /** `CNI_ARGS`, in order. */
  readonly args: CniArgs;
  /** Arguments by capability; each plugin gets those of the capabilities that it declares. */
  readonly capabilityArgs: JsonObject;
}
