import type { ValidAttachment } from "../cni/config.ts";
import { CniError } from "../cni/error.ts";
import { validateContainerId, validateInterfaceName } from "../cni/name.ts";
import { hasValidNames } from "../state/attachment_key.ts";
import type { AttachmentKey, AttachmentRecord } from "../state/attachment_store.ts";
import { parseOwner } from "../state/owner.ts";

/** A container's interface, whatever network it is of. */
export type AttachmentName = Pick<AttachmentKey, "containerId" | "ifName">;

/** What is to become of attachments that no sandbox owns. */
export interface GcSelection {
  /** Those in use: they are kept, and every other one made by hand is removed. */
  readonly valid?: readonly AttachmentName[] | undefined;
  /** None is in use: all made by hand are removed. @default {false} */
  readonly all?: boolean | undefined;
  /** Which pods of an engine are there: the attachments of its others are removed. */
  readonly pods?: ValidPods | undefined;
}

/** The pods of one engine. */
export interface ValidPods {
  /** What the engine calls itself: its attachments belong to `pods:<owner>`. Those of other engines are left alone. */
  readonly owner: string;
  /**
   * The container IDs of the pods that are there. A function is called after the records were read, so that a pod that
   * is set up meanwhile cannot be missing; a list should be no older than the call.
   */
  readonly containerIds: readonly string[] | (() => readonly string[] | Promise<readonly string[]>);
}

/** What the sweep knows beside the record. */
export interface GcFacts extends Omit<GcSelection, "pods"> {
  /** As in the wish, once the IDs are known. */
  readonly pods?: { readonly owner: string; readonly containerIds: ReadonlySet<string> } | undefined;
  readonly boot: string;
  /** Whether the sandbox that owns the attachment is on record. */
  readonly hasSandbox: boolean;
  /** Whether its network is not to be touched. */
  readonly disableGC: boolean;
}

/** What becomes of an attachment, and why. */
export interface Verdict {
  readonly stale: boolean;
  readonly why: string;
  /** Nobody said whether it is in use. */
  readonly undecided?: true;
}

/** Why an attachment has to go whoever owns it: its ADD or DEL was not brought to an end, or its boot is over. */
export function whyUnfinished({ state, bootId }: AttachmentRecord, boot: string): string | undefined {
  if (state === "adding") return "its ADD was interrupted";
  if (state === "deleting") return "its DEL was interrupted";
  if (state === "failed") return "its DEL had failed";
  return bootId === boot ? undefined : "the machine was restarted";
}

/** By the container alone: which network is the default one now says nothing about the pod. */
function judgePod({ containerId }: AttachmentRecord, engine: string, { pods }: GcFacts): Verdict {
  if (pods === undefined || pods.owner !== engine) {
    return { stale: false, why: `it is of a pod of "${engine}", which only that can judge` };
  }
  return pods.containerIds.has(containerId)
    ? { stale: false, why: "its pod is there" }
    : { stale: true, why: "its pod is gone" };
}

/** Decides about one of podwire's own attachments, while no operation on it is under way. */
export function judge(record: AttachmentRecord, facts: GcFacts): Verdict {
  if (facts.disableGC) return { stale: false, why: "its network says disableGC" };
  if (facts.valid?.some((name) => isSame(name, record))) {
    return { stale: false, why: "it was named as valid" };
  }
  const unfinished = whyUnfinished(record, facts.boot);
  if (unfinished !== undefined) return { stale: true, why: unfinished };
  const owner = parseOwner(record.owner);
  if (owner.kind === "sandbox") {
    return facts.hasSandbox
      ? { stale: false, why: "its sandbox is there" }
      : { stale: true, why: "its sandbox is gone" };
  }
  if (owner.kind === "pods") return judgePod(record, owner.engine, facts);
  if (facts.all) return { stale: true, why: "it was made by hand, and all such were to be removed" };
  if (facts.valid !== undefined) return { stale: true, why: "it was made by hand, and not named as valid" };
  const why = `it was made by hand (owner "${record.owner}"), which only its maker can judge`;
  return { stale: false, why, undecided: true };
}

function isSame(a: AttachmentName, b: AttachmentName): boolean {
  return a.containerId === b.containerId && a.ifName === b.ifName;
}

/**
 * Refuses what cannot be meant.
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
 * The pods that are there, asked for now.
 *
 * @throws {CniError} kind `usage` if one of them cannot be
 */
export async function podsThere({ owner, containerIds }: ValidPods): Promise<NonNullable<GcFacts["pods"]>> {
  const ids = typeof containerIds === "function" ? await containerIds() : containerIds;
  ids.forEach(validateContainerId);
  return { owner, containerIds: new Set(ids) };
}

/** As the plugins want them named, each once. */
export function validAttachmentsOf(names: readonly AttachmentName[]): readonly ValidAttachment[] {
  const unique = new Map(names.map((name) => [`${name.containerId} ${name.ifName}`, name]));
  return [...unique.values()].map(({ containerId, ifName }) => ({
    containerID: containerId,
    ifname: ifName,
  }));
}

/**
 * Every attachment of the network that a file of the cache can be of, by its name `<network>-<containerID>-<ifName>`
 * alone: "-" is legal in all three.
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
