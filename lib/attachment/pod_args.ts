import type { CniArgs } from "../plugin/invocation.ts";

/** A pod, as its plugins were told of it. */
export interface PodName {
  readonly namespace: string;
  readonly name: string;
}

/** The pod in the `CNI_ARGS` of an attachment; undefined where they name none, as those of an `add` by hand. */
export function podInArgs({ cniArgs }: { readonly cniArgs: CniArgs }): PodName | undefined {
  // The first of each is podwire's own, before those that a request adds.
  const valueOf = (wanted: string) => cniArgs.find(([key]) => key === wanted)?.[1];
  const [namespace, name] = [valueOf("K8S_POD_NAMESPACE"), valueOf("K8S_POD_NAME")];
  return namespace && name ? { namespace, name } : undefined;
}
