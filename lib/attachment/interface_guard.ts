import type { NetworkConfigList } from "../cni/config.ts";
import { CniError, type CniErrorOptions } from "../cni/error.ts";
import { EXISTING_LINK, isForExistingLink, keepsLinks } from "../cni/existing_link.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { RunCommand } from "../host/command.ts";
import { describeLink, type LinkInfo } from "../host/link_info.ts";
import type { Logger } from "../host/log.ts";
import { netnsId, sameNetns } from "../host/netns.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink } from "../kernel/links.ts";
import type { AttachTarget } from "../plugin/attach_target.ts";
import type { NetnsGuard } from "../plugin/netns_guard.ts";
import type { AttachmentKey, AttachmentRecord } from "../state/attachment_store.ts";
import type { InterfaceClaims } from "../state/interface_claims.ts";
import { listOnRecord } from "../state/recorded_config.ts";
import type { CachedAttachment } from "../state/result_cache.ts";
import type { AddOptions, DelOptions } from "./request.ts";

/** Dependencies of {@linkcode InterfaceGuard}. */
export interface InterfaceGuardOptions {
  readonly claims: Pick<InterfaceClaims, "ownerOf" | "isOwner" | "claim" | "withdraw" | "release">;
  readonly netnsGuard: NetnsGuard;
  readonly run: RunCommand;
  readonly log: Logger;
}

/** What to attach, or what to detach that is not on record. */
export type WantedInterface = Pick<AttachTarget, "containerId" | "netns" | "ifName">;

/**
 * Keeps plugins away from interfaces that do not belong to the attachment. Plugins delete by name, so a DEL, or the undo of
 * an ADD, would delete any interface of that name.
 */
export class InterfaceGuard {
  readonly #options: InterfaceGuardOptions;

  constructor(options: InterfaceGuardOptions) {
    this.#options = options;
  }

  /**
   * Refuses an ADD whose interface belongs to another attachment or already exists. A network for existing links, see
   * `isForExistingLink`, may use one that exists. Returns whether the interface exists.
   *
   * @throws {CniError} kind `conflict`, naming the owner or the kind of link; `usage` for podwire's own namespace
   */
  async requireFree(
    list: NetworkConfigList,
    wanted: WantedInterface,
    { isNewNetns = false, signal }: AddOptions = {},
  ): Promise<boolean> {
    const { netns, ifName, containerId } = wanted;
    const context = contextOf("ADD", list, wanted);
    if (!isNewNetns) await this.#options.netnsGuard.requireAllowed(netns, context);
    const id = await netnsId(netns);
    // Without a namespace no interface exists. The plugins report that.
    if (id === undefined) return false;
    const isForExisting = isForExistingLink(list);
    if (!isForExisting) {
      const self = { containerId, network: list.name, ifName };
      const owner = await this.#options.claims.ownerOf({ netnsId: id, ifName }, self);
      if (owner !== undefined) throw taken(owner, context);
    }
    if (isNewNetns) return false;
    const link = await this.#find(wanted, signal);
    if (link === undefined || isForExisting) return link !== undefined;
    throw new CniError("conflict", `"${netns}" has an interface "${ifName}" already: ${describeLink(link)}`, {
      ...context,
      hint: "choose another name for the interface (--ifname); a network for existing interfaces " +
        `sets this in its first plugin: "${EXISTING_LINK}": true`,
    });
  }

  /**
   * Refuses podwire's own namespace.
   *
   * @throws {CniError} kind `usage`
   */
  async requireAllowed(netns: string, context: CniErrorOptions): Promise<void> {
    await this.#options.netnsGuard.requireAllowed(netns, context);
  }

  /**
   * Claims the interface for an attachment that is on record and of which no plugin has run.
   *
   * @throws {CniError} kind `conflict`, naming the owner
   */
  async claim(list: NetworkConfigList, record: AttachmentRecord, signal?: AbortSignal): Promise<void> {
    if (isForExistingLink(list)) return;
    const owner = await this.#options.claims.claim(record, signal);
    if (owner !== undefined) throw taken(owner, contextOf("ADD", list, record));
  }

  /** Releases the claim of an ADD of which no plugin has run. */
  async withdraw(record: AttachmentRecord): Promise<void> {
    await this.#options.claims.withdraw(record);
  }

