import type { JsonObject } from "../cni/json.ts";
import { asResult } from "../cni/result.ts";
import type { AttachmentKey } from "../state/attachment_key.ts";

/**
 * Frees what the built-in plugins, and the plugins that share state with them, created for an attachment and marked with
 * it. The namespace is empty if it is gone.
 */
export type FreeLeftovers = (attachment: LeftoverSource, options: LeftoverOptions) => Promise<Leftovers>;

/** The attachment whose leftovers are freed. */
export interface LeftoverSource extends AttachmentKey {
  /** The text of the configuration list. */
  readonly config: string;
  readonly netns: string;
  /** The addresses in the result of its ADD; none if that is not known. */
  readonly addresses: readonly string[];
}

/** Returns the addresses in the result of an ADD; none if it cannot be read. */
export function recordedAddresses(result: JsonObject | undefined): readonly string[] {
  try {
    return result === undefined ? [] : (asResult(result).ips ?? []).map(({ address }) => address);
  } catch {
    return [];
  }
}

/** How leftovers are freed. */
export interface LeftoverOptions {
  /** Reports what would be freed, and changes nothing. @default {false} */
  readonly dryRun?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The leftovers of an attachment, each as a phrase. */
export interface Leftovers {
  readonly freed: readonly string[];
  readonly remaining: readonly string[];
}
