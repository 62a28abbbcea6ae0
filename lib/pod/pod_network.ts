import type { JsonObject } from "../cni/json.ts";
import type { AttachmentRecord } from "../state/attachment_record.ts";
import { type PublishedPort, publishedPortsOf } from "../state/host_port.ts";

/** One network of a pod that is up. */
export interface PodNetwork {
  /** The name of the network. */
  readonly name: string;
  /** The interface inside the pod. */
  readonly ifName: string;
  /** In the version of the network's configuration. */
  readonly result: JsonObject;
  /** The ports of the host that lead to it, with those that were chosen. @default {none} */
  readonly ports?: readonly PublishedPort[];
  /** `NAMESPACE/NAME`, by which Kubernetes knows the network. @default {none} */
  readonly title?: string;
}

/** Returns the attached networks among the records of a pod. */
export function networksOf(records: readonly AttachmentRecord[]): readonly PodNetwork[] {
  return records.flatMap(({ state, network, ifName, result, capabilityArgs, title }) => {
    if (state !== "attached" || result === undefined) return [];
    const ports = portsMember(publishedPortsOf(capabilityArgs));
    return [{ name: network, ifName, result, ...ports, ...titleMember(title) }];
  });
}

/** Returns the title as a member of a {@linkcode PodNetwork}. */
export function titleMember(title: string | undefined): Pick<PodNetwork, "title"> {
  return title === undefined ? {} : { title };
}

/** Returns the ports as a member of a {@linkcode PodNetwork}. */
export function portsMember(ports: readonly PublishedPort[] = []): Pick<PodNetwork, "ports"> {
  return ports.length === 0 ? {} : { ports };
}
