import type { PodSandbox } from "./generated/api_pb.ts";
import { ANNOTATIONS } from "./annotations.ts";
import type { AskingPod } from "./asked_networks.ts";

/** A pod of a container engine. */
export interface EnginePod extends AskingPod {
  /** The ID of its sandbox. */
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  /** The path of its network namespace; undefined if it has none of its own. */
  readonly netns: string | undefined;
}

/** Reads what an engine says of a pod. */
export function enginePodOf({ id, name, namespace, uid, labels, annotations, linux }: PodSandbox): EnginePod {
  const path = linux?.namespaces.find(({ type }) => type === "network")?.path;
  // Pods that crictl makes may have no UID.
  const known = { id, name, namespace, uid: uid || id, labels, annotations };
  return { ...known, netns: path === "" ? undefined : path };
}

/** Whether a pod asks for networks, well or badly. All other pods are nothing to podwire, and cost no work. */
export function asksForNetworks({ annotations }: Pick<EnginePod, "annotations">): boolean {
  return ANNOTATIONS.some((name) => Object.hasOwn(annotations, name));
}

/** Returns how messages name a pod. */
export function titleOf({ namespace, name }: Pick<EnginePod, "namespace" | "name">): string {
  return `the pod "${namespace}/${name}"`;
}
