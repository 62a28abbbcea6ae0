import { netnsId, nsProblem } from "../host/netns.ts";
import type { Attachments } from "../network/network.ts";
import type { PodNetwork, PodNetworks } from "../pod/pod.ts";
import type { JsonObject } from "../spec/json.ts";
import { asResult, convertResult } from "../spec/result.ts";
import { CURRENT_VERSION } from "../spec/version.ts";
import type { SandboxRecord } from "./record.ts";

/** One network of a sandbox. */
export interface SandboxNetwork {
  /** The name of the network. */
  readonly name: string;
  /** The interface inside the sandbox. */
  readonly ifName: string;
  /** In version 1.1.0. */
  readonly result: JsonObject;
}

/** A sandbox as `inspect` and `ps` show it. */
export interface Sandbox {
  /** The container ID. */
  readonly id: string;
  /** Its name, free in its namespace. */
  readonly name: string;
  /** Of the name, as in Kubernetes. */
  readonly namespace: string;
  /** The pod UID. */
  readonly uid: string;
  /** `broken` says why in `reason`. */
  readonly state: "ready" | "stopped" | "broken";
  /** ISO 8601. */
  readonly createdAt: string;
  /** The path of its network namespace. */
  readonly netns: string;
  /** The process that holds the namespace, if podwire knows one. */
  readonly pid: number | null;
  /** All addresses, without prefix lengths, in the order of the networks. */
  readonly ips: readonly string[];
  /** In the order of attachment. */
  readonly networks: readonly SandboxNetwork[];
  /** Why it is broken. */
  readonly reason?: string;
}

interface ViewParts {
  readonly pods: PodNetworks;
  readonly attachments: Attachments;
}

/** What there is to see of a sandbox now. */
export async function viewSandbox(record: SandboxRecord, parts: ViewParts): Promise<Sandbox> {
  const networks = (await parts.pods.networks(record.id)).map(shownNetwork);
  const reason = await problemOf(record, parts);
  const { id, name, namespace, uid, createdAt, netns } = record;
  const ips = networks.flatMap(({ result }) =>
    (asResult(result).ips ?? []).map(({ address }) => address.split("/")[0] ?? "")
  );
  return {
    id,
    name,
    namespace,
    uid,
    state: reason !== undefined ? "broken" : record.phase === "ready" ? "ready" : "stopped",
    createdAt,
    netns: netns.path,
    pid: record.pid ?? null,
    ips,
    networks,
    ...(reason === undefined ? {} : { reason }),
  };
}

/** Why a sandbox is not as it should be, as far as its namespace tells. */
export async function problemOf(
  { phase, netns, bootId }: SandboxRecord,
  { attachments }: ViewParts,
): Promise<string | undefined> {
  if (phase === "stopped") return undefined;
  if (phase !== "ready") return `${phase} is under way, or was interrupted: \`podwire recover\` settles it`;
  if (bootId !== await attachments.boot()) return "it is of another boot";
  const problem = await nsProblem(netns.path);
  if (problem !== undefined) return `${netns.path}: ${problem}`;
  if (await netnsId(netns.path) !== netns.id) return `${netns.path} leads to another namespace now`;
  return undefined;
}

function shownNetwork({ name, ifName, result }: PodNetwork): SandboxNetwork {
  return { name, ifName, result: convertResult(result, CURRENT_VERSION) };
}
