import { ensureDir, readTextIfThere, UnreadableFileError, writeFileSynced } from "../host/file.ts";
import type { Logger } from "../host/log.ts";
import { writeBestEffort } from "../state/write_best_effort.ts";

/** The boot since which recovery from earlier boots is complete: `<state-dir>/boot-id`. */
export class RecoveredBoot {
  readonly #stateDir: string;
  readonly #log: Logger;
  #known: string | undefined;

  constructor({ stateDir, log }: { readonly stateDir: string; readonly log: Logger }) {
    this.#stateDir = stateDir;
    this.#log = log;
  }

  /** Whether nothing of the boots before `boot` is left. */
  async is(boot: string): Promise<boolean> {
    if (this.#known !== boot && await this.#read() === boot) this.#known = boot;
    return this.#known === boot;
  }

  /** Returns null if the path is not a regular file: podwire did not create it, and it names no boot. */
  async #read(): Promise<string | undefined | null> {
    try {
      return await readTextIfThere(this.#file);
    } catch (error) {
      if (!(error instanceof UnreadableFileError)) throw error;
      this.#log.warn(`a record cannot be used, and is left as it is: ${error.why}`, { file: this.#file });
      return null;
    }
  }

  /** Writes that nothing of the boots before `boot` is left. If the disk is full, the record of the ADD is what fails, and reports it. */
  async write(boot: string): Promise<void> {
    if (await this.is(boot)) return;
    this.#known = boot;
    const file = this.#file;
    const text = await this.#read();
    // The file of a newer version is not overwritten; then each process checks for itself.
    if (text === null || text?.trimStart().startsWith("{")) return;
    await writeBestEffort(
      async () => {
        await ensureDir(this.#stateDir, 0o700);
        await writeFileSynced(file, boot);
      },
      this.#log,
      { file },
    );
  }

  get #file(): string {
    return `${this.#stateDir}/boot-id`;
  }
}
