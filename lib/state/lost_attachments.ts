import { netnsId } from "../host/netns.ts";
import type { AttachmentKey, AttachmentStore } from "./attachment_store.ts";
import { type AttachmentOrigin, type InterfaceClaim, isOwnEntry } from "./interface_claim.ts";
import type { InterfaceClaims } from "./interface_claims.ts";
import type { CachedAttachment, ResultCache } from "./result_cache.ts";

/** Dependencies of {@linkcode LostAttachments}. */
export interface LostAttachmentsContext {
  readonly store: AttachmentStore;
  readonly cache: Pick<ResultCache, "read">;
  readonly claims: Pick<InterfaceClaims, "all">;
}

/** An attachment of this installation whose record is lost. */
export interface LostAttachment extends AttachmentKey {
  /** Where its record was. */
  readonly file: string;
  readonly origin: AttachmentOrigin;
  readonly entry: CachedAttachment;
}

/**
 * Finds attachments whose records are lost: the file is gone, but libcni's cache has an entry, and the claim of the interface
 * proves that this installation wrote the entry. An entry without that proof is another runtime's.
 */
export class LostAttachments {
  readonly #context: LostAttachmentsContext;

  constructor(context: LostAttachmentsContext) {
    this.#context = context;
  }

  /** Returns all lost attachments. */
  async all(): Promise<readonly LostAttachment[]> {
    return await this.#among(await this.#context.claims.all());
  }

  /** Returns those of a container in one namespace. Cheap: reads only the names of the other files. */
  async of(containerId: string, netnsId: string): Promise<readonly LostAttachment[]> {
    const claims = await this.#context.claims.all(netnsId);
    return await this.#among(claims.filter((claim) => claim.containerId === containerId));
  }

  /** Whether the attachment is lost. False if its namespace is gone: it then holds no port and no interface. */
  async has(key: AttachmentKey): Promise<boolean> {
    const entry = await this.#context.cache.read(key).catch(() => undefined);
    const id = entry && await netnsId(entry.netns);
    if (id === undefined) return false;
    return (await this.of(key.containerId, id)).some(({ network, ifName }) =>
      network === key.network && ifName === key.ifName
    );
  }

  /** Returns the attachment, if it is still lost. */
  async recheck(
    { containerId, network, ifName, origin }: LostAttachment,
  ): Promise<LostAttachment | undefined> {
    return await this.#lost({ containerId, network, ifName, origin });
  }

  async #among(claims: readonly InterfaceClaim[]): Promise<readonly LostAttachment[]> {
    const found: LostAttachment[] = [];
    for (const claim of claims) {
      const lost = await this.#lost(claim);
      if (lost !== undefined) found.push(lost);
    }
    return found;
  }

  async #lost(claim: InterfaceClaim): Promise<LostAttachment | undefined> {
    const { store, cache } = this.#context;
    const { origin, containerId, network, ifName } = claim;
    if (origin === undefined || await store.has(claim)) return undefined;
    // An unreadable entry proves nothing.
    const entry = await cache.read(claim).catch(() => undefined);
    if (entry === undefined || !await isOwnEntry(claim, entry)) return undefined;
    return { containerId, network, ifName, file: store.fileOf(claim), origin, entry };
  }
}
