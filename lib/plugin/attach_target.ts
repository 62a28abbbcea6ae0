import type { JsonObject } from "../cni/json.ts";
import type { CniArgs } from "./invocation.ts";

/** What all plugins of a chain are told about the container. */
export interface AttachTarget {
  /** `CNI_CONTAINERID`. */
  readonly containerId: string;
  /** `CNI_NETNS`: the path of the namespace; empty where it is gone. */
  readonly netns: string;
  /** `CNI_IFNAME`. */
  readonly ifName: string;
  /** `CNI_ARGS`, in order. */
  readonly args: CniArgs;
  /** By capability; each plugin gets those that it declares. */
  readonly capabilityArgs: JsonObject;
}
