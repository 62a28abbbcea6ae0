import { netnsId, nsProblem } from "../host/netns.ts";
import type { Attachments } from "../network/network.ts";
import type { PodNetwork, Pods } from "../pod/pod.ts";
import type { JsonObject } from "../spec/json.ts";
import { asResult, convertResult } from "../spec/result.ts";
import { CURRENT_VERSION } from "../spec/version.ts";
import type { SandboxRecord } from "./record.ts";

/** One network of a sandbox. */
export interface SandboxNetwork {
  readonly name: string;
  readonly ifName: string;
  /** In version 1.1.0. */
  readonly result: JsonObject;
}

/** A sandbox as `inspect` and `ps` show it. */
export interface Sandbox {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly state: "ready" | "stopped" | "broken";
  readonly createdAt: string;
  readonly netns: string;
  readonly pid: number | null;
  readonly ips: readonly string[];
  readonly networks: readonly SandboxNetwork[];
  /** Why it is broken. */
  readonly reason?: string;
}

interface ViewParts {
  readonly pods: Pods;
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

async function problemOf(
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
