import { ipamTypeOf } from "../attachment/ipam_type.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { CniError } from "../cni/error.ts";
import { asResult, convertResult, type Interface } from "../cni/result.ts";
import { CURRENT_VERSION } from "../cni/version.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { networksOf } from "../pod/pod_network.ts";
import type { PlannedAttachment } from "../pod/request.ts";
import type { AttachmentKey, AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import { listOnRecord } from "../state/recorded_config.ts";
import type { SandboxContext } from "./context.ts";
import { isUnchanged } from "./netns_identity.ts";

/** An attachment that is not as its ADD left it. */
export interface BrokenLink extends AttachmentKey {
  /** What its CHECK says. */
  readonly why: string;
  /** Why it could not be repaired; undefined if it was, or would be. */
  readonly error: CniError | undefined;
}

/** Plugins for addresses that give the same address again if it is asked for. */
const SAME_AGAIN: readonly string[] = ["", "static", "host-local"];

/**
 * Makes the attachments of a ready sandbox anew that fail their CHECK, each by a DEL and an ADD with the configuration on record and
 * the same addresses. What cannot get the same addresses is left as it is. Connections over these attachments end.
 *
 * The caller holds the container's lock.
 */
export async function repairLinks(
  containerId: string,
  { dryRun = false, signal }: {
    readonly dryRun?: boolean | undefined;
    readonly signal?: AbortSignal | undefined;
  },
  context: SandboxContext & { readonly store: AttachmentStore },
): Promise<readonly BrokenLink[]> {
  const sandbox = await context.sandboxes.read(containerId);
  if (sandbox?.phase !== "ready" || sandbox.hostNetwork || !await isUnchanged(sandbox.netns)) return [];
  const broken: BrokenLink[] = [];
  for (const record of await context.store.ofContainer(containerId)) {
    if (record.state !== "attached") continue;
    const { network, ifName } = record;
    const why = await problemOf(record, context, signal);
    if (why === undefined) continue;
    const error = await repairOne(record, { dryRun, signal }, context).then(
      () => undefined,
      (error: unknown) => asCniError(error, { network, containerId, ifName }),
    );
    signal?.throwIfAborted();
    broken.push({ containerId, network, ifName, why, error });
  }
  return broken;
}

async function problemOf(
  record: AttachmentRecord,
  { attachments }: SandboxContext,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  try {
    await attachments.check(listOnRecord(record), { ...record, args: record.cniArgs }, { signal });
    return undefined;
  } catch (error) {
    signal?.throwIfAborted();
    return asCniError(error).message;
  }
}

async function repairOne(
  record: AttachmentRecord,
  { dryRun, signal }: { readonly dryRun: boolean; readonly signal: AbortSignal | undefined },
  { attachments, pods, store }: SandboxContext & { readonly store: AttachmentStore },
): Promise<void> {
  const planned = planOf(record);
  if (dryRun) return;
  const { containerId, netns, owner } = record;
  await attachments.requirePlugins(planned.list, signal);
  await attachments.remove(record, signal);
  const beside = networksOf(await store.ofContainer(containerId));
  await pods.setUp({ containerId, netns }, [planned], { owner, beside, signal });
}

/**
 * Returns what is to be attached again.
 *
 * @throws {CniError} kind `conflict` if the network could not be asked for the same addresses
 */
function planOf(record: AttachmentRecord): PlannedAttachment {
  const { ifName, cniArgs, capabilityArgs } = record;
  const list = listOnRecord(record);
  const { ips, mac } = addressingOf(record);
  const has = (capability: string) =>
    list.plugins.some(({ capabilities }) => capabilities.includes(capability));
  // With the same MAC address its neighbours reach it at once.
  const same = { ...capabilityArgs, ...mac && has("mac") ? { mac } : {} };
  // The ports that were chosen stand in the arguments of the ADD.
  const plain = { list, ifName, args: cniArgs, capabilityArgs: same, settings: { ips }, automaticPorts: [] };
  const [type = ""] = list.plugins.flatMap((plugin) => ipamTypeOf(plugin) ?? []);
  if (!SAME_AGAIN.includes(type)) throw notTheSame(list, `its IPAM plugin "${type}" chooses them itself`);
  if (type !== "host-local" || ips.length === 0) return plain;
  if (has("ips")) return { ...plain, capabilityArgs: { ...same, ips } };
  const [only, ...more] = ips;
  if (only === undefined || more.length > 0) {
    throw notTheSame(list, 'no plugin declares the capability "ips"');
  }
  const args = cniArgs.filter(([key]) => key !== "IP");
  return { ...plain, args: [...args, ["IP", only.replace(/\/.*/, "")]] };
}

function notTheSame({ name }: NetworkConfigList, why: string): CniError {
  return new CniError("conflict", `Cannot ask the network "${name}" for the same addresses: ${why}`, {
    hint: "disconnect the sandbox from the network, and connect it again",
  });
}

/** The addresses of the interface in the container, and its MAC address. */
function addressingOf(
  { result, ifName, netns }: AttachmentRecord,
): { readonly ips: readonly string[]; readonly mac: string | undefined } {
  if (result === undefined) return { ips: [], mac: undefined };
  const { ips = [], interfaces = [] } = asResult(convertResult(result, CURRENT_VERSION));
  const isOwn = (one: Interface | undefined) => one?.name === ifName && one.sandbox === netns;
  const own = ips.filter(({ interface: at }) => at === undefined || isOwn(interfaces[at]));
  return { ips: own.map(({ address }) => address), mac: interfaces.find(isOwn)?.mac };
}
