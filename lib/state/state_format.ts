import { once } from "../async/once.ts";
import { anything, openObjectOf } from "../cni/shape.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import { ensureDir, readTextIfThere, statOf, writeFileSynced } from "../host/file.ts";
import { setAside } from "../host/set_aside.ts";
import { type Logger, silentLogger } from "../host/log.ts";
import { missingFlags } from "../host/permissions.ts";
import { decodeChecksummed, newerRecord, printChecksummed, UnusableRecord } from "./checksummed.ts";
import { writeBestEffort } from "./write_best_effort.ts";

const KIND = "podwire.format.v1";
/** The layout of the state directory that this version reads and writes. Raised when an earlier version would misread it. */
const NUMBER = 3;
/**
 * 1: without files of containers: records of sandboxes and of attachments have files of their own. 2: each claimed port of the host
 * has a file.
 */
const OLDER = [1, 2];

/**
 * The layout of the state directory, `<state-dir>/format`. A later version that renames or moves files raises the number, so
 * that this version recognises it before it changes anything. Without the file, or with an earlier number, the layout is that of podwire 0.1.0: its
 * records are read, and the first write of a record raises the number. Each process reads the file once.
 *
 * Permissions: `--allow-read` for the state directory, and `--allow-write` to write.
 */
export class StateFormat {
  /**
   * Refuses a state directory with the layout of a newer version.
   *
   * @throws {CniError} kind `conflict`
   */
  readonly requireKnown: () => Promise<void>;
  /** Writes the layout before the first record. A failure is only logged: the write of the record then fails as well. */
  readonly note: () => Promise<void>;
  readonly #dir: string;
  readonly #log: Logger;
  readonly #found: () => Promise<"known" | "older" | "absent" | UnusableRecord>;

  constructor(stateDir: string, log: Logger = silentLogger) {
    this.#dir = stateDir;
    this.#log = log;
    this.#found = once(() => this.#read());
    this.requireKnown = once(() => this.#requireKnown());
    this.note = once(() => this.#note());
  }

  /**
   * Warns once if a newer version made the layout: what podwire shows of it may be wrong. Without the permission to read the
   * file nothing is logged.
   */
  readonly warnIfNewer: () => Promise<void> = once(async () => {
    if (missingFlags({ read: [this.#file] }).length > 0) return;
    const found = await this.#found().catch(() => undefined);
    if (!(found instanceof UnusableRecord) || !found.isNewer) return;
    const words = "the state directory is of a newer version of podwire, and nothing is changed in it";
    this.#log.warn(`${words}: upgrade podwire (${found.message})`, { file: this.#file });
  });

  async #requireKnown(): Promise<void> {
    const found = await withCniErrors(() => this.#found(), { file: this.#file });
    if (found instanceof UnusableRecord && found.isNewer) throw newerRecord(this.#file, found.message);
  }

  async #note(): Promise<void> {
    await this.#requireKnown();
    const found = await this.#found();
    if (found === "known") return;
    const file = this.#file;
    // Something that is not a file was not created here, and does not indicate a newer version either.
    if (found instanceof UnusableRecord && !(await statOf(file))?.isFile) {
      this.#log.warn(`a record cannot be used, and is left as it is: ${found.message}`, { file });
      return;
    }
    await writeBestEffort(
      async () => {
        if (found instanceof UnusableRecord) {
          const movedTo = await setAside(file);
          this.#log.warn(`a record could not be read and was moved aside: ${found.message}`, {
            file,
            movedTo,
          });
        }
        await ensureDir(this.#dir, 0o700);
        await writeFileSynced(file, await printChecksummed(KIND, { format: NUMBER }));
      },
      this.#log,
      { file },
    );
  }

  async #read(): Promise<"known" | "older" | "absent" | UnusableRecord> {
    try {
      const text = await readTextIfThere(this.#file);
      if (text === undefined) return "absent";
      const { format: number } = await decodeChecksummed(KIND, text, openObjectOf({}, { format: anything }));
      if (number === NUMBER) return "known";
      if (OLDER.some((older) => older === number)) return "older";
      return new UnusableRecord(`its "format" is ${JSON.stringify(number)}, and not ${NUMBER}`, true);
    } catch (error) {
      return UnusableRecord.of(error);
    }
  }

  get #file(): string {
    return `${this.#dir}/format`;
  }
}
