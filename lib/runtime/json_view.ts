import type { ForgetReport } from "../attachment/forget.ts";
import type { CatalogEntry } from "../catalog/entry.ts";
import type { Json, JsonObject } from "../cni/json.ts";
import type { GcReport } from "../gc/report.ts";
import type { Network } from "../network/view_network.ts";
import type { NetworkStatus } from "../readiness/status.ts";
import type { PodStatus } from "../sandbox/pod_status.ts";
import type { RecoveryReport } from "../sandbox/recovery_report.ts";
import type { RepairReport } from "../sandbox/repair.ts";
import type { InterfaceTraffic } from "../sandbox/traffic.ts";
import type { Sandbox } from "../sandbox/view.ts";
import type { AttachmentRecord } from "../state/attachment_store.ts";

// The objects that `--json` prints and the daemon returns. Each has every member of its contract.

/** Returns a sandbox as JSON. Numbers inside results stay as the plugins wrote them. */
export function sandboxToJson(sandbox: Sandbox): JsonObject {
  return sandbox as unknown as JsonObject;
}

/** Returns a sandbox as JSON, with what its interfaces have carried. */
export function sandboxWithTrafficToJson(
  sandbox: Sandbox,
  traffic: readonly InterfaceTraffic[] | null,
): JsonObject {
  return { ...sandboxToJson(sandbox), traffic: traffic as unknown as Json };
}

/** Returns the state of a file of the configuration directory as JSON. */
export function entryToJson(entry: CatalogEntry): JsonObject {
  const { file, status, plugins } = entry;
  return {
    file,
    name: entry.name ?? null,
    status,
    default: entry.default,
    defaultBy: entry.defaultBy ?? null,
    cniVersion: entry.cniVersion ?? null,
    plugins,
    reason: entry.reason ?? null,
    line: entry.line ?? null,
    column: entry.column ?? null,
    since: entry.since ?? null,
    badSince: entry.badSince ?? null,
  };
}

/** Returns a network with its containers as JSON. */
export function networkToJson(network: Network): JsonObject {
  return network as unknown as JsonObject;
}

/** Returns an attachment on record as JSON. */
export function attachmentToJson(record: AttachmentRecord): JsonObject {
  const { containerId, network, ifName, netns, state, owner, since, attempts, nextTry, error } = record;
  return {
    containerId,
    network,
    ifName,
    netns,
    state,
    owner,
    since,
    attempts,
    nextTry: nextTry ?? null,
    error: error ?? null,
  };
}

/** Returns the readiness of a network as JSON. */
export function statusToJson(status: NetworkStatus): JsonObject {
  const { network, ready, reason, msg, since, graceUntil, file, warnings = [] } = status;
  return {
    network: network ?? null,
    ready,
    reason: reason ?? null,
    msg: msg ?? null,
    since: since ?? null,
    ...(graceUntil === undefined ? {} : { graceUntil }),
    ...(file === undefined ? {} : { file }),
    ...(warnings.length === 0 ? {} : { warnings }),
  };
}

/** Returns what a check of a sandbox found as JSON. */
export function podStatusToJson(status: PodStatus): JsonObject {
  const { containerId, name, namespace, netns, ready, reason = null } = status;
  const networks = status.networks.map(({ name, ifName, state, checked, error }): JsonObject => ({
    ...{ name, ifName, state, checked },
    error: error === undefined ? null : JSON.parse(JSON.stringify(error)) as Json,
  }));
  return { containerId, name, namespace, netns, ready, reason, networks };
}

/** Returns the report of a garbage collection, a recovery, a repair or `forget` as JSON. */
export function reportToJson(report: GcReport | RecoveryReport | RepairReport | ForgetReport): JsonObject {
  // The errors in the report become objects.
  return JSON.parse(JSON.stringify(report)) as Record<string, Json>;
}
