import { ensureDir, readTextIfThere, setAside, statOf, writeFileSynced } from "../host/file.ts";
import { type Logger, silentLogger } from "../host/log.ts";
import { once } from "../async/once.ts";
import { missingFlags } from "../host/permissions.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import { writeBestEffort } from "./write_best_effort.ts";
import { anything, openObjectOf } from "../cni/shape.ts";
import { decodeChecksummed, newerRecord, printChecksummed, UnusableRecord } from "./checksummed.ts";

const KIND = "podwire.format.v1";
/** Which layout of the state directory this version reads and writes; raised where an earlier one would misread it. */
const NUMBER = 1;

/**
 * How the state directory as a whole is laid out, `<state-dir>/format`: a later version that calls files otherwise or
 * puts them elsewhere raises the number, and is recognised by that before anything is changed. Where there is no such
 * file, the layout is that of podwire 0.1.0. It is looked at once a process.
 *
 * Permissions: `--allow-read` for the state directory, and `--allow-write` to write.
 */
export class StateFormat {
  /**
   * Refuses a state directory that a newer version has laid out.
   *
   * @throws {CniError} kind `conflict`
   */
  readonly requireKnown: () => Promise<void>;
  /** Notes the layout before the first record is written. Where that cannot be, the record is what has to say so. */
  readonly note: () => Promise<void>;
  readonly #dir: string;
  readonly #log: Logger;
  readonly #found: () => Promise<"known" | "absent" | UnusableRecord>;

  constructor(stateDir: string, log: Logger = silentLogger) {
    this.#dir = stateDir;
    this.#log = log;
    this.#found = once(() => this.#read());
    this.requireKnown = once(() => this.#requireKnown());
    this.note = once(() => this.#note());
  }

  /** Says, once, that a newer version has laid it out: what is shown of it may be wrong. Who may not look is not kept from what else there is. */
  readonly warnIfNewer: () => Promise<void> = once(async () => {
    if ((await missingFlags({ read: [this.#file] })).length > 0) return;
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
    // What is no file at all was not made here, and tells of no newer version either.
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

  async #read(): Promise<"known" | "absent" | UnusableRecord> {
    try {
      const text = await readTextIfThere(this.#file);
      if (text === undefined) return "absent";
      const { format: number } = await decodeChecksummed(KIND, text, openObjectOf({}, { format: anything }));
      if (number === NUMBER) return "known";
      return new UnusableRecord(`its "format" is ${JSON.stringify(number)}, and not ${NUMBER}`, true);
    } catch (error) {
      return UnusableRecord.of(error);
    }
  }

  get #file(): string {
    return `${this.#dir}/format`;
  }
}
