import type { Catalog } from "../catalog/catalog.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { defaultRoutesOf, EVERYTHING, FAMILIES, type Family, gatewayOf } from "../cni/default_route.ts";
import { CniError } from "../cni/error.ts";
import { isArray, isObject, member } from "../cni/json.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { AttachedNetwork } from "../pod/default_routes.ts";
import { interfaceNames } from "../pod/interface_names.ts";
import { networksOf, type PodNetwork } from "../pod/pod_network.ts";
import { planAttachments, type WantedNetwork } from "../pod/request.ts";
import type { AttachmentStore } from "../state/attachment_store.ts";
import { parseRecorded } from "../state/recorded_config.ts";
import type { SandboxContext } from "./context.ts";
import { ownerOf, type SandboxCreator } from "./create.ts";
import type { FindOptions } from "./find_sandbox.ts";
import { putInside } from "./inside.ts";
import { isUnchanged } from "./netns_identity.ts";
import { requireApartNetworks } from "./overlapping_networks.ts";
import type { SandboxRecord } from "./record.ts";
import { podOf } from "./request.ts";
import { type SandboxLockContext, withSandboxLock } from "./sandbox_lock.ts";

/** How a sandbox is connected to a network. */
export interface ConnectOptions extends FindOptions {
  /** Whether its subnets may overlap with those of the other networks of the sandbox. @default {false} */
  readonly allowOverlap?: boolean | undefined;
}

/** How a sandbox is disconnected from a network. */
export interface DisconnectOptions extends FindOptions {
  /** The interface, if the sandbox is connected more than once. @default {all} */
  readonly ifName?: string | undefined;
  /** Whether it counts as success that the sandbox is not connected. @default {false} */
  readonly missingOk?: boolean | undefined;
}

/** The dependencies of {@linkcode connectSandbox} and {@linkcode disconnectSandbox}. */
export interface ConnectContext extends SandboxContext, SandboxLockContext {
  readonly store: SandboxLockContext["store"] & AttachmentStore;
  readonly creator: SandboxCreator;
  readonly catalog: (signal?: AbortSignal) => Promise<Catalog>;
}

/** As `Sandboxes.connect`. */
export async function connectSandbox(
  nameOrId: string,
  wanted: WantedNetwork,
  options: ConnectOptions,
  context: ConnectContext,
): Promise<string> {
  const connect = (record: SandboxRecord) => connectLocked(record, wanted, options, context);
  return await withSandboxLock(nameOrId, { ...options, missingOk: false }, context, connect) ?? "";
}

async function connectLocked(
  record: SandboxRecord,
  wanted: WantedNetwork,
  { signal, allowOverlap = false }: ConnectOptions,
  context: ConnectContext,
): Promise<string> {
  const { attachments, store, pods, catalog, creator } = context;
  await requireUp(record);
  const there = await store.ofContainer(record.id);
  const names = there.map(({ network, ifName }) => ({ name: network, ifName }));
  const ifName = interfaceNames([...names, wanted]).at(-1);
  const pod = podOf(record);
  const configured = await catalog(signal);
  const { annotations } = record;
  const plan = planAttachments(pod, { networks: [{ annotations, ...wanted, ifName }] }, configured);
  if (!allowOverlap) {
    const lists = there.flatMap(({ config }) => parseRecorded(config) ?? []);
    requireApartNetworks([...lists, ...plan.map(({ list }) => list)]);
  }
  await creator.requireFewFailed(record, plan, signal);
  for (const { list } of plan) await attachments.requirePlugins(list, signal);
  await attachments.requirePossible(record.id, plan, { signal });
  await attachments.requireFreeInterfaces(pod, plan, { signal });
  await pods.setUp(pod, plan, { owner: ownerOf(record), beside: networksOf(there), signal });
  await putInside(record, context);
  return record.id;
}

/** As `Sandboxes.disconnect`. */
export async function disconnectSandbox(
  nameOrId: string,
  network: string,
  options: DisconnectOptions,
  context: ConnectContext,
): Promise<readonly CniError[]> {
  const { missingOk: _, ...rest } = options;
  const disconnect = (record: SandboxRecord) => disconnectLocked(record, network, options, context);
  return await withSandboxLock(nameOrId, rest, context, disconnect) ?? [];
}

async function disconnectLocked(
  record: SandboxRecord,
  network: string,
  { ifName, missingOk = false, signal }: DisconnectOptions,
  context: ConnectContext,
): Promise<readonly CniError[]> {
  const { store, pods } = context;
  const isMeant = (one: { readonly network: string; readonly ifName: string }) =>
    one.network === network && (ifName === undefined || one.ifName === ifName);
  const there = await store.ofContainer(record.id);
  if (!there.some(isMeant)) {
    if (missingOk) return [];
    const on = ifName === undefined ? "" : ` on ${ifName}`;
    const names = [...new Set(there.map(({ network }) => network))].join(", ") || "no network";
    throw new CniError("not-found", `the sandbox "${record.name}" is not connected to "${network}"${on}`, {
      details: `it is connected to ${names}`,
    });
  }
  const failures = await pods.detach(record.id, isMeant, signal);
  await putInside(record, context);
  if (record.phase === "ready" && await isUnchanged(record.netns)) {
    const left = networksOf(await store.ofContainer(record.id));
    const next = await withSuccessors(left, record.id, store);
    await pods.settle(podOf(record), next, signal).catch((error) => {
      const hint =
        `the sandbox is not connected to "${network}" any more, and no other network has its default route`;
      throw asCniError(error, { hint });
    });
  }
  return failures;
}

/**
 * Returns the networks that are left. The default route of each family that has none any more becomes that of the first network
 * whose configuration makes one: the pod had that of another network instead of it.
 */
async function withSuccessors(
  left: readonly PodNetwork[],
  containerId: string,
  store: AttachmentStore,
): Promise<readonly AttachedNetwork[]> {
  const next: AttachedNetwork[] = [...left];
  for (const family of FAMILIES) {
    if (left.some(({ result }) => defaultRoutesOf(result).some((route) => route.family === family))) continue;
    for (const [index, network] of next.entries()) {
      const { name, ifName, result, defaultRoute } = network;
      const gateway = gatewayOf(result, family);
      const record = await store.read({ containerId, network: name, ifName });
      // Those of another network came back, or never went.
      if (record?.displaced !== undefined) continue;
      const list = parseRecorded(record?.config);
      if (gateway === undefined || list === undefined || !makesDefaultRoute(list, family)) continue;
      next[index] = {
        ...network,
        defaultRoute: [...Array.isArray(defaultRoute) ? defaultRoute : [], gateway],
      };
      break;
    }
  }
  return next;
}

/** Whether the plugins of a network make a default route, as far as the options of the usual ones say so. */
function makesDefaultRoute({ plugins }: NetworkConfigList, family: Family): boolean {
  return plugins.some(({ json }) => {
    if (member(json, "isDefaultGateway") === true) return true;
    const ipam = member(json, "ipam");
    const routes = isObject(ipam) ? member(ipam, "routes") : undefined;
    return isArray(routes) &&
      routes.some((route) => isObject(route) && member(route, "dst") === EVERYTHING[family]);
  });
}

async function requireUp({ name, phase, hostNetwork, netns }: SandboxRecord): Promise<void> {
  const refuse = (problem: string) =>
    new CniError("conflict", `Cannot connect the sandbox "${name}": ${problem}`);
  if (hostNetwork) throw refuse("it is in the namespace of the host");
  if (phase !== "ready") throw refuse(`it is ${phase}`);
  if (!await isUnchanged(netns)) throw refuse(`${netns.path} does not lead to its namespace`);
}
