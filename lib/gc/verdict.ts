import type { ValidAttachment } from "../cni/config.ts";
import { CniError } from "../cni/error.ts";
import { validateContainerId, validateInterfaceName } from "../cni/name.ts";
import { hasValidNames } from "../state/attachment_key.ts";
import type { AttachmentKey, AttachmentRecord } from "../state/attachment_store.ts";
import { parseOwner } from "../state/owner.ts";

/** An interface of a container, on any network. */
export type AttachmentName = Pick<AttachmentKey, "containerId" | "ifName">;

/** Which attachments that no sandbox owns are removed. */
export interface GcSelection {
  /** The attachments in use: these are kept, and every other one made by hand is removed. */
  readonly valid?: readonly AttachmentName[] | undefined;
  /** Removes all attachments made by hand: none of them is in use. @default {false} */
  readonly all?: boolean | undefined;
  /** The pods that an engine has now: the attachments of its other pods are removed. */
  readonly pods?: ValidPods | undefined;
}

/** The pods of one engine. */
export interface ValidPods {
  /** The name of the engine: its attachments belong to `pods:<owner>`. Attachments of other engines are left alone. */
  readonly owner: string;
  /**
   * The container IDs of the pods that exist. A function is called after the records are read, so that the list cannot
   * lack a pod that is set up meanwhile; a list should not be older than the call.
   */
  readonly containerIds: readonly string[] | (() => readonly string[] | Promise<readonly string[]>);
}

/** The pods that an engine has, with their container IDs. */
export interface KnownPods {
  readonly owner: string;
  readonly containerIds: ReadonlySet<string>;
}

/** What the sweep knows in addition to the record. */
export interface GcFacts extends Omit<GcSelection, "pods"> {
  /** As in the selection, with the IDs resolved. */
  readonly pods?: KnownPods | undefined;
  readonly boot: string;
  /** Whether the sandbox that owns the attachment is on record. */
  readonly hasSandbox: boolean;
  /** Whether the network forbids garbage collection. */
  readonly disableGC: boolean;
}

/** Whether an attachment has to be removed, and why. */
export interface Verdict {
  readonly stale: boolean;
  readonly why: string;
  /** The request does not say whether it is in use. */
  readonly undecided?: true;
}

/**
 * Returns why an attachment has to be removed, whatever the caller says about it: its ADD or DEL did not finish, the
 * machine was restarted since, or its sandbox is gone. Returns undefined if none of these is so.
 */
export function removalReason(
  { state, bootId, owner }: AttachmentRecord,
  { boot, hasSandbox }: Pick<GcFacts, "boot" | "hasSandbox">,
): string | undefined {
  if (state === "adding") return "its ADD was interrupted";
  if (state === "deleting") return "its DEL was interrupted";
  if (state === "failed") return "its DEL had failed";
  if (bootId !== boot) return "the machine was restarted";
  return !hasSandbox && parseOwner(owner).kind === "sandbox" ? "its sandbox is gone" : undefined;
}

/** Decides about one of podwire's own attachments. Call only when no operation on it is in progress. */
export function attachmentVerdict(record: AttachmentRecord, facts: GcFacts): Verdict {
  if (facts.disableGC) return { stale: false, why: "its network says disableGC" };
  if (facts.valid?.some((name) => isSame(name, record))) {
    return { stale: false, why: "it was named as valid" };
  }
  const reason = removalReason(record, facts);
  if (reason !== undefined) return { stale: true, why: reason };
  const owner = parseOwner(record.owner);
  switch (owner.kind) {
    case "sandbox":
      return { stale: false, why: "its sandbox is there" };
    case "pods":
      return podVerdict(record, owner.engine, facts);
    case "manual":
      return manualVerdict(record, facts);
  }
}

/** Decides by the container alone: the networks that exist now, and the default one, say nothing about the pod. */
function podVerdict({ containerId }: AttachmentRecord, engine: string, { pods }: GcFacts): Verdict {
  if (pods === undefined || pods.owner !== engine) {
    return { stale: false, why: `it is of a pod of "${engine}", which only that can judge` };
  }
  return pods.containerIds.has(containerId)
    ? { stale: false, why: "its pod is there" }
    : { stale: true, why: "its pod is gone" };
}

function manualVerdict({ owner }: AttachmentRecord, { all, valid }: GcFacts): Verdict {
  if (all) return { stale: true, why: "it was made by hand, and all such were to be removed" };
  if (valid !== undefined) return { stale: true, why: "it was made by hand, and not named as valid" };
  const why = `it was made by hand (owner "${owner}"), which only its maker can judge`;
  return { stale: false, why, undecided: true };
}

function isSame(a: AttachmentName, b: AttachmentName): boolean {
  return a.containerId === b.containerId && a.ifName === b.ifName;
}

/**
 * Refuses a selection that contradicts itself or has an invalid name.
 *
 * @throws {CniError} kind `usage`
 */
export function validateSelection({ valid, all = false, pods }: GcSelection): void {
  if (all && valid !== undefined) {
    throw new CniError(
      "usage",
      "all attachments made by hand cannot be removed while some are named as valid",
    );
  }
  for (const { containerId, ifName } of valid ?? []) {
    validateContainerId(containerId);
    validateInterfaceName(ifName);
  }
  if (pods?.owner === "") throw new CniError("usage", "the owner of the pods has no name");
  if (typeof pods?.containerIds === "object") pods.containerIds.forEach(validateContainerId);
}

/**
 * Asks the engine now for the pods that it has.
 *
 * @throws {CniError} kind `usage` if one of the IDs is not valid
 */
export async function resolvePods({ owner, containerIds }: ValidPods): Promise<KnownPods> {
  const ids = typeof containerIds === "function" ? await containerIds() : containerIds;
  ids.forEach(validateContainerId);
  return { owner, containerIds: new Set(ids) };
}

/** Names attachments as plugins expect them, each once. */
export function validAttachmentsOf(names: readonly AttachmentName[]): readonly ValidAttachment[] {
  const unique = new Map(names.map((name) => [`${name.containerId} ${name.ifName}`, name]));
  return [...unique.values()].map(({ containerId, ifName }) => ({
    containerID: containerId,
    ifname: ifName,
  }));
}

/**
 * Returns every attachment of the network that a cache file can belong to. Only its name
 * `<network>-<containerID>-<ifName>` decides, and "-" is legal in all three parts.
 */
export function attachmentsNamed(fileName: string, network: string): readonly AttachmentName[] {
  if (!fileName.startsWith(`${network}-`)) return [];
  const rest = fileName.slice(network.length + 1);
  const names: AttachmentName[] = [];
  for (let dash = rest.indexOf("-"); dash >= 0; dash = rest.indexOf("-", dash + 1)) {
    const name = { containerId: rest.slice(0, dash), ifName: rest.slice(dash + 1) };
    if (hasValidNames({ ...name, network })) names.push(name);
  }
  return names;
}
