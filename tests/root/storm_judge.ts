/** What may happen to a pod while its configuration changes, and what may not. */
import { CniError } from "../../lib/cni/error.ts";
import type { Pods } from "../../lib/runtime/pods.ts";
import { type NetworkKey, originOf } from "./storm_networks.ts";
import type { StormPod } from "./storm_report.ts";
import type { Timelines } from "./storm_timeline.ts";
import type { MarkedCall, StormWorld } from "./storm_world.ts";

/**
 * Events report a change after some 200 ms, polling does after 10 s if they are lost; the rest is a busy
 * machine.
 */
const OLDEST_MS = 60_000;
/** While changes never stop, the directory is read every second; the rest is a busy machine. */
const UNREAD_MS = 30_000;

/** The set-up of a pod. */
export interface Judged {
  readonly pod: StormPod;
  readonly timelines: Timelines;
  readonly world: StormWorld;
  /** Milliseconds of `performance.now()`: its beginning and its end. */
  readonly from: number;
  readonly to: number;
}

/**
 * The kernel shows to which network, and to which version of it, each interface of a pod that is up belongs.
 */
export async function judgeAttached({ pod, timelines, world, from, to }: Judged): Promise<{
  readonly versions: readonly (number | undefined)[];
  readonly ageMs: number;
  readonly violations: readonly string[];
}> {
  const { containerId, wanted, kind } = pod;
  const violations: string[] = [];
  const links = await world.links(pod.request.netns);
  const names = [...links.keys()].sort().join(" ");
  const expected = wanted.map(({ ifName }) => ifName).join(" ");
  if (names !== expected) violations.push(`${containerId} wanted ${expected} and has ${names}`);
  if (kind === "taken port") violations.push(`${containerId} was given a port that is taken`);
  const versions: (number | undefined)[] = [];
  let ageMs = 0;
  for (const { key, ifName } of wanted) {
    const addresses = links.get(ifName) ?? [];
    const origins = addresses.map(originOf);
    const version = origins[0]?.version;
    versions.push(version);
    if (addresses.length !== 1 || origins[0]?.key !== key || version === undefined) {
      violations.push(`${containerId} wanted ${key} as ${ifName} and has ${addresses}`);
      continue;
    }
    const allowed = timelines.within(key, from - OLDEST_MS, to).map((entry) => entry.version);
    if (!allowed.includes(version)) {
      violations.push(`${containerId} got version ${version} of ${key}, which was not in effect`);
    }
    ageMs = Math.max(ageMs, timelines.age(key, version, from, to));
  }
  return { versions, ageMs, violations };
}

/** A pod may be refused because a network that it named was gone, or its port was taken; nothing is left. */
export async function judgeRefused(
  { pod, timelines, world, from, to }: Judged,
  error: CniError,
  pods: Pods,
): Promise<readonly string[]> {
  const { containerId, wanted, kind, request } = pod;
  const violations: string[] = [];
  // It looks once more before it refuses.
  const wasGone = ({ key }: { readonly key: NetworkKey }) =>
    timelines.couldLack(key, from, to, from - UNREAD_MS);
  const isAllowed = error.kind === "not-found" && wanted.some(wasGone) ||
    error.kind === "conflict" && kind === "taken port";
  if (!isAllowed) violations.push(`${containerId} (${kind}) was refused: ${error.kind}: ${error.message}`);
  const links = [...(await world.links(request.netns)).keys()];
  if (links.length > 0) violations.push(`${containerId} was refused and has ${links}`);
  const files = await world.onRecord(containerId);
  if (files.length > 0) violations.push(`${containerId} was refused and is on record: ${files.join(", ")}`);
  const status = await pods.podStatus(containerId).then(() => "there", (error) => error);
  if (!(status instanceof CniError) || status.kind !== "not-found") {
    violations.push(`${containerId} was refused and is ${status}`);
  }
  return violations;
}

/** The networks to which a container was attached, and when, in milliseconds of `performance.now()`. */
export interface Attached extends Pick<Judged, "from" | "to"> {
  readonly wanted: StormPod["wanted"];
}

/**
 * Every network of a pod that was set up saw one ADD, one CHECK and one DEL, all with the same version of its
 * configuration; no other network did, and no pod that was refused. The plugin of a folder was called if it
 * was in effect.
 */
export function judgeCalls(
  calls: readonly MarkedCall[],
  attached: ReadonlyMap<string, Attached>,
  timelines: Timelines,
): readonly string[] {
  const verbs = new Map<string, string[]>();
  for (const { verb, containerId, ifName, mark } of calls) {
    const key = `${containerId} ${ifName} ${mark}`;
    verbs.set(key, [...verbs.get(key) ?? [], verb]);
  }
  const violations: string[] = [];
  const own = new Set<string>();
  const inFolder = new Set<string>();
  for (const [called, found] of verbs) {
    const [containerId = "", ifName = "", mark = ""] = called.split(" ");
    const [network = "", version = ""] = mark.split("/");
    const isWanted = attached.get(containerId)?.wanted.some((wanted) =>
      wanted.key === network && wanted.ifName === ifName
    );
    if (!isWanted) violations.push(`${called}: was not asked for`);
    if (found.join(" ") !== "ADD CHECK DEL") violations.push(`${called}: ${found.join(" ")}`);
    (version === "folder" ? inFolder : own).add(`${containerId} ${ifName}`);
  }
  for (const [containerId, { wanted, from, to }] of attached) {
    for (const { key, ifName } of wanted) {
      const what = `${containerId} ${ifName}`;
      if (!own.has(what)) violations.push(`${what}: was never called`);
      const hadFolder = inFolder.has(what);
      if (!timelines.within(key, from - OLDEST_MS, to).some(({ folder }) => folder === hadFolder)) {
        violations.push(`${what}: ${key} was ${hadFolder ? "not " : ""}to have the plugin of its folder`);
      }
    }
  }
  return violations;
}