  /** Releases the interface of an attachment. */
  async release(record: AttachmentRecord, signal?: AbortSignal): Promise<void> {
    await this.#options.claims.release(record, signal);
  }

  /** Whether a DEL of what is on record may pass the namespace to the plugins. The path leads to that namespace. */
  async mayEnter(record: AttachmentRecord): Promise<boolean> {
    const { claims, netnsGuard } = this.#options;
    const { netnsId: id, netns, hadLink = false } = record;
    if (id === undefined || !await netnsGuard.isAllowed(netns)) return false;
    const list = readableList(record);
    if (hadLink) return list !== undefined && keepsLinks(list);
    const isForExisting = list !== undefined && isForExistingLink(list);
    return isForExisting || await claims.isOwner({ ...record, netnsId: id });
  }

  /**
   * Returns the namespace for a DEL of what is not on record. It is empty if nothing shows that the interface belongs to the
   * attachment: the plugins then free their own state and leave the interface.
   *
   * @throws {CniError} kind `conflict` if `forceForeign` is set and the interface belongs to another attachment; `usage` for
   * podwire's own namespace
   */
  async netnsForDel(
    list: NetworkConfigList,
    wanted: WantedInterface,
    cached: CachedAttachment | undefined,
    { forceForeign = false, signal }: DelOptions = {},
  ): Promise<string> {
    const { claims, netnsGuard, log } = this.#options;
    const { netns, ifName, containerId } = wanted;
    if (netns === "") return netns;
    const context = contextOf("DEL", list, wanted);
    await netnsGuard.requireAllowed(netns, context);
    const id = await netnsId(netns);
    if (id === undefined || keepsLinks(list)) return netns;
    const owner = await claims.ownerOf({ netnsId: id, ifName }, { containerId, network: list.name, ifName });
    if (owner !== undefined && forceForeign) throw taken(owner, context);
    if (owner === undefined && (forceForeign || await isEntryOf(cached, netns))) return netns;
    const link = await this.#find(wanted, signal).catch((error: unknown) => {
      signal?.throwIfAborted();
      log.warn(`Cannot read the interface "${ifName}": ${asCniError(error).message}`, { ...context });
    });
    if (link !== undefined) {
      const whose = owner === undefined
        ? "no record shows that podwire or another CNI runtime created it"
        : ofOwner(owner);
      log.warn(`the interface "${ifName}" of "${netns}", ${describeLink(link)}, is left as it is: ${whose}`, {
        network: list.name,
        containerId,
        ...(owner === undefined ? { hint: "--force-foreign lets the plugins remove it" } : {}),
      });
    }
    return "";
  }

  async #find(
    { netns, ifName }: WantedInterface,
    signal: AbortSignal | undefined,
  ): Promise<LinkInfo | undefined> {
    const { netnsGuard, run } = this.#options;
    const place = await netnsGuard.isOwn(netns) ? {} : { netns };
    return await findLink(kernelFor(run), ifName, { ...place, signal });
  }
}

function readableList(record: AttachmentRecord): NetworkConfigList | undefined {
  try {
    return listOnRecord(record);
  } catch {
    return undefined;
  }
}

/** An entry of an old release of libcni has no namespace, and counts as being of this one. */
async function isEntryOf(cached: CachedAttachment | undefined, netns: string): Promise<boolean> {
  if (cached === undefined) return false;
  return cached.netns === "" || cached.netns === netns || await sameNetns(cached.netns, netns);
}

function contextOf(
  verb: "ADD" | "DEL",
  { name: network }: NetworkConfigList,
  { containerId, ifName }: Pick<AttachmentKey, "containerId" | "ifName">,
): CniErrorOptions {
  return { verb, network, containerId, ifName };
}

function ofOwner({ containerId, network, state }: AttachmentRecord): string {
  return `it is that of container "${containerId}" on network "${network}" (${state})`;
}

function taken(owner: AttachmentRecord, context: CniErrorOptions): CniError {
  const { containerId, ifName, state } = owner;
  return new CniError("conflict", `the interface "${ifName}" of this namespace is taken: ${ofOwner(owner)}`, {
    ...context,
    hint: state === "failed"
      ? "that attachment could not be detached; `podwire recover` tries again"
      : `\`podwire attachments ${containerId}\` shows the owner`,
  });
}
