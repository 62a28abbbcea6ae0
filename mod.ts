/**
 * podwire gives pod sandboxes their network: it makes network namespaces, runs CNI plugins, remembers what it attached, and
 * tears it down again.
 *
 * ```ts
 * import { Podwire } from "@podwire/podwire";
 *
 * const { sandboxes } = new Podwire();
 * await using sandbox = await sandboxes.run({ name: "job" });
 * const { stdout } = await sandboxes.exec(sandbox.id, { program: "ip", args: ["-br", "addr"] });
 * console.log(sandbox.ips, stdout);
 * ```
 *
 * `Podwire` also has the operations of cnitool: `add`, `check`, `del`, `status`, `gc` and `validate` take the name of a network
 * in the configuration directory, or a network that `loadNetworkFile` or `parseNetwork` returned. `Pods` is for container
 * engines, which make the namespaces themselves.
 *
 * ```ts
 * import { parseNetwork, Podwire } from "@podwire/podwire";
 *
 * const podwire = new Podwire();
 * const network = parseNetwork('{"cniVersion": "1.1.0", "name": "lo", "plugins": [{"type": "loopback"}]}');
 * const target = { containerId: "c1", netns: "/run/netns/c1", ifName: "lo" };
 * const { ips = [] } = await podwire.add(network, target, { signal: AbortSignal.timeout(30_000) });
 * console.log(ips.map(({ address }) => address));
 * ```
 *
 * Other entries are smaller: `@podwire/podwire/plugin` for those who write plugins, `/cni` for the words of CNI, `/client` for
 * the daemon, and `/testing` for tests.
 *
 * Importing it does nothing. Each method says which permissions it needs; nothing prompts, and the environment is never read.
 * The last argument of every call takes a `signal`, and every error is a `CniError`.
 *
 * @module
 */

// The whole runtime.
export { DEFAULTS, type NetworkRef, Podwire, type RuntimeOptions } from "./lib/runtime/podwire.ts";

// The pods of a container engine.
export type { CallOptions } from "./lib/async/call_options.ts";
export type { BackgroundOptions } from "./lib/runtime/background.ts";
export { Pods, type PodsGcRequest, type PodsOptions, type StatusRequest } from "./lib/runtime/pods.ts";
export { type PodToTearDown, WHEN_NO_NETWORK, type WhenNoNetwork } from "./lib/sandbox/engine_pods.ts";
export type { PodNetworkStatus, PodStatus } from "./lib/sandbox/pod_status.ts";
export type { LinkAddress as PodLinkAddress } from "./lib/host/link_info.ts";
export type { PodLink } from "./lib/pod/inspect_netns.ts";
export type { PodNetwork } from "./lib/pod/pod_network.ts";
export type { PodAddress, PodInterface, PodResult } from "./lib/pod/pod_result.ts";

// Networks.
export type { CreatedNetwork } from "./lib/network/create_network.ts";
export {
  DRIVER_OPTIONS,
  type DriverOption,
  DRIVERS,
  type NetworkDriver,
  type NetworkRequest,
} from "./lib/network/network_request.ts";
export type { NetworkOperations } from "./lib/runtime/network_operations.ts";
export type { PlannedCall } from "./lib/attachment/planned_calls.ts";
export type { SandboxPlan } from "./lib/sandbox/plan.ts";
export type { PluginLookupOptions, PluginOperations } from "./lib/runtime/plugin_operations.ts";
export type { NetworkChange } from "./lib/network/set_network.ts";
export type { Network, NetworkAttachment } from "./lib/network/view_network.ts";

// Sandboxes.
export type { NetnsSource, RunOptions, SandboxRequest } from "./lib/sandbox/request.ts";
export type { OciRuntime } from "./lib/sandbox/oci_runtime.ts";
export type { SandboxContainer } from "./lib/sandbox/container_record.ts";
export type { Refusal } from "./lib/plugin/refusal.ts";
export type { FindPluginOptions } from "./lib/plugin/find.ts";
export { type Sandbox, SANDBOX_STATES, type SandboxNetwork, type SandboxState } from "./lib/sandbox/view.ts";
export type { ConnectOptions, DisconnectOptions } from "./lib/sandbox/connect.ts";
export type {
  DisposableSandbox,
  EnterOptions,
  ExecRequest,
  FindOptions,
  InterfaceTraffic,
  RemoveOptions,
  SandboxEntry,
  Sandboxes,
  SandboxTraffic,
  StopOptions,
} from "./lib/sandbox/sandbox.ts";
export type { NetnsHandle } from "./lib/host/netns_handle.ts";
export type { LinkCounters, LinkTraffic } from "./lib/host/link_info.ts";
export type { InsidePaths } from "./lib/inside/inside_paths.ts";
export type { CriSandbox } from "./lib/sandbox/cri_record.ts";
export type { NriSandbox } from "./lib/sandbox/nri_record.ts";
export type { InfraSettings } from "./lib/sandbox/infra_settings.ts";
export type { SandboxFilter, SandboxSelection } from "./lib/sandbox/filter.ts";
export type {
  RecoverOptions,
  RecoveryItem,
  RecoveryProgress,
  RecoveryReport,
} from "./lib/sandbox/recovery_report.ts";
export {
  REPAIR_KINDS,
  type RepairItem,
  type RepairKind,
  type RepairReport,
  type RepairRequest,
} from "./lib/sandbox/repair.ts";

