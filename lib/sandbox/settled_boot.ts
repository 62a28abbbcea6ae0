import { ensureDir, readTextIfThere, writeFileSynced } from "../host/file.ts";
import type { Logger } from "../host/log.ts";
import { noteIfPossible } from "../network/note.ts";

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
    if (this.#known !== boot && await readTextIfThere(this.#file) === boot) this.#known = boot;
    return this.#known === boot;
  }

  /** Notes that it is. Where the disk takes nothing, the record of the ADD is what has to fail, and says so. */
  async note(boot: string): Promise<void> {
    if (await this.is(boot)) return;
    this.#known = boot;
    const file = this.#file;
    // What a newer version made of it is not ours to write over; then each process looks for itself.
    if ((await readTextIfThere(file))?.trimStart().startsWith("{")) return;
    await noteIfPossible(
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
