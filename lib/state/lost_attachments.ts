import { netnsId } from "../host/netns.ts";
import { type AttachmentOrigin, type InterfaceClaim, isOwnEntry } from "./interface_claim.ts";
import type { InterfaceClaims } from "./interface_claims.ts";
import type { AttachmentKey, AttachmentStore } from "./attachment_store.ts";
import type { CachedAttachment, ResultCache } from "./result_cache.ts";

/** The parts that {@linkcode LostAttachments} works with. */
export interface LostAttachmentsParts {
  readonly store: AttachmentStore;
  readonly cache: Pick<ResultCache, "read">;
  readonly claims: Pick<InterfaceClaims, "all">;
}

/** An attachment of this installation whose record is lost, with what else is known of it. */
export interface LostAttachment extends AttachmentKey {
  /** Where its record was. */
  readonly file: string;
  readonly origin: AttachmentOrigin;
  readonly entry: CachedAttachment;
}

/**
 * Attachments whose records are lost: the file is gone, while libcni's cache has an entry, and the claim on the interface
 * proves that this installation made it. An entry without that proof is another runtime's.
 */
export class LostAttachments {
  readonly #parts: LostAttachmentsParts;

  constructor(parts: LostAttachmentsParts) {
    this.#parts = parts;
  }

  /** All of them. */
  async all(): Promise<readonly LostAttachment[]> {
    return await this.#among(await this.#parts.claims.all());
  }

  /** Those of a container in one namespace, at the price of a look at names of files. */
  async of(containerId: string, netnsId: string): Promise<readonly LostAttachment[]> {
    const claims = await this.#parts.claims.all(netnsId);
    return await this.#among(claims.filter((claim) => claim.containerId === containerId));
  }

  /** Whether the attachment is one. That of a namespace which is gone holds no port and no interface. */
  async has(key: AttachmentKey): Promise<boolean> {
    const entry = await this.#parts.cache.read(key).catch(() => undefined);
    const id = entry && await netnsId(entry.netns);
    if (id === undefined) return false;
    return (await this.of(key.containerId, id)).some(({ network, ifName }) =>
      network === key.network && ifName === key.ifName
    );
  }

  /** The same, if it is still lost. */
  async again({ containerId, network, ifName, origin }: LostAttachment): Promise<LostAttachment | undefined> {
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
    const { store, cache } = this.#parts;
    const { origin, containerId, network, ifName } = claim;
    if (origin === undefined || await store.has(claim)) return undefined;
    // An entry that cannot be read proves nothing.
    const entry = await cache.read(claim).catch(() => undefined);
    if (entry === undefined || !await isOwnEntry(claim, entry)) return undefined;
    return { containerId, network, ifName, file: store.fileOf(claim), origin, entry };
  }
}
