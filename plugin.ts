/**
 * What a CNI plugin needs: {@linkcode runPlugin} serves the verbs of a plugin to the runtime that started the process. This
 * entry loads few modules, so that a plugin starts fast.
 *
 * ```ts
 * import { CURRENT_VERSION, type Plugin, processIo, runPlugin, SPEC_VERSIONS } from "@podwire/podwire/plugin";
 *
 * const plugin: Plugin = {
 *   about: "CNI plugin hello",
 *   versions: SPEC_VERSIONS,
 *   verbs: {
 *     ADD: ({ ifName: name, netns: sandbox }) => ({
 *       cniVersion: CURRENT_VERSION,
 *       interfaces: [{ name, sandbox }],
 *     }),
 *     DEL: () => {},
 *   },
 * };
 *
 * if (import.meta.main) Deno.exit(await runPlugin(plugin, processIo()));
 * ```
 *
 * Importing it does nothing. Permissions: see {@linkcode runPlugin}.
 *
 * @module
 */

export {
  DELEGATE_ENVIRONMENT,
  type PluginProcess,
  runPlugin,
  type RunPluginOptions,
} from "./lib/plugin/run_plugin.ts";
export {
  type BuiltinPlugin,
  type BuiltinTable,
  type Delegate,
  type Plugin,
  type PluginOutcome,
  type PluginRequest,
  type PluginVerb,
  type PluginVerbs,
  type PluginWorld,
  servePlugin,
} from "./lib/plugin/serve.ts";
export type { FindPluginOptions } from "./lib/plugin/find.ts";
export { type CniArgs, type Verb, VERBS } from "./lib/plugin/invocation.ts";
export { type Io, processIo, type SignalName } from "./lib/host/io.ts";
export type { CommandEnd, CommandOutcome, CommandRequest, RunCommand } from "./lib/host/command.ts";
export type { CallOptions } from "./lib/async/call_options.ts";
export {
  CniError,
  type CniErrorOptions,
  ERROR_CODES,
  ERROR_KINDS,
  type ErrorKind,
  isCniError,
  type PluginPlace,
} from "./lib/cni/error.ts";
export type { Json, JsonNumber, JsonObject } from "./lib/cni/json.ts";
export type { Dns, Interface, IpConfig, Result, Route } from "./lib/cni/result.ts";
export { CURRENT_VERSION, SPEC_VERSIONS, type SpecVersion } from "./lib/cni/version.ts";
