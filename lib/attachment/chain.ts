import { type NetworkConfigList, type PluginConfig, requestConfig } from "../cni/config.ts";
import { CniError, type CniErrorOptions, ERROR_CODES } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { convertResult } from "../cni/result.ts";
import { atLeast } from "../cni/version.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { AttachTarget } from "../plugin/attach_target.ts";
import type { PluginRunner } from "../plugin/exec.ts";
import type { Verb } from "../plugin/invocation.ts";
import { withDefectHint } from "./check_defect.ts";

/**
 * ADD: runs the plugins in order, each with the result of the one before. Calls `onResult` with each result: if a later
 * plugin fails, the plugins before it need the last result to undo their work.
 *
 * Source: CNI specification 1.1.0, section 3 "Attachment".
 */
export async function addChain(
  runner: PluginRunner,
  list: NetworkConfigList,
  target: AttachTarget,
  signal: AbortSignal,
  onResult: (result: JsonObject) => void = () => {},
): Promise<JsonObject> {
  let result: JsonObject | undefined;
  for (const [index, plugin] of list.plugins.entries()) {
    const config = request(list, plugin, target, result);
    result = await withPlace(
      "ADD",
      list,
      index,
      target,
      () => runner.add({ ...callOf("ADD", plugin, target, signal), config }, list.cniVersion),
    );
    onResult(result);
  }
  return result ?? { cniVersion: list.cniVersion };
}

/** CHECK: runs the plugins in order, each with the final result of the ADD. */
export async function checkChain(
  runner: PluginRunner,
  list: NetworkConfigList,
  target: AttachTarget,
  added: JsonObject | undefined,
  signal: AbortSignal,
): Promise<void> {
  for (const [index, { plugin, config }] of checkRequests(list, target, added).entries()) {
    await withPlace(
      "CHECK",
      list,
      index,
      target,
      () =>
        runner.call({ ...callOf("CHECK", plugin, target, signal), config }).catch((error: unknown) => {
          throw withDefectHint(error, plugin.type, added && cachedResult(list, added));
        }),
    );
  }
}

/** Returns the plugins with the configurations that they get at CHECK. */
export function checkRequests(
  list: NetworkConfigList,
  target: Pick<AttachTarget, "capabilityArgs">,
  added: JsonObject | undefined,
): readonly { readonly plugin: PluginConfig; readonly config: JsonObject }[] {
  const prevResult = added && cachedResult(list, added);
  return list.plugins.map((plugin) => ({ plugin, config: request(list, plugin, target, prevResult) }));
}

/**
 * DEL: runs the plugins in reverse order, each with the final result of the ADD from version 0.4.0 on. Stops at the first
 * error: the address of a container must not become free while the rules of a later plugin for it still exist.
 *
 * Errors of `firstSkippedPlugin` and the plugins after it are ignored: they created nothing in the ADD, and must not keep
 * the plugins before them from undoing their work.
 */
export async function delChain(
  runner: PluginRunner,
  list: NetworkConfigList,
  target: AttachTarget,
  added: JsonObject | undefined,
  signal: AbortSignal,
  { firstSkippedPlugin, beforeFirst }: DelChainOptions = {},
): Promise<void> {
  const prevResult = atLeast(list.cniVersion, "0.4.0") ? usableResult(list, added) : undefined;
  for (const [index, plugin] of [...list.plugins.entries()].reverse()) {
    const config = request(list, plugin, target, prevResult);
    if (index === 0) await beforeFirst?.();
    await withPlace("DEL", list, index, target, async () => {
      try {
        await runner.call({ ...callOf("DEL", plugin, target, signal), config });
      } catch (error) {
        // The plugin does not know the container any more, which is the goal of DEL.
        if (asCniError(error).code === ERROR_CODES.unknownContainer) return;
        if (index < (firstSkippedPlugin ?? Infinity) || signal.aborted) throw error;
      }
    });
  }
}

/** Options of {@linkcode delChain}. */
export interface DelChainOptions {
  /** The index of the first plugin that did not run in the ADD. */
  readonly firstSkippedPlugin?: number | undefined;
  /** Called before the DEL of the first plugin of the list, which created the interface. */
  readonly beforeFirst?: (() => Promise<void>) | undefined;
}

function cachedResult(list: NetworkConfigList, added: JsonObject): JsonObject {
  try {
    return convertResult(added, list.cniVersion);
  } catch (error) {
    const cause = asCniError(error);
    throw new CniError("io", `the result of its ADD cannot be used: ${cause.msg}`, {
      verb: "CHECK",
      network: list.name,
      code: cause.code,
      cause,
    });
  }
}

/** A result that no longer converts must not make an attachment undeletable. */
function usableResult(list: NetworkConfigList, added: JsonObject | undefined): JsonObject | undefined {
  try {
    return added && convertResult(added, list.cniVersion);
  } catch {
    return undefined;
  }
}

/**
 * Runs a step. Adds verb, network, and the plugin with its place in the chain to what it throws, and the hint that its DHCP
 * daemon is missing.
 */
async function withPlace<T>(
  verb: Verb,
  list: NetworkConfigList,
  index: number,
  { containerId, ifName }: AttachTarget,
  step: () => Promise<T>,
): Promise<T> {
  try {
    return await step();
  } catch (cause) {
    const { withDhcpHint } = await import("../plugin/dhcp.ts");
    const error = await withDhcpHint(cause, list.plugins[index]?.json ?? {});
    throw asCniError(error, { ...placeOf(verb, list, index), containerId, ifName });
  }
}

/** Returns the verb, the network and the plugin, for an error. */
export function placeOf(verb: Verb, list: NetworkConfigList, index: number): CniErrorOptions {
  const type = list.plugins[index]?.type ?? "?";
  return { verb, network: list.name, plugin: { type, index, count: list.plugins.length } };
}

function callOf(verb: Verb, plugin: PluginConfig, target: AttachTarget, signal: AbortSignal) {
  const { containerId, netns, ifName, args } = target;
  return { verb, type: plugin.type, containerId, netns, ifName, args, signal };
}

function request(
  list: NetworkConfigList,
  plugin: PluginConfig,
  target: Pick<AttachTarget, "capabilityArgs">,
  prevResult: JsonObject | undefined,
): JsonObject {
  return requestConfig(list, plugin, {
    runtimeConfig: target.capabilityArgs,
    prevResult,
  });
}