// Networks and attachments.
export {
  type CatalogEntry,
  DEFAULT_REASONS,
  type DefaultReason,
  FILE_STATUSES,
  type FileStatus,
} from "./lib/catalog/entry.ts";
export type {
  Bandwidth,
  IpRange,
  NetworkSettings,
  PodDns,
  PodIdentity,
  PodRequest,
  PortMapping,
  WantedNetwork,
  WantedNetworks,
} from "./lib/pod/request.ts";
export { type PortProtocol, PROTOCOLS } from "./lib/cni/port_protocol.ts";
export type { PublishedPort } from "./lib/state/host_port.ts";
export type { AttachRequest, DelOptions } from "./lib/attachment/attachments.ts";
export type { AttachmentFilter } from "./lib/state/attachment_filter.ts";
export {
  ATTACHMENT_STATES,
  type AttachmentKey,
  type AttachmentRecord,
  type AttachmentState,
  type DisplacedRoutes,
  type RecordedRoute,
} from "./lib/state/attachment_store.ts";
export { loadDirectory, type LoadedFile, loadNetworkFile, parseNetwork } from "./lib/catalog/load.ts";
export {
  FORGET_OUTCOMES,
  type ForgetOutcome,
  type ForgetReport,
  type ForgetRequest,
  type ForgottenAttachment,
} from "./lib/attachment/forget.ts";
export type { GcItem, GcReport, GcRequest, SweepReport } from "./lib/gc/report.ts";
export type { AttachmentName, GcSelection, ValidPods } from "./lib/gc/verdict.ts";
export type { StatusOptions } from "./lib/readiness/status_check.ts";
export {
  type NetworkAnswer,
  type NetworkStatus,
  STATUS_REASONS,
  type StatusReason,
} from "./lib/readiness/status.ts";
export type { ValidNetwork } from "./lib/attachment/validate.ts";

// Plugins, both ends of the wire.
export { DEFAULT_TIMEOUTS, type Timeouts } from "./lib/plugin/deadline.ts";
export { BUILTIN_POLICIES, type BuiltinPolicy } from "./lib/plugin/locate.ts";
export { type CniArgs, type Verb, VERBS } from "./lib/plugin/invocation.ts";
export {
  LOCK_KINDS,
  type LockKind,
  type LockWaitEvent,
  type Observer,
  type Operation,
  type OperationEvent,
  OPERATIONS,
  type Outcome,
  type PluginCallEvent,
} from "./lib/plugin/instrumentation.ts";
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
export {
  DELEGATE_ENVIRONMENT,
  type PluginProcess,
  runPlugin,
  type RunPluginOptions,
} from "./lib/plugin/run_plugin.ts";
export { decodeVersions, type PluginVersions } from "./lib/plugin/versions.ts";
export { type Io, processIo, type SignalName } from "./lib/host/io.ts";
export {
  processTracer,
  type Span,
  type SpanAttributes,
  type Tracer,
  type TracerOptions,
} from "./lib/host/telemetry.ts";

// The words of CNI.
export {
  CniError,
  type CniErrorOptions,
  ERROR_CODES,
  ERROR_KINDS,
  type ErrorKind,
  isCniError,
  type PluginPlace,
} from "./lib/cni/error.ts";
export {
  type ConfigSource,
  listFromPluginConfig,
  type NetworkConfigList,
  parseConfigList,
  parsePluginConfig,
  type PluginConfig,
} from "./lib/cni/config.ts";
export {
  type Json,
  type JsonNumber,
  type JsonObject,
  type JsonSource,
  parseJson,
  printJson,
} from "./lib/cni/json.ts";
export type { DuplicateKeys } from "./lib/cni/json_reader.ts";
export {
  asResult,
  convertResult,
  decodeResult,
  type Dns,
  type Interface,
  type IpConfig,
  type Result,
  type Route,
} from "./lib/cni/result.ts";
export { CURRENT_VERSION, SPEC_VERSIONS, type SpecVersion } from "./lib/cni/version.ts";

// Types of options: programs and logs.
export type { CommandEnd, CommandOutcome, CommandRequest, RunCommand } from "./lib/host/command.ts";
export {
  createLogger,
  LOG_FORMATS,
  LOG_LEVELS,
  type LogFields,
  type LogFormat,
  type Logger,
  type LoggerOptions,
  type LogLevel,
} from "./lib/host/log.ts";
export type { AttachTarget } from "./lib/plugin/attach_target.ts";
