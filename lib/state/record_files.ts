import { Serial } from "../async/serial.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import { appendTo } from "../host/append.ts";
import { identityOf, isSameFile, isSettled } from "../host/listing.ts";
import {
  type FileStat,
  inEnsuredDir,
  listDir,
  readOwnBytes,
  readRegularNow,
  removeIfThere,
  removeUnfinished,
  statOwn,
  statRegularNow,
  syncDir,
  UnreadableFileError,
  wholeFileNow,
  writeFileSynced,
  type WriteOptions,
} from "../host/file.ts";
import { mayCallLibc } from "../host/libc.ts";
import { newerRecord, printRemoval, requireFile } from "./checksummed.ts";
import type { Hold } from "./container_locks.ts";
import { OldRecords } from "./old_records.ts";
import {
  asRead,
  compacted,
  HEAD_LENGTH,
  liveKeys,
  parseLog,
  printHead,
  printLine,
  type RecordLine,
  type RecordLog,
} from "./record_log.ts";

/** The records of a container as they are on the disk. */
export interface FoundLog extends RecordLog {
  /** The path of the file. */
  readonly file: string;
  /** Why the file cannot be read at all; then it has no lines. */
  readonly problem?: string;
  /** The file that has these records, as long as it stays as it was. */
  readonly known?: KnownFile;
}

/** A file that is as it was when it was read: what was made of its records then need not be made again. */
export interface KnownFile {
  readonly facts: FileStat;
  /** What was just written could change and have the same times, but not while the container's lock is held. */
  readonly during: Hold | "always";
  /** What was read, until {@linkcode RecordFiles.release}: a daemon has thousands of files, and nearly all their text is read once. */
  log: FoundLog | undefined;
  /** The keys of its attachments, once they were asked for. */
  keys: readonly string[] | undefined;
}

/** How {@linkcode RecordFiles.append} writes. */
export interface AppendLines {
  /**
   * What a loss of power leaves. `true`: the lines are on the disk when the call returns. Otherwise they may be lost, with all
   * that follow them. A new file is whole or missing. @default {"text"}
   */
  readonly durable?: WriteOptions["durable"];
}

/** The name ends so, because an ID may have the name of any other file. With the longest ID it is as long as names can be. */
const ENDING = ".rec";
const NEWER_FILE = "its first line is that of a newer version";
/** In bytes. Results have at most 4 MiB, and a container can have several attachments. */
export const LARGEST_LOG = 64 * 1024 * 1024;
/** A larger file is written anew, without what was replaced, if that makes it half as large. In bytes. */
const LARGE = 64 * 1024;
/** So many logs of removed containers may stay in memory, and so many files are read without the C library. */
const FEW = 64;

/** A length that no file reaches. */
const MISSING_END = 2 ** 38;

/** Returns the folder of the records. */
export function recordsDir(stateDir: string): string {
  return `${stateDir}/records`;
}

/** Returns the container whose records are at a path; undefined if it is another file. */
export function containerOf(path: string): string | undefined {
  const name = path.slice(path.lastIndexOf("/") + 1);
  return name.endsWith(ENDING) && !name.startsWith(".") ? name.slice(0, -ENDING.length) : undefined;
}

/**
 * The files of the records, `<state-dir>/records/<containerID>.rec`: one a container, with its sandbox and its attachments,
 * so that each look is one read and each change one write. See `record_log.ts`.
 *
 * Records of podwire 0.1.0 are read where they are, and moved here by the first write to their container.
 *
 * The caller holds the container's lock when it writes.
 *
 * Permissions: `--allow-read` for the state directory, and `--allow-write` to write.
 */
export class RecordFiles {
  readonly #dir: string;
  readonly #holdOf: (containerId: string) => Hold | undefined;
  readonly #old: OldRecords;
  readonly #known = new Map<string, KnownFile>();
  #listing: { readonly identity: string; readonly ids: readonly string[] } | undefined;
  /** Several attachments of a container may change at once. */
  readonly #writing = new Serial();

  /** `holdOf` says when this process alone may change the file of a container, see `ContainerLocks`. @default {never} */
  constructor(stateDir: string, holdOf: (containerId: string) => Hold | undefined = () => undefined) {
    this.#holdOf = holdOf;
    this.#dir = recordsDir(stateDir);
    this.#old = new OldRecords(stateDir);
  }

  /** Returns where the records of a container are, or would be. */
  path(containerId: string): string {
    return `${this.#dir}/${containerId}${ENDING}`;
  }

