import type { NetworkConfigList } from "../cni/config.ts";
import type { Logger } from "../host/log.ts";
import { identityOf } from "../host/netns_identity.ts";
import type { AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import type { HostPorts } from "../state/host_ports.ts";
import { published } from "../state/published_ports.ts";
import { writeBestEffort } from "../state/write_best_effort.ts";
import type { InterfaceGuard } from "./interface_guard.ts";
import { type AddOptions, type FullAttachRequest, keyOf } from "./request.ts";

/** Dependencies of {@linkcode beginAttachment}. */
export interface BeginContext {
  readonly store: AttachmentStore;
  readonly ports: Pick<HostPorts, "claim">;
  readonly interfaces: Pick<InterfaceGuard, "requireFree" | "claim" | "withdraw">;
  readonly log: Logger;
  /** Returns the identity of this boot. */
  readonly boot: () => Promise<string>;
}

/**
 * Writes the record of an attachment, and claims its interface and its host ports, before any plugin runs.
 *
 * @throws {CniError} kind `conflict` if the interface or a port is taken; then nothing is on record
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
  const { id, since } = await identityOf(request.netns);
  const record: AttachmentRecord = {
    ...key,
    state: "adding",
    netns: request.netns,
    netnsId: id,
    ...(since === undefined ? {} : { netnsSince: since }),
    owner: request.owner,
    since: new Date().toISOString(),
    bootId: await boot(),
    sequence: (earlier.at(-1)?.sequence ?? 0) + 1,
    attempts: 0,
    nextTry: undefined,
    error: undefined,
    config: list.text,
    cniVersion: list.cniVersion,
    cniArgs: request.args,
    capabilityArgs: request.capabilityArgs,
    result: undefined,
    ...(hadLink ? { hadLink } : {}),
  };
  await store.write(record);
  try {
    await interfaces.claim(list, record, signal);
    await ports.claim(record, published(list, request.capabilityArgs), signal);
  } catch (error) {
    // No plugin has run, so there is nothing to undo. The claim goes first: the record keeps others from taking it.
    await writeBestEffort(() => interfaces.withdraw(record), log, { ...key });
    await writeBestEffort(() => store.remove(record), log, { ...key });
    throw error;
  }
  return record;
}
