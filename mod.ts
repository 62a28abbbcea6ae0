/**
 * podwire gives pod sandboxes their network: it makes network namespaces, runs CNI plugins,
 * remembers what it attached, and takes it down again.
 *
 * ```ts
 * import { Podwire } from "@podwire/podwire";
 *
 * const podwire = new Podwire({ timeouts: { ADD: 30_000 } });
 * for (const { file, name, status, reason } of await podwire.networks()) {
 *   console.log(file, name, status, reason);
 * }
 * ```
 *
 * Importing it does nothing. Each method says which permissions it needs; nothing prompts, and the
 * environment is never read.
 *
 * @module
 */

// The runtime, whole.
export { DEFAULTS, Podwire, type RuntimeOptions } from "./lib/runtime.ts";

// Sandboxes.
export type { NetnsSource, SandboxRequest } from "./lib/sandbox/request.ts";
export type { Sandbox, SandboxNetwork } from "./lib/sandbox/view.ts";
export type { FindOptions, Sandboxes } from "./lib/sandbox/sandbox.ts";
export type { RecoveryItem, RecoveryReport } from "./lib/sandbox/recovery.ts";

// Networks and attachments.
export type { CatalogEntry } from "./lib/pod/catalog.ts";
export type { Bandwidth, PodRequest, PortMapping, WantedNetwork } from "./lib/pod/request.ts";
export type { AttachRequest } from "./lib/network/network.ts";
export type { ChainTarget } from "./lib/network/chain.ts";
export {
  ATTACHMENT_STATES,
  type AttachmentKey,
  type AttachmentRecord,
  type AttachmentState,
} from "./lib/network/record.ts";
export { loadDirectory, type LoadedFile } from "./lib/network/load.ts";

// Plugins, both ends of the wire.
export { DEFAULT_TIMEOUTS, type Timeouts } from "./lib/plugin/deadline.ts";
export { BUILTIN_POLICIES, type BuiltinPolicy } from "./lib/plugin/exec.ts";
export { type CniArgs, type Verb, VERBS } from "./lib/plugin/invocation.ts";
export {
  type BuiltinTable,
  type Delegate,
  type Plugin,
  type PluginOutcome,
  type PluginRequest,
  type PluginWorld,
  servePlugin,
} from "./lib/plugin/serve.ts";

// CNI's words.
export {
  CniError,
  type CniErrorOptions,
  ERROR_CODES,
  ERROR_KINDS,
  type ErrorKind,
  isCniError,
  type PluginPlace,
} from "./lib/spec/error.ts";
export type { NetworkConfigList, PluginConfig } from "./lib/spec/config.ts";
export type { Json, JsonNumber, JsonObject } from "./lib/spec/json.ts";
export {
  asResult,
  convertResult,
  type Dns,
  type Interface,
  type IpConfig,
  type Result,
  type Route,
} from "./lib/spec/result.ts";
export { CURRENT_VERSION, SPEC_VERSIONS, type SpecVersion } from "./lib/spec/version.ts";

// What the options take: programs and logs.
export type { CommandEnd, CommandOutcome, CommandRequest, RunCommand } from "./lib/host/command.ts";
export {
  createLogger,
  LOG_LEVELS,
  type LogFields,
  type Logger,
  type LoggerOptions,
  type LogLevel,
} from "./lib/host/log.ts";