  /** Returns the containers that have records, in byte order. */
  async containers(): Promise<readonly string[]> {
    const ids = await this.#containers();
    // It takes as long to open as it saves for so many.
    if (ids.length > FEW) mayCallLibc();
    if (this.#known.size > 2 * ids.length + FEW) {
      const there = new Set(ids);
      for (const id of this.#known.keys()) if (!there.has(id)) this.#known.delete(id);
    }
    return ids;
  }

  async #containers(): Promise<readonly string[]> {
    const ids = await this.#listed();
    const old = await this.#old.containers();
    return old.length === 0 ? ids : [...new Set([...ids, ...old])];
  }

  /** Reads and sorts the names again only after a file was made or removed. */
  async #listed(): Promise<readonly string[]> {
    const now = Date.now();
    const stat = await statOwn(this.#dir);
    const identity = stat === undefined ? "" : identityOf(stat);
    if (stat !== undefined && this.#listing?.identity === identity) return this.#listing.ids;
    const ids = (await listDir(this.#dir)).flatMap((name) => containerOf(name) ?? []);
    this.#listing = stat !== undefined && isSettled(stat, now) ? { identity, ids } : undefined;
    return ids;
  }

  /** Returns the records of a container; undefined if it has none. */
  async read(containerId: string): Promise<FoundLog | undefined> {
    return this.readNow(containerId) ?? await this.#readOther(containerId);
  }

  /** Returns the file of a container if it was read before and has not changed. A look at it, in the same turn of the event loop. */
  knownNow(containerId: string): KnownFile | undefined {
    const known = this.#known.get(containerId);
    if (known === undefined) return undefined;
    const stat = this.#isValid(containerId, known) ? statRegularNow(this.path(containerId)) : undefined;
    if (stat !== undefined && isSameFile(known.facts, stat)) return known;
    this.#known.delete(containerId);
    return undefined;
  }

  /**
   * Returns the records of a container in the same turn of the event loop, which takes half the time: lists read thousands.
   * Undefined if it has no file of the present form, or another one than podwire writes; {@linkcode RecordFiles.read} finds
   * out which. `known` is what {@linkcode RecordFiles.knownNow} has just returned.
   */
  readNow(
    containerId: string,
    known: KnownFile | undefined = this.knownNow(containerId),
  ): FoundLog | undefined {
    return known?.log ?? this.rereadNow(containerId);
  }

  /** Forgets what was read of a file, not that it is as it was. */
  release(known: KnownFile): void {
    known.log = undefined;
  }

  /** Same as {@linkcode RecordFiles.readNow}, of the disk in any case. */
  rereadNow(containerId: string): FoundLog | undefined {
    const file = this.path(containerId);
    const now = Date.now();
    const found = readRegular(file);
    if (found === undefined) return undefined;
    const { facts, bytes } = found;
    const log = { file, ...parseLog(bytes) };
    const before = this.#known.get(containerId);
    const isKnown = before !== undefined && isSameFile(before.facts, facts) &&
      this.#isValid(containerId, before);
    // What was released once is read seldom.
    if (isKnown) return { ...log, known: before };
    const during = isSettled(facts, now) ? "always" : this.#holdOf(containerId);
    return during === undefined ? log : this.#keep(containerId, { facts, during, log });
  }

  /** Reads what is not a file of the present form, or too large for one, or missing: podwire 0.1.0 has other files. */
  async #readOther(containerId: string): Promise<FoundLog | undefined> {
    this.#known.delete(containerId);
    const file = this.path(containerId);
    try {
      const bytes = await readOwnBytes(file, LARGEST_LOG);
      if (bytes !== undefined) return { file, ...parseLog(bytes) };
    } catch (error) {
      if (!(error instanceof UnreadableFileError)) throw error;
      return { file, lines: [], isCut: true, isNewer: false, problem: error.why };
    }
    const old = await this.#old.read(containerId);
    return old && { file, lines: old, isCut: false, isNewer: false };
  }

  /** Appends lines to the records of a container. The first write creates the file. */
  async append(containerId: string, lines: readonly RecordLine[], options: AppendLines = {}): Promise<void> {
    const file = this.path(containerId);
    await this.#writing.run(containerId, () =>
      withCniErrors(async () => {
        const durable = options.durable === true;
        const before = this.#known.get(containerId);
        const known = before && this.#isValid(containerId, before) ? before : undefined;
        this.#known.delete(containerId);
        const appended = await appendTo(file, lines.map(printLine).join(""), { headOf: printHead, durable });
        if (appended.became === "absent") await this.#create(containerId, lines, options);
        else if (appended.became === "unsound") await this.#extendUnsound(containerId, lines);
        else if (appended.size > LARGE) await this.#compact(containerId);
        else if (known?.log !== undefined && isSameFile(known.facts, appended.was)) {
          const log = { ...known.log, lines: [...known.log.lines, ...asRead(lines)] };
          this.#know(containerId, log, appended.size);
        }
      }, { file }));
  }

  /** Waits until the names of the files that are there now survive a loss of power. */
  async syncNames(): Promise<void> {
    await withCniErrors(() => syncDir(this.#dir), { file: this.#dir });
  }

  /** Removes what has that key, and the file if nothing else is in it. */
  async remove(containerId: string, key: string): Promise<void> {
    const found = await this.read(containerId);
    if (found?.isNewer) throw newerRecord(found.file, NEWER_FILE);
    const lines = found?.lines ?? [];
    if ((await liveKeys(lines)).some((other) => other !== key)) {
      // What is only intended counts after a loss of power.
      if (!(await liveKeys(lines, { withIntended: true })).includes(key)) return;
      return await this.append(containerId, [{ key, text: await printRemoval(key) }]);
    }
    await this.#writing.run(containerId, async () => {
      this.#known.delete(containerId);
      // Without the file they would count again.
      await this.#old.remove(containerId);
      await removeIfThere(this.path(containerId));
    });
  }

  /** Removes the unfinished writes of killed processes, and the records of podwire 0.1.0 that were moved here. */
  async removeUnfinished(): Promise<void> {
    await removeUnfinished(this.#dir);
    for (const id of await this.#old.containers()) {
      // A loss of power may take their removal back, and not the file that replaces them.
      if ((await statOwn(this.path(id)))?.isFile) await this.#old.remove(id);
    }
    await this.#old.removeUnfinished();
  }

  async #create(containerId: string, lines: readonly RecordLine[], options: AppendLines): Promise<void> {
    const file = this.path(containerId);
    await requireFile(file);
    const old = await this.#old.read(containerId);
    const text = printLog([...old ?? [], ...lines]);
    // What replaces records that are on the disk has to be there first.
    const durable = old === undefined ? options.durable ?? "text" : true;
    await inEnsuredDir(this.#dir, 0o700, () => writeFileSynced(file, text, { durable }));
    if (old !== undefined) return await this.#old.remove(containerId);
    const log = { file, lines: asRead(lines), isCut: false, isNewer: false };
    this.#know(containerId, log, new TextEncoder().encode(text).length);
  }

  /** Keeps what this process has just written: the next steps read it again and again. */
  #know(containerId: string, log: FoundLog, size: number): void {
    const during = this.#holdOf(containerId);
    const facts = during && statRegularNow(log.file);
    if (during === undefined || facts?.size !== size || log.isCut || log.isNewer) return;
    this.#keep(containerId, { facts, during, log });
  }

  #keep(
    containerId: string,
    { log, ...facts }: Omit<KnownFile, "keys"> & { readonly log: FoundLog },
  ): FoundLog {
    const known: KnownFile = { ...facts, log: undefined, keys: undefined };
    this.#known.set(containerId, known);
    return known.log = { ...log, known };
  }

