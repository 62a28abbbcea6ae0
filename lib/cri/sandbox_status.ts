import { create, fromJsonString } from "@bufbuild/protobuf";
import { printJson } from "../cni/json.ts";
import { sandboxToJson } from "../runtime/json_view.ts";
import type { Sandbox } from "../sandbox/view.ts";
import {
  type PodSandbox,
  type PodSandboxConfig,
  PodSandboxConfigSchema,
  PodSandboxSchema,
  PodSandboxState,
  type PodSandboxStatus,
  PodSandboxStatusSchema,
} from "./generated/api_pb.ts";

const NANOSECONDS = 1_000_000n;

/** Returns what a list shows of a sandbox. */
export function podSandboxOf(sandbox: Sandbox): PodSandbox {
  return create(PodSandboxSchema, commonOf(sandbox));
}

/** Returns the whole status of a sandbox: all of it comes from its records, so that a restart changes nothing. */
export function podSandboxStatusOf(sandbox: Sandbox): PodSandboxStatus {
  const [ip = "", ...others] = sandbox.ips;
  const options = configOf(sandbox).linux?.securityContext?.namespaceOptions;
  return create(PodSandboxStatusSchema, {
    ...commonOf(sandbox),
    // A pod in the network of the host has the addresses of the host, which the kubelet knows itself.
    network: sandbox.hostNetwork ? {} : { ip, additionalIps: others.map((ip) => ({ ip })) },
    linux: { namespaces: options === undefined ? {} : { options } },
  });
}

/** Returns what the client has asked for, without names, labels and annotations. */
function configOf({ cri }: Sandbox): PodSandboxConfig {
  // A later version may know more fields.
  return fromJsonString(PodSandboxConfigSchema, printJson(cri?.config ?? {}), { ignoreUnknownFields: true });
}

/** Returns the details that crictl shows, as JSON by name. */
export function sandboxInfo(sandbox: Sandbox): Readonly<Record<string, string>> {
  return { sandbox: printJson(sandboxToJson(sandbox)), config: printJson(sandbox.cri?.config ?? {}) };
}

function commonOf(sandbox: Sandbox) {
  const { id, name, namespace, uid, attempt, state, createdAt, labels, annotations, cri } = sandbox;
  return {
    id,
    metadata: { name, namespace, uid, attempt },
    state: state === "ready" ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY,
    createdAt: createdAtOf(createdAt),
    labels,
    annotations,
    runtimeHandler: cri?.handler ?? "",
  };
}

/** In nanoseconds since 1970. Clients take 0 for a sandbox that was not made. */
function createdAtOf(text: string): bigint {
  const ms = Date.parse(text);
  return Number.isNaN(ms) || ms <= 0 ? 1n : BigInt(ms) * NANOSECONDS;
}
