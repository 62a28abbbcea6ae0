import { toJson } from "@bufbuild/protobuf";
import { CniError } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { isWord } from "../cni/resolv_conf.ts";
import { PROTOCOLS } from "../cni/port_protocol.ts";
import type { PodDns, PortMapping } from "../pod/pod_request.ts";
import { isHostNetwork, type NetnsSource, type SandboxRequest } from "../sandbox/request.ts";
import { isIpcSysctl } from "../sandbox/sysctl.ts";
import type { CgroupDriver } from "./cgroup_driver.ts";
import {
  type DNSConfig,
  type LinuxPodSandboxConfig,
  NamespaceMode,
  type NamespaceOption,
  type PodSandboxConfig,
  PodSandboxConfigSchema,
  type PortMapping as CriPortMapping,
  Protocol,
} from "./generated/api_pb.ts";
import { invalidField } from "./grpc_error.ts";
import { infraSettings } from "./infra_options.ts";

const CONTEXT = "config.linux.security_context";
const OPTIONS = `${CONTEXT}.namespace_options`;

/** What the request depends on besides its text. */
interface RequestOptions {
  readonly driver: CgroupDriver;
  readonly signal: AbortSignal;
}

/**
 * Returns the sandbox that a client of the CRI asks for. What podwire cannot do is refused by the name of its field.
 *
 * Requires as `readKernelFiles`.
 *
 * @throws {ConnectError} with `InvalidArgument`
 */
export async function sandboxRequest(
  config: PodSandboxConfig | undefined,
  handler: string,
  { driver, signal }: RequestOptions,
): Promise<SandboxRequest> {
  if (config === undefined) throw invalidField("config", "it is missing");
  const { metadata, linux, labels, annotations, portMappings } = config;
  if (metadata === undefined) throw invalidField("config.metadata", "it is missing");
  if (handler !== "") {
    throw invalidField(
      "runtime_handler",
      `there is no handler "${handler}"; podwire has only the default one`,
    );
  }
  if (config.windows !== undefined) throw invalidField("config.windows", "podwire runs on Linux");
  for (const name of ["name", "namespace", "uid"] as const) {
    if (metadata[name] === "") throw invalidField(`config.metadata.${name}`, "it is empty");
  }
  requireSmall(labels, annotations);
  requireNames(config);
  const options = linux?.securityContext?.namespaceOptions;
  const context = linux?.securityContext;
  if (context?.runAsGroup !== undefined && context.runAsUser === undefined) {
    throw invalidField(`${CONTEXT}.run_as_group`, "it is given without run_as_user");
  }
  const source = sourceOf(options);
  const isHost = isHostNetwork(source);
  return {
    name: metadata.name,
    namespace: metadata.namespace,
    uid: metadata.uid,
    attempt: metadata.attempt,
    // A new pod of the same name may come before the old one is gone.
    uniqueName: false,
    source,
    ...(isHost ? { networks: "none" } : {}),
    labels,
    annotations,
    sysctls: sysctlsOf(linux, source),
    publish: publishOf(portMappings, isHost),
    mapPorts: true,
    cgroupPath: linux?.cgroupParent || undefined,
    ...(source.kind === "infra" ? { infraSettings: await infraSettings(linux, driver, signal) } : {}),
    offerDns: config.dnsConfig && dnsOf(config.dnsConfig),
    cri: { handler, config: configToJson(config) },
  };
}

function dnsOf({ servers, searches, options }: DNSConfig): PodDns {
  return { servers, searches, options };
}

/** Linux allows one character more than a name of DNS. */
const HOSTNAME = /^[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,62}[a-zA-Z0-9])?$/;

function requireNames({ hostname, dnsConfig }: PodSandboxConfig): void {
  if (hostname !== "" && !HOSTNAME.test(hostname)) {
    throw invalidField("config.hostname", `${JSON.stringify(hostname)} is not the name of a host`);
  }
  const { servers = [], searches = [], options = [] } = dnsConfig ?? {};
  for (const [member, values] of Object.entries({ servers, searches, options })) {
    const wrong = values.find((value) => !isWord(value));
    if (wrong === undefined) continue;
    throw invalidField(`config.dns_config.${member}`, `${JSON.stringify(wrong)} is not one word`);
  }
}

/** Kubernetes allows 256 KiB of annotations. They are kept in several files, and a list shows those of all sandboxes. */
const MOST_BYTES = 1024 * 1024;

