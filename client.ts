/**
 * A client of the daemon that `podwire serve` starts.
 *
 * ```ts
 * import { DaemonClient } from "@podwire/podwire/client";
 *
 * const client = new DaemonClient("/run/podwire/podwire.sock");
 * await using sandbox = await client.run({ name: "job" });
 * console.log(sandbox.netns, sandbox.ips);
 * ```
 *
 * Importing it does nothing. Permissions: see {@linkcode DaemonClient}.
 *
 * @module
 */

export { DaemonClient, type DaemonEvent, type DaemonRemoveOptions } from "./lib/daemon/client.ts";
export type { NetworkRequest } from "./lib/network/network_request.ts";
export type { NetworkChange } from "./lib/network/set_network.ts";
export type { Network } from "./lib/network/view_network.ts";
export type { ConnectOptions, DisconnectOptions } from "./lib/sandbox/connect.ts";
export type { DisposableSandbox } from "./lib/sandbox/disposable.ts";
export type { InsidePaths } from "./lib/inside/inside_paths.ts";
export type { CriSandbox } from "./lib/sandbox/cri_record.ts";
export type { InfraSettings } from "./lib/sandbox/infra_settings.ts";
export type { SandboxFilter } from "./lib/sandbox/filter.ts";
export type { FindOptions } from "./lib/sandbox/find_sandbox.ts";
export type { NetnsSource, SandboxRequest } from "./lib/sandbox/request.ts";
export { type Sandbox, SANDBOX_STATES, type SandboxNetwork, type SandboxState } from "./lib/sandbox/view.ts";
export type { SandboxContainer } from "./lib/sandbox/container_record.ts";
export type { OciRuntime } from "./lib/sandbox/oci_runtime.ts";
export type {
  Bandwidth,
  IpRange,
  NetworkSettings,
  PodDns,
  PortMapping,
  WantedNetwork,
  WantedNetworks,
} from "./lib/pod/request.ts";
export { type PortProtocol, PROTOCOLS } from "./lib/cni/port_protocol.ts";
export type { PublishedPort } from "./lib/state/host_port.ts";
export type { CniArgs } from "./lib/plugin/invocation.ts";
export type { Json, JsonNumber, JsonObject } from "./lib/cni/json.ts";
export type { CallOptions } from "./lib/async/call_options.ts";
