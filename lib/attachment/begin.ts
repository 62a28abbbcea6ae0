import type { NetworkConfigList } from "../cni/config.ts";
import { isArray, member } from "../cni/json.ts";
import type { Logger } from "../host/log.ts";
import { identityOf, type NetnsIdentity } from "../host/netns_identity.ts";
import { attachmentKey } from "../state/attachment_key.ts";
import type { AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import type { HostPorts } from "../state/host_ports.ts";
import { published } from "../state/published_ports.ts";
import { writeBestEffort } from "../state/write_best_effort.ts";
import type { InterfaceGuard } from "./interface_guard.ts";
import { type AddOptions, type FullAttachRequest, keyOf } from "./request.ts";

/** Dependencies of {@linkcode beginAttachment}. */
export interface BeginContext {
  readonly store: AttachmentStore;
  readonly ports: Pick<HostPorts, "claim" | "claimAutomatic" | "release">;
  readonly interfaces: Pick<InterfaceGuard, "requireFree" | "claim" | "withdraw">;
  readonly log: Logger;
  /** Returns the identity of this boot. */
  readonly boot: () => Promise<string>;
}

/** What is known of an attachment when its ADD begins. */
export interface AttachmentDraft {
  readonly bootId: string;
  /** The identity of the namespace. @default {unknown} */
  readonly netns?: NetnsIdentity | undefined;
  /** Increases with each attachment of the container. */
  readonly sequence: number;
  readonly hadLink?: boolean | undefined;
}

/** Returns the record of an attachment whose ADD begins. */
export function draftAttachment(
  list: NetworkConfigList,
  request: FullAttachRequest,
  { bootId, netns, sequence, hadLink = false }: AttachmentDraft,
): AttachmentRecord {
  return {
    ...keyOf(list, request),
    state: "adding",
    netns: request.netns,
    netnsId: netns?.id,
    ...(netns?.since === undefined ? {} : { netnsSince: netns.since }),
    owner: request.owner,
    since: new Date().toISOString(),
    bootId,
    sequence,
    attempts: 0,
    nextTry: undefined,
    error: undefined,
    config: list.text,
    cniVersion: list.cniVersion,
    cniArgs: request.args,
    capabilityArgs: request.capabilityArgs,
    result: undefined,
    ...(hadLink ? { hadLink } : {}),
    ...(request.title === undefined ? {} : { title: request.title }),
  };
}

/**
 * Writes the record of an attachment, and claims its interface and its host ports, before any plugin runs.
 *
 * @throws {CniError} kind `conflict` if the interface, a port or the MAC address is taken; then nothing is on record
 */
export async function beginAttachment(
  list: NetworkConfigList,
  request: FullAttachRequest,
  options: AddOptions,
  { store, ports, interfaces, log, boot }: BeginContext,
): Promise<AttachmentRecord> {
  const { signal } = options;
  const key = keyOf(list, request);
  const hadLink = await interfaces.requireFree(list, request, options);
  const earlier = await store.ofContainer(request.containerId);
  const record = draftAttachment(list, request, {
    bootId: await boot(),
    netns: await identityOf(request.netns),
    sequence: (earlier.at(-1)?.sequence ?? 0) + 1,
    hadLink,
  });
  await store.write(record);
  try {
    if (wantsMac(record)) {
      // Few ask for one, and the others need none of that code.
      const { requireFreeMac } = await import("./mac_holder.ts");
      await requireFreeMac(record, store);
    }
    await interfaces.claim(list, record, signal);
    await ports.claim(record, published(list, request.capabilityArgs), signal);
    return await withAutomaticPorts(record, request, { store, ports, log }, signal);
  } catch (error) {
    // No plugin has run, so there is nothing to undo. The claim goes first: the record keeps others from taking it.
    await writeBestEffort(() => interfaces.withdraw(record), log, { ...key });
    await writeBestEffort(() => store.remove(record), log, { ...key });
    throw error;
  }
}

function wantsMac({ capabilityArgs, cniArgs }: AttachmentRecord): boolean {
  return capabilityArgs.mac !== undefined || cniArgs.some(([name]) => name === "MAC");
}

/** Claims ports of the host for those of the container that want any, and writes them into the record before a plugin gets them. */
async function withAutomaticPorts(
  record: AttachmentRecord,
  { automaticPorts = [], capabilityArgs }: FullAttachRequest,
  { store, ports, log }: Pick<BeginContext, "store" | "ports" | "log">,
  signal: AbortSignal | undefined,
): Promise<AttachmentRecord> {
  if (automaticPorts.length === 0) return record;
  let claimed = record;
  try {
    const chosen = await ports.claimAutomatic(record, automaticPorts, signal);
    const mappings = chosen.map(({ hostIP, port: hostPort, containerPort, protocol }) => {
      return { hostPort, containerPort, protocol, hostIP };
    });
    const given = member(capabilityArgs, "portMappings");
    const portMappings = [...isArray(given) ? given : [], ...mappings];
    claimed = { ...record, capabilityArgs: { ...capabilityArgs, portMappings } };
    await store.write(claimed, { isBegun: true });
    return claimed;
  } catch (error) {
    await writeBestEffort(() => ports.release(claimed, claimed.capabilityArgs), log, {
      ...attachmentKey(record),
    });
    throw error;
  }
}
