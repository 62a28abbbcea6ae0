import type { Logger } from "../host/log.ts";
import { identityOf } from "../host/netns_identity.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { validateContainerId, validateInterfaceName, validateNetworkName } from "../cni/name.ts";
import type { AttachTarget } from "../plugin/attach_target.ts";
import { validateCniArgs } from "../plugin/invocation.ts";
import type { AttachmentKey, AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import { type HostPorts, published } from "../state/host_ports.ts";
import { writeBestEffort } from "../state/write_best_effort.ts";
import type { InterfaceGuard } from "./interface_guard.ts";
import type { AddOptions, FullAttachRequest } from "./request.ts";

/** What {@linkcode beginAttachment} works with. */
export interface BeginContext {
  readonly store: AttachmentStore;
  readonly ports: Pick<HostPorts, "claim">;
  readonly interfaces: Pick<InterfaceGuard, "requireFree" | "claim" | "withdraw">;
  readonly log: Logger;
  /** The identity of this boot. */
  readonly boot: () => Promise<string>;
}

/**
 * Puts an attachment on record and claims its interface and its ports of the host, before any plugin runs.
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
  const hadLink = await interfaces.requireFree(list, request, options);
  const earlier = await store.ofContainer(request.containerId);
  const { id, since } = await identityOf(request.netns);
  const record: AttachmentRecord = {
    ...keyOf(list, request),
    state: "adding",
    netns: request.netns,
    netnsId: id,
    ...(since === undefined ? {} : { netnsSince: since }),
    owner: request.owner,
    since: now(),
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
    // No plugin has run, so there is nothing to undo; the claim goes while the record keeps others from it.
    await writeBestEffort(() => interfaces.withdraw(record), log, { ...keyOf(list, request) });
    await writeBestEffort(() => store.remove(record), log, { ...keyOf(list, request) });
    throw error;
  }
  return record;
}

/** The key of an attachment to the network of a list. */
export function keyOf(
  list: NetworkConfigList,
  { containerId, ifName }: Pick<AttachTarget, "containerId" | "ifName">,
): AttachmentKey {
  return { containerId, network: list.name, ifName };
}

/** Refuses names and arguments that no attachment may have. */
export function validate(
  { containerId, network, ifName }: AttachmentKey,
  { args }: Pick<AttachTarget, "args">,
): void {
  validateContainerId(containerId);
  validateNetworkName(network);
  validateInterfaceName(ifName);
  validateCniArgs(args);
}

/** The time, as records have it. */
export function now(): string {
  return new Date().toISOString();
}
