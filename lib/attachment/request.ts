import type { NetworkConfigList } from "../cni/config.ts";
import type { AttachTarget } from "../plugin/attach_target.ts";

/** One attachment to make, check or delete. */
export interface AttachRequest extends AttachTarget {
  /** The owner, as `formatOwner` writes it: `sandbox:<id>`, `pods:<engine>`, or a name such as `cli`. */
  readonly owner: string;
  /**
   * Of an ADD: whether podwire itself has made the namespace for this container, so that no interface of others is in it
   * and none is looked for. @default {false}
   */
  readonly isNewNetns?: boolean | undefined;
  /**
   * Of a DEL: whether the plugins get the namespace also where neither a record nor libcni's cache says that its interface
   * is an attachment, and so remove what has the name. @default {false}
   */
  readonly forceForeign?: boolean | undefined;
  /** Cuts the operation short, with its plugins; what was begun is undone. */
  readonly signal?: AbortSignal | undefined;
}

/** One of several attachments that are to be made for a container. */
export interface WantedAttachment extends Pick<AttachTarget, "ifName" | "args" | "capabilityArgs"> {
  readonly list: NetworkConfigList;
}
