import { Deadline } from "../plugin/deadline.ts";
import type { PluginCall, PluginRunner } from "../plugin/exec.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { Verb } from "../plugin/invocation.ts";
import type { PluginVersions, VersionProbe } from "../plugin/versions.ts";
import {
  type NetworkConfigList,
  type PluginConfig,
  requestConfig,
  type ValidAttachment,
} from "../cni/config.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { atLeast, type SpecVersion } from "../cni/version.ts";
import { placeOf } from "./chain.ts";
import { commonVersion } from "./version_negotiation.ts";

/** The first version with STATUS and GC. */
const STATUS_AND_GC_VERSION: SpecVersion = "1.1.0";

/** Whether the list's version has the verbs STATUS and GC. */
export function hasStatusAndGc(list: NetworkConfigList): boolean {
  return atLeast(list.cniVersion, STATUS_AND_GC_VERSION);
}

/**
 * STATUS: the plugins in order until one is not ready. A list below 1.1.0 has no STATUS: it is ready without anybody
 * being asked. The cache is not touched.
 *
 * Source: CNI specification 1.1.0, section 2 "STATUS".
 *
 * @throws {CniError} kind `not-ready` for the codes 50 and 51, else what became of the plugin
 */
export async function statusChain(
  runner: PluginRunner,
  list: NetworkConfigList,
  signal: AbortSignal,
): Promise<void> {
  if (!hasStatusAndGc(list)) return;
  for (const [index, plugin] of list.plugins.entries()) {
    try {
      await runner.call({ ...callOf("STATUS", plugin, signal), config: requestConfig(list, plugin) });
    } catch (error) {
      throw asCniError(error, placeOf("STATUS", list, index));
    }
  }
}

/** How {@linkcode gcChain} goes about it. */
export interface GcChainOptions {
  /** Milliseconds for each plugin. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Called with what became of each plugin that was not cut short by the signal. */
  readonly onAnswer?: ((plugin: PluginConfig, failure?: CniError) => void) | undefined;
}

/**
 * GC: each plugin in order is told which attachments are in use and may release what belongs to none of them. One that
 * fails does not stop the others, so each has the time for itself.
 *
 * Source: CNI specification 1.1.0, section 2 "GC".
 */
export async function gcChain(
  runner: PluginRunner,
  list: NetworkConfigList,
  validAttachments: readonly ValidAttachment[],
  { timeoutMs, signal, onAnswer = () => {} }: GcChainOptions,
): Promise<readonly CniError[]> {
  const failures: CniError[] = [];
  for (const [index, plugin] of list.plugins.entries()) {
    try {
      using deadline = new Deadline(timeoutMs, signal);
      const config = requestConfig(list, plugin, { validAttachments });
      await runner.call({ ...callOf("GC", plugin, deadline.signal), config });
      onAnswer(plugin);
    } catch (error) {
      const failure = asCniError(error, placeOf("GC", list, index));
      failures.push(failure);
      if (!signal?.aborted) onAnswer(plugin, failure);
    }
  }
  return failures;
}

function callOf(verb: Verb, { type }: PluginConfig, signal: AbortSignal): Omit<PluginCall, "config"> {
  return { verb, type, containerId: "", netns: "", ifName: "", args: [], signal };
}

/** What a list that can be used comes to. */
export interface ValidNetwork {
  /** The version in which its plugins would be spoken with. */
  readonly cniVersion: SpecVersion;
  /** The capabilities that its plugins take, sorted. */
  readonly capabilities: readonly string[];
}

/**
 * Asks all plugins of the list for their versions and compares them with the list's.
 *
 * @throws {CniError} with what is wrong; where that is several things, its `cause` is an `AggregateError` that holds
 * each, and `details` tells them all
 */
export async function validateChain(
  probe: VersionProbe,
  list: NetworkConfigList,
  signal?: AbortSignal,
): Promise<ValidNetwork> {
  const answers: PluginVersions[] = [];
  const failures: CniError[] = [];
  for (const [index, { type, json }] of list.plugins.entries()) {
    try {
      const answer = await probe.of(type, signal, json);
      requireCommonVersion(list, type, answer);
      answers.push(answer);
    } catch (error) {
      failures.push(asCniError(error, placeOf("VERSION", list, index)));
    }
  }
  if (failures.length > 0) throw gathered(list, failures);
  const capabilities = new Set(list.plugins.flatMap((plugin) => plugin.capabilities));
  return { cniVersion: commonVersion(list, answers), capabilities: [...capabilities].sort() };
}

/**
 * Refuses a plugin that supports none of the list's versions.
 *
 * @throws {CniError} kind `config`, code 1
 */
export function requireCommonVersion(
  list: NetworkConfigList,
  type: string,
  { supportedVersions }: PluginVersions,
): void {
  if (list.cniVersions.some((version) => supportedVersions.includes(version))) return;
  const wanted = list.cniVersions.map((version) => JSON.stringify(version)).join(", ");
  throw new CniError("config", `plugin ${type} does not support config version ${wanted}`, {
    code: ERROR_CODES.incompatibleVersion,
    details: `it supports ${supportedVersions.join(", ")}`,
  });
}

/** One failure as it is; several as one, of their kind and code where these agree. */
function gathered(list: NetworkConfigList, failures: readonly CniError[]): CniError {
  const [first] = failures;
  if (first === undefined || failures.length === 1) {
    return first ?? new CniError("internal", "nothing failed");
  }
  const kind = failures.every((failure) => failure.kind === first.kind) ? first.kind : "config";
  const code = failures.every((failure) => failure.code === first.code)
    ? first.code
    : ERROR_CODES.invalidNetworkConfig;
  const msg = `${failures.length} of its ${list.plugins.length} plugins cannot be used`;
  return new CniError(kind, msg, {
    code,
    verb: "VERSION",
    network: list.name,
    details: failures.map(({ message }) => message).join("; "),
    cause: new AggregateError(failures, msg),
  });
}