function requireSmall(...texts: readonly Readonly<Record<string, string>>[]): void {
  const sizes = texts.flatMap((map) => Object.entries(map).map(([key, value]) => key.length + value.length));
  const size = sizes.reduce((sum, own) => sum + own, 0);
  if (size <= MOST_BYTES) return;
  throw invalidField(
    "config.annotations",
    `with the labels they have ${size} characters, and at most ${MOST_BYTES} are kept`,
  );
}

/** Returns the configuration without what the sandbox itself has. */
function configToJson(config: PodSandboxConfig): JsonObject {
  const { metadata: _metadata, labels: _labels, annotations: _annotations, ...rest } = toJson(
    PodSandboxConfigSchema,
    config,
  ) as Record<string, unknown>;
  return rest as JsonObject;
}

function sourceOf(options: NamespaceOption | undefined): NetnsSource {
  if (options === undefined) return { kind: "new" };
  const { network, pid, ipc, targetId, usernsOptions } = options;
  for (const [name, mode] of [["network", network], ["ipc", ipc]] as const) {
    if (mode === NamespaceMode.POD || mode === NamespaceMode.NODE) continue;
    throw invalidField(
      `${OPTIONS}.${name}`,
      `${modeName(mode)} is not a mode of sandboxes; they have POD and NODE`,
    );
  }
  if (NamespaceMode[pid] === undefined) {
    throw invalidField(`${OPTIONS}.pid`, `${modeName(pid)} is not a mode of namespaces`);
  }
  // Containers join it, and the sandbox only says so again.
  if (targetId !== "" && pid !== NamespaceMode.TARGET) {
    throw invalidField(`${OPTIONS}.target_id`, "it goes with a pid of TARGET");
  }
  if (usernsOptions !== undefined && usernsOptions.mode !== NamespaceMode.NODE) {
    throw invalidField(`${OPTIONS}.userns_options`, "podwire does not support user namespaces of pods");
  }
  const isHost = network === NamespaceMode.NODE;
  if (pid === NamespaceMode.POD) return { kind: "infra", hostNetwork: isHost };
  return { kind: isHost ? "host" : "new" };
}

function modeName(mode: NamespaceMode): string {
  return NamespaceMode[mode] ?? String(mode);
}

function sysctlsOf(
  linux: LinuxPodSandboxConfig | undefined,
  source: NetnsSource,
): Readonly<Record<string, string>> {
  const sysctls = linux?.sysctls ?? {};
  const isHostIpc = linux?.securityContext?.namespaceOptions?.ipc === NamespaceMode.NODE;
  for (const name of Object.keys(sysctls)) {
    const refuse = (problem: string) => invalidField(`config.linux.sysctls["${name}"]`, problem);
    if (name.startsWith("net.")) {
      if (!isHostNetwork(source)) continue;
      throw refuse("a sandbox in the network of the host has no sysctls of the network");
    }
    if (!isIpcSysctl(name)) {
      throw refuse("podwire sets only those of the network namespace and the IPC namespace of a pod");
    }
    if (source.kind !== "infra") {
      throw refuse("it needs the IPC namespace of an infra container, which comes with a pid of POD");
    }
    if (isHostIpc) throw refuse("an ipc of NODE leaves the pod in the IPC namespace of the host");
  }
  return sysctls;
}

function publishOf(mappings: readonly CriPortMapping[], isHost: boolean): readonly PortMapping[] {
  return mappings.flatMap(({ hostPort, containerPort, hostIp, protocol }, index) => {
    const field = `config.port_mappings[${index}]`;
    // The ports of all containers come here, and 0 says that the host has no port for it.
    if (hostPort === 0) return [];
    if (isHost) {
      if (hostPort === containerPort) return [];
      throw invalidField(`${field}.host_port`, "in the network of the host it is the port of the container");
    }
    const name = PROTOCOLS.find((known) => known === Protocol[protocol]?.toLowerCase());
    if (name === undefined) throw invalidField(`${field}.protocol`, `there is no protocol ${protocol}`);
    return [{ hostPort, containerPort, protocol: name, hostIP: hostIp }];
  });
}

/** Returns an error of a request in the words of the CRI: its members have other names there. */
export function inWordsOfCri(error: unknown): unknown {
  if (!(error instanceof CniError) || error.kind !== "usage") return error;
  const field = FIELDS[error.context.path?.split(/[.[]/)[0] ?? ""];
  return field === undefined ? error : invalidField(field, error.message);
}

const FIELDS: Readonly<Record<string, string>> = {
  labels: "config.labels",
  annotations: "config.annotations",
  sysctls: "config.linux.sysctls",
  publish: "config.port_mappings",
  cgroupPath: "config.linux.cgroup_parent",
  uid: "config.metadata.uid",
  seccomp: `${CONTEXT}.seccomp`,
};
