import { inParallel } from "../async/parallel.ts";
import { isForExistingLink } from "../cni/existing_link.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import { bootId } from "../host/boot.ts";
import type { RunCommand } from "../host/command.ts";
import {
  createExclusive,
  ensureDir,
  listDir,
  removeIfThere,
  removeUnfinished,
  statOwn,
  writeFileSynced,
} from "../host/file.ts";
import { identityOf, isSameIdentity } from "../host/netns_identity.ts";
import { type AttachmentKey, isSameAttachment } from "./attachment_key.ts";
import type { AttachmentRecord, AttachmentStore } from "./attachment_store.ts";
import type { BadRecord } from "./checksummed.ts";
import { newerRecord, requireFile, UnusableRecord } from "./checksummed.ts";
import { type InterfaceClaim, isOwnEntry, printClaim, readClaim } from "./interface_claim.ts";
import type { Locks } from "./locks.ts";
import { listOnRecord } from "./recorded_config.ts";
import type { ResultCache } from "./result_cache.ts";

/** Dependencies of {@linkcode InterfaceClaims}. */
export interface InterfaceClaimsOptions {
  readonly stateDir: string;
  readonly store: AttachmentStore;
  readonly locks: Locks;
  readonly run: RunCommand;
  /** Has the attachments whose records are lost. @default {no record is lost} */
  readonly cache?: Pick<ResultCache, "read"> | undefined;
  readonly onBad?: ((bad: BadRecord) => void) | undefined;
}

/** An interface of a namespace, independent of the namespace's path. */
export interface InterfaceKey {
  /** See `netnsId`. */
  readonly netnsId: string;
  readonly ifName: string;
}

/** Marks that the attachments of versions without claims have their claims. */
const COMPLETE = ".complete";
/** A power failure may lose these files: afterwards they would belong to an earlier boot. */
const OF_THIS_BOOT = { durable: false } as const;
const FILES_AT_ONCE = 16;

/**
 * Which attachment has which interface of which namespace, `<state-dir>/interfaces/<namespace>-<interface>`. Each interface
 * has a file, so that the time of a look-up does not depend on the number of interfaces.
 *
 * A claim is valid as long as its record is: it is written after the record and before the first plugin runs, and removed
 * with the record. A claim whose record or namespace is gone, or is of another boot, was left by a crash and is ignored. A
 * claim of a newer version always counts.
 *
 * If the record is lost but libcni's cache has an entry, the claim proves that this installation wrote that entry.
 *
 * Permissions: `--allow-read` and `--allow-write` for the state directory and the run directory.
 */
export class InterfaceClaims {
  readonly #options: InterfaceClaimsOptions;
  readonly #dir: string;
  #isComplete = false;
  #boot: Promise<string> | undefined;

  constructor(options: InterfaceClaimsOptions) {
    this.#options = options;
    this.#dir = `${options.stateDir}/interfaces`;
  }

  /** Returns the record of the attachment that has the interface, unless that is `self`. */
  async ownerOf(wanted: InterfaceKey, self: AttachmentKey): Promise<AttachmentRecord | undefined> {
    await this.#complete();
    const claim = await this.#read(wanted);
    if (claim === undefined || isSameAttachment(claim, self)) return undefined;
    return await this.#validOwner(claim, wanted);
  }