  #isValid(containerId: string, { during }: KnownFile): boolean {
    return during === "always" || during === this.#holdOf(containerId);
  }

  /** What is left in a file without its end stays there, and it still counts as one without its end. */
  async #extendUnsound(containerId: string, lines: readonly RecordLine[]): Promise<void> {
    const found = await this.read(containerId);
    if (found?.isNewer) throw newerRecord(found.file, NEWER_FILE);
    const file = this.path(containerId);
    await requireFile(file);
    await writeFileSynced(file, printLog([...found?.lines ?? [], ...lines], found?.isCut ? MISSING_END : 0));
  }

  async #compact(containerId: string): Promise<void> {
    const found = await this.read(containerId);
    if (found === undefined || found.isNewer || found.isCut) return;
    const lines = compacted(found.lines);
    if (2 * lengthOf(lines) > lengthOf(found.lines)) return;
    await writeFileSynced(found.file, printLog(lines), { durable: "text" });
  }
}

/** Returns the bytes of a regular file, with the facts about it; undefined for anything else, and for one that is too large. */
function readRegular(file: string): { readonly facts: FileStat; readonly bytes: Uint8Array } | undefined {
  const whole = wholeFileNow(file);
  if (whole !== "unknown") return whole;
  const facts = statRegularNow(file);
  if (facts === undefined || facts.size > LARGEST_LOG) return undefined;
  const bytes = readRegularNow(file);
  return bytes && { facts, bytes };
}

function lengthOf(lines: readonly RecordLine[]): number {
  return lines.reduce((sum, { text }) => sum + text.length, 0);
}

/** Returns the text of a file with these lines. */
function printLog(lines: readonly RecordLine[], missing = 0): string {
  const text = lines.map(printLine).join("");
  return `${printHead(HEAD_LENGTH + new TextEncoder().encode(text).length + missing)}${text}`;
}
