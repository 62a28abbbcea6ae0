import {
  type NetworkConfigList,
  type PluginConfig,
  requestConfig,
  type ValidAttachment,
} from "../cni/config.ts";
import type { CniError } from "../cni/error.ts";
import { atLeast, type SpecVersion } from "../cni/version.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { PluginCall } from "../plugin/call.ts";
import { Deadline } from "../plugin/deadline.ts";
import type { PluginRunner } from "../plugin/exec.ts";
import type { Verb } from "../plugin/invocation.ts";
import { placeOf } from "./chain.ts";

/** The first version with STATUS and GC. */
const STATUS_AND_GC_VERSION: SpecVersion = "1.1.0";

/** Whether the version of the list has the verbs STATUS and GC. */
export function hasStatusAndGc(list: NetworkConfigList): boolean {
  return atLeast(list.cniVersion, STATUS_AND_GC_VERSION);
}

/**
 * STATUS: calls the plugins in order until one is not ready. A list below 1.1.0 has no STATUS: it is ready, and no plugin
 * is called. The cache is not touched.
 *
 * Source: CNI specification 1.1.0, section 2 "STATUS".
 *
 * @throws {CniError} kind `not-ready` for the codes 50 and 51, otherwise the failure of the plugin
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

/** Options of {@linkcode gcChain}. */
export interface GcChainOptions {
  /** Milliseconds for each plugin. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Called after each plugin that the signal did not interrupt, with its failure if it failed. */
  readonly onAnswer?: ((plugin: PluginConfig, failure?: CniError) => void) | undefined;
}

/**
 * GC: passes the attachments in use to each plugin in order, which may release what belongs to none of them. A plugin that
 * fails does not stop the others, so each plugin has the whole time for itself.
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
