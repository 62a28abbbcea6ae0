import type { ReadContext } from "../state/attachment_lines.ts";
import type { FoundLog, KnownFile, RecordFiles } from "../state/record_files.ts";
import { type DamagedRecord, isDamaged } from "./damaged_record.ts";
import type { SandboxRecord } from "./record.ts";
import { readIntactSandboxNow, readSandbox } from "./sandbox_line.ts";

/** Reads the records of sandboxes; each once, as long as its file stays as it is. Requires `--allow-read`. */
export class SandboxReader {
  readonly #files: RecordFiles;
  readonly #context: ReadContext;
  readonly #decoded = new WeakMap<KnownFile, SandboxRecord>();
  /** What each record was read from: a file that stays as it was, or is too new to know that. */
  readonly #origins = new WeakMap<SandboxRecord, KnownFile | FoundLog>();

  constructor(files: RecordFiles, context: ReadContext) {
    this.#files = files;
    this.#context = context;
  }

  /** Returns an intact record in the same turn of the event loop; undefined if {@linkcode SandboxReader.read} has to look. */
  readNow(id: string): SandboxRecord | undefined {
    const found = this.#lookNow(id);
    return isRecord(found) ? found : undefined;
  }

  /**
   * Returns the record with that ID, or what is left of a damaged one; undefined if there is none. An intact one needs no promise:
   * lists read thousands.
   */
  read(id: string): SandboxRecord | Promise<SandboxRecord | DamagedRecord | undefined> {
    const found = this.#lookNow(id);
    return isRecord(found) ? found : this.#readOther(id, found);
  }

  /**
   * Returns what a record was read from; reads it again if it was released. Undefined if the record was not read here, and
   * "changed" if its file is another one by now, or is gone.
   */
  logOf(record: SandboxRecord): FoundLog | undefined | "changed" {
    const origin = this.#origins.get(record);
    if (origin === undefined || !("facts" in origin)) return origin;
    if (origin.log !== undefined) return origin.log;
    const log = this.#files.rereadNow(record.id);
    return log?.known === origin ? log : "changed";
  }

  /** Call when all that is wanted of a record's file was made of it: a daemon has thousands, and their text is of no use then. */
  release(record: SandboxRecord): void {
    const origin = this.#origins.get(record);
    if (origin !== undefined && "facts" in origin) this.#files.release(origin);
  }

  /** Returns an intact record, or else what is in the file of the container, or undefined if that is not a file of its form. */
  #lookNow(id: string): SandboxRecord | FoundLog | undefined {
    const known = this.#files.knownNow(id);
    const before = known && this.#decoded.get(known);
    if (before !== undefined) return before;
    const log = this.#files.readNow(id, known);
    if (log === undefined) return undefined;
    const record = readIntactSandboxNow(id, log);
    return record === undefined ? log : this.#keep(record, log);
  }

  async #readOther(id: string, read?: FoundLog): Promise<SandboxRecord | DamagedRecord | undefined> {
    const log = read ?? await this.#files.read(id);
    if (log === undefined) return undefined;
    const found = await readSandbox(id, log, this.#context);
    // What is damaged is reported each time.
    return found === undefined || isDamaged(found) ? found : this.#keep(found, log);
  }

  #keep(record: SandboxRecord, log: FoundLog): SandboxRecord {
    if (log.known !== undefined) this.#decoded.set(log.known, record);
    this.#origins.set(record, log.known ?? log);
    return record;
  }
}

function isRecord(found: SandboxRecord | FoundLog | undefined): found is SandboxRecord {
  return found !== undefined && "phase" in found;
}
