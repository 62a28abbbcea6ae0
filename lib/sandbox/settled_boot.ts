import { ensureDir, readTextIfThere, UnreadableFileError, writeFileSynced } from "../host/file.ts";
import type { Logger } from "../host/log.ts";
import { writeBestEffort } from "../state/write_best_effort.ts";

/** The boot of which it is known that nothing of those before is left: `<state-dir>/boot-id`. */
export class SettledBoot {
  readonly #stateDir: string;
  readonly #log: Logger;
  #known: string | undefined;

  constructor({ stateDir, log }: { readonly stateDir: string; readonly log: Logger }) {
    this.#stateDir = stateDir;
    this.#log = log;
  }

  /** Whether it is that one. */
  async is(boot: string): Promise<boolean> {
    if (this.#known !== boot && await this.#read() === boot) this.#known = boot;
    return this.#known === boot;
  }

  /** Null for what is no regular file: that was not made here, and tells of no boot. */
  async #read(): Promise<string | undefined | null> {
    try {
      return await readTextIfThere(this.#file);
    } catch (error) {
      if (!(error instanceof UnreadableFileError)) throw error;
      this.#log.warn(`a record cannot be used, and is left as it is: ${error.why}`, { file: this.#file });
      return null;
    }
  }

  /** Notes that it is. Where the disk takes nothing, the record of the ADD is what has to fail, and says so. */
  async note(boot: string): Promise<void> {
    if (await this.is(boot)) return;
    this.#known = boot;
    const file = this.#file;
    const text = await this.#read();
    // What a newer version made of it is not ours to write over; then each process looks for itself.
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
