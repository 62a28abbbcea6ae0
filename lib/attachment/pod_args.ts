import type { CniArgs } from "../plugin/invocation.ts";

/** The name of a pod, as its plugins get it. */
export interface PodName {
  readonly namespace: string;
  readonly name: string;
}

/** Returns the pod that the `CNI_ARGS` of an attachment name; undefined if they name none, as after `podwire add`. */
export function podInArgs({ cniArgs }: { readonly cniArgs: CniArgs }): PodName | undefined {
  // The first of each is podwire's own; a request adds its own after it.
  const valueOf = (wanted: string) => cniArgs.find(([key]) => key === wanted)?.[1];
  const [namespace, name] = [valueOf("K8S_POD_NAMESPACE"), valueOf("K8S_POD_NAME")];
  return namespace && name ? { namespace, name } : undefined;
}