  /**
   * Whether it is certain that this record, and no other one, has the interface of its namespace. If an attachment has no
   * claim and its ADD did not finish, none of its plugins has run.
   */
  async isOwner(record: AttachmentRecord & { readonly netnsId: string }): Promise<boolean> {
    await this.#complete();
    const claim = await this.#read(record);
    if (claim !== undefined) return isSameAttachment(claim, record);
    if (record.state === "adding") return false;
    // The claim was lost.
    return (await this.#onRecord(record)).every((other) => isSameAttachment(other, record));
  }

  /** Claims the interface for an attachment that is on record. Returns the record of another attachment that has it. */
  async claim(record: AttachmentRecord, signal?: AbortSignal): Promise<AttachmentRecord | undefined> {
    const key = keyOf(record);
    if (key === undefined) return undefined;
    await this.#complete(signal);
    const file = this.#path(key);
    return await withCniErrors(async () => {
      if (await createExclusive(file, await printClaim(record), OF_THIS_BOOT)) return undefined;
      using _locked = await this.#options.locks.machine.interfaces(signal);
      const claim = await this.#read(key);
      if (claim !== undefined && !isSameAttachment(claim, record)) {
        const owner = await this.#validOwner(claim, key);
        if (owner !== undefined) return owner;
      }
      await requireFile(file);
      await writeFileSynced(file, await printClaim(record), OF_THIS_BOOT);
      return undefined;
    }, { file });
  }

  /**
   * Same as {@linkcode release}, without a lock: no other attachment can take an interface with a claim and a record. The
   * caller removes the record afterwards.
   */
  async withdraw(record: AttachmentRecord): Promise<void> {
    const key = keyOf(record);
    if (key === undefined) return;
    const claim = await this.#open(this.#path(key));
    if (claim === undefined || claim instanceof UnusableRecord || !isSameAttachment(claim, record)) return;
    await removeIfThere(this.#path(key));
  }

  /** Releases the interface, if it belongs to this attachment. */
  async release(record: AttachmentRecord, signal?: AbortSignal): Promise<void> {
    const key = keyOf(record);
    if (key === undefined) return;
    const file = this.#path(key);
    if (await statOwn(file) === undefined) return;
    using _locked = await this.#options.locks.machine.interfaces(signal);
    const found = await this.#open(file);
    if (found instanceof UnusableRecord && found.isNewer) return;
    const claim = await this.#meaning(found, key);
    if (claim !== undefined && isSameAttachment(claim, record)) await removeIfThere(file);
  }

  /** Returns all usable claims, or those of one namespace. */
  async all(netnsId?: string): Promise<readonly InterfaceClaim[]> {
    const names = (await listDir(this.#dir)).filter((name) =>
      name !== COMPLETE && (netnsId === undefined || name.startsWith(`${fileNameOf(netnsId)}-`))
    );
    const found = await inParallel(names, FILES_AT_ONCE, (name) => this.#open(`${this.#dir}/${name}`));
    return found.flatMap((each) => each === undefined || each instanceof UnusableRecord ? [] : each);
  }

  /** Removes the unfinished writes of killed processes. */
  async removeUnfinished(): Promise<void> {
    await removeUnfinished(this.#dir);
  }

  /** Removes what crashes left: claims of attachments that are not on record, and unfinished writes. */
  async sweep(signal?: AbortSignal): Promise<void> {
    await this.removeUnfinished();
    for (const name of await listDir(this.#dir)) {
      const file = `${this.#dir}/${name}`;
      if (name === COMPLETE || !await this.#isStale(file)) continue;
      // Locks for each file anew: an ADD in between waits for one file, not for all.
      using _locked = await this.#options.locks.machine.interfaces(signal);
      if (await this.#isStale(file)) await removeIfThere(file);
    }
  }

  /** Whether a claim has no attachment. An attachment whose record cannot be used may have the interface. */
  async #isStale(file: string): Promise<boolean> {
    const claim = await this.#open(file);
    if (claim === undefined) return false;
    if (claim instanceof UnusableRecord) return !claim.isNewer && (await statOwn(file))?.isFile === true;
    if (await this.#options.store.look(claim) !== undefined) return false;
    const entry = await this.#options.cache?.read(claim).catch(() => undefined);
    return entry === undefined || !await isOwnEntry(claim, entry);
  }

  /** Reads a claim. If it is damaged, the records are used instead. */
  async #read(key: InterfaceKey): Promise<AttachmentKey | undefined> {
    const file = this.#path(key);
    const claim = await this.#open(file);
    if (claim instanceof UnusableRecord && claim.isNewer) throw newerRecord(file, claim.message);
    return await this.#meaning(claim, key);
  }

  async #meaning(
    found: InterfaceClaim | UnusableRecord | undefined,
    key: InterfaceKey,
  ): Promise<AttachmentKey | undefined> {
    return found instanceof UnusableRecord ? (await this.#onRecord(key))[0] : found;
  }

  async #open(file: string): Promise<InterfaceClaim | UnusableRecord | undefined> {
    try {
      return await readClaim(file);
    } catch (error) {
      if (!(error instanceof UnusableRecord)) throw error;
      this.#options.onBad?.({ file, reason: error.message });
      return error;
    }
  }

  async #validOwner(claim: AttachmentKey, wanted: InterfaceKey): Promise<AttachmentRecord | undefined> {
    const owner = await this.#options.store.read(claim);
    return owner !== undefined && await this.#has(owner, wanted) ? owner : undefined;
  }

  /** Compares more than the inode number: the kernel reuses it for the next namespace. */
  async #has(owner: AttachmentRecord, wanted: InterfaceKey): Promise<boolean> {
    const { netnsId: id, netnsSince: since, ifName, bootId, netns } = owner;
    return id === wanted.netnsId && ifName === wanted.ifName && bootId === await this.#bootNow() &&
      isSameIdentity({ id, since }, await identityOf(netns));
  }

  #bootNow(): Promise<string> {
    return this.#boot ??= bootId(this.#options.run);
  }

  async #onRecord(wanted: InterfaceKey): Promise<readonly AttachmentRecord[]> {
    const { store } = this.#options;
    const found: AttachmentRecord[] = [];
    for (const record of await store.all()) {
      if (isClaimed(record) && await this.#has(record, wanted)) found.push(record);
    }
    return found;
  }

  /** Writes the claims for attachments of versions without claims, once. */
  async #complete(signal?: AbortSignal): Promise<void> {
    if (this.#isComplete) return;
    const mark = `${this.#dir}/${COMPLETE}`;
    if (await statOwn(mark) === undefined) {
      await withCniErrors(() => ensureDir(this.#dir, 0o700), { file: this.#dir });
      using _locked = await this.#options.locks.machine.interfaces(signal);
      const { store } = this.#options;
      for (const record of await store.all()) {
        const key = keyOf(record);
        if (key === undefined || !isClaimed(record) || !await this.#has(record, key)) continue;
        await createExclusive(this.#path(key), await printClaim(record), OF_THIS_BOOT);
      }
      await createExclusive(mark, "");
    }
    this.#isComplete = true;
  }

  #path({ netnsId, ifName }: InterfaceKey): string {
    return `${this.#dir}/${fileNameOf(netnsId)}-${ifName}`;
  }
}

function fileNameOf(netnsId: string): string {
  return netnsId.replace(":", "-");
}

/** An attachment whose configuration cannot be read may need a claim. */
function isClaimed(record: AttachmentRecord): boolean {
  try {
    return !isForExistingLink(listOnRecord(record));
  } catch {
    return true;
  }
}

function keyOf({ netnsId, ifName }: AttachmentRecord): InterfaceKey | undefined {
  return netnsId === undefined ? undefined : { netnsId, ifName };
}
