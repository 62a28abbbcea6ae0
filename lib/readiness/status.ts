import { type PluginFacts, requirePluginsForStatus } from "../attachment/plugins_for_status.ts";
import { hasStatusAndGc, statusChain } from "../attachment/status_gc_chain.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { type CniError, ERROR_CODES } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { Deadline } from "../plugin/deadline.ts";

/**
 * Why a network is not ready, as a word that programs can compare.
 *
 * | reason | meaning |
 * | --- | --- |
 * | `no-config` | there is no network: the directory is empty or missing, or lacks the default network |
 * | `invalid-config` | a file of the directory cannot be used |
 * | `plugin-missing` | a plugin of the network, or the one for its addresses, is not installed |
 * | `version-mismatch` | a plugin does not support the version of the network |
 * | `plugin-not-ready` | a plugin answered STATUS with code 50: it cannot attach containers now |
 * | `limited-connectivity` | a plugin answered STATUS with code 51: containers would not reach everything |
 * | `timeout` | a plugin did not answer in time |
 * | `plugin-failed` | a plugin could not be asked, or answered with anything else |
 * | `pending` | it has not been asked yet |
 */
export const STATUS_REASONS = [
  "no-config",
  "invalid-config",
  "plugin-missing",
  "version-mismatch",
  "plugin-not-ready",
  "limited-connectivity",
  "timeout",
  "plugin-failed",
  "pending",
] as const;

/** One of {@linkcode STATUS_REASONS}. */
export type StatusReason = typeof STATUS_REASONS[number];

/** The answer of the plugins of a network. */
export interface NetworkAnswer {
  /** Whether an ADD should succeed. */
  readonly ready: boolean;
  /** Why it is not ready. */
  readonly reason: StatusReason | undefined;
  /** A message for people. */
  readonly msg: string | undefined;
  /** The complete error. */
  readonly error: CniError | undefined;
  /** What keeps no container from being attached, but limits what it reaches. @default {[]} */
  readonly warnings?: readonly string[] | undefined;
}

/** Whether a network can attach containers now and, if it cannot, why. */
export interface NetworkStatus extends NetworkAnswer {
  /** Its name; undefined for an unusable file in which it cannot be read. */
  readonly network: string | undefined;
  /** Since when it is ready, or fails for this reason, ISO 8601; undefined if nothing is remembered. */
  readonly since: string | undefined;
  /** The end of the grace, ISO 8601: it fails but was ready before, and counts as ready until then. */
  readonly graceUntil: string | undefined;
  /** The configuration file. */
  readonly file: string | undefined;
}

/** Options of {@linkcode probeNetwork}. */
export interface ProbeOptions extends PluginFacts {
  /** The timeout of STATUS for the whole chain, in milliseconds. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Checks whether a network is ready: whether its plugins are installed and support its version. From version 1.1.0 on it also
 * sends STATUS to the plugins. It takes no lock and waits for no other operation.
 *
 * @throws {CniError} if the signal fires, or kind `permission` for a Deno permission; neither says anything about the
 * network
 */
export async function probeNetwork(
  offered: NetworkConfigList,
  options: ProbeOptions,
): Promise<NetworkAnswer> {
  const { timeoutMs, signal } = options;
  try {
    const list = await requirePluginsForStatus(offered, options, signal);
    using deadline = new Deadline(timeoutMs, signal);
    await statusChain(options.runner, list, deadline.signal);
    const msg = hasStatusAndGc(list)
      ? undefined
      : `version ${list.cniVersion} has no STATUS; its plugins are there and support it`;
    return { ready: true, reason: undefined, msg, error: undefined };
  } catch (cause) {
    const error = asCniError(cause, { verb: "STATUS", network: offered.name });
    if (signal?.aborted || error.kind === "cancelled" || isDenoPermission(error)) throw error;
    return failed(error);
  }
}

/** Returns the answer of a network that fails with that error. */
export function failed(error: CniError, reason: StatusReason = reasonOf(error)): NetworkAnswer {
  return { ready: false, reason, msg: error.message, error };
}

function reasonOf({ kind, code }: CniError): StatusReason {
  if (kind === "plugin-missing" || kind === "timeout") return kind;
  if (code === ERROR_CODES.incompatibleVersion) return "version-mismatch";
  if (code === ERROR_CODES.pluginNotAvailable) return "plugin-not-ready";
  if (code === ERROR_CODES.limitedConnectivity) return "limited-connectivity";
  return kind === "config" ? "invalid-config" : "plugin-failed";
}

/** Whether a Deno permission is missing. That says nothing about the network. */
function isDenoPermission({ kind, context }: CniError): boolean {
  return kind === "permission" && (context.hint ?? "").includes("--allow-");
}
