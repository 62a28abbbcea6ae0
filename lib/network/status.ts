import { Deadline } from "../plugin/deadline.ts";
import type { PluginRunner } from "../plugin/exec.ts";
import { asCniError } from "../plugin/failure.ts";
import type { VersionProbe } from "../plugin/versions.ts";
import type { NetworkConfigList } from "../spec/config.ts";
import { type CniError, ERROR_CODES } from "../spec/error.ts";
import { inCommonVersion } from "./spoken_version.ts";
import { hasUpkeep, statusChain } from "./upkeep.ts";

/** Whether a network can attach containers now, and if not, why. */
export interface NetworkStatus {
  /** Its name. */
  readonly network: string;
  /** Whether an ADD can be expected to succeed. */
  readonly ready: boolean;
  /**
   * Why not, in a word: `plugin-not-available` (code 50), `limited-connectivity` (code 51), `incompatible-version`
   * (code 1), else the kind of the error.
   */
  readonly reason: string | undefined;
  /** What there is to say for people. */
  readonly msg: string | undefined;
  /** What failed, whole. */
  readonly error: CniError | undefined;
}

/** What {@linkcode networkStatus} asks with. */
export interface StatusOptions {
  readonly runner: PluginRunner;
  readonly probe: VersionProbe;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

const REASONS: Readonly<Record<number, string>> = {
  [ERROR_CODES.incompatibleVersion]: "incompatible-version",
  [ERROR_CODES.pluginNotAvailable]: "plugin-not-available",
  [ERROR_CODES.limitedConnectivity]: "limited-connectivity",
};

/**
 * Asks the plugins of a network whether it is ready. No lock is taken and no other plugin waited for.
 *
 * @throws {CniError} only kind `cancelled` and `permission`, which tell nothing about the network
 */
export async function networkStatus(
  offered: NetworkConfigList,
  { runner, probe, timeoutMs, signal }: StatusOptions,
): Promise<NetworkStatus> {
  const network = offered.name;
  try {
    const list = hasUpkeep(offered) ? await inCommonVersion(offered, probe, signal) : offered;
    using deadline = new Deadline(timeoutMs, signal);
    await statusChain(runner, list, deadline.signal);
    const msg = hasUpkeep(list) ? undefined : `version ${list.cniVersion} has no STATUS; no plugin was asked`;
    return { network, ready: true, reason: undefined, msg, error: undefined };
  } catch (cause) {
    const error = asCniError(cause, { verb: "STATUS", network });
    if (error.kind === "cancelled" || isOurs(error)) throw error;
    return { network, ready: false, reason: REASONS[error.code] ?? error.kind, msg: error.message, error };
  }
}

/** What the caller may not do is no state of the network. */
function isOurs({ kind, context }: CniError): boolean {
  return kind === "permission" && (context.hint ?? "").includes("--allow-");
}
