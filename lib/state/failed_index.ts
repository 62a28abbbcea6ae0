import {
  createExclusive,
  ensureDir,
  listDir,
  removeIfThere,
  removeUnfinished,
  statOf,
} from "../host/file.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import { isContainerId } from "../cni/name.ts";

/**
 * Which containers have attachments that could not be removed: an empty file `<state-dir>/failed/<containerID>` for
 * each, so that whoever tries again need not read all records.
 *
 * It is a hint: it is there before a record turns `failed` and goes after the last of them, so after a crash there may
 * be one too many, which whoever follows it takes away. The records decide.
 *
 * Permissions: `--allow-read` and `--allow-write` for the state directory.
 */
export class FailedIndex {
  readonly #dir: string;
  readonly #listeners = new Set<() => void>();

  constructor(stateDir: string) {
    this.#dir = `${stateDir}/failed`;
  }

  /** Notes the container; it is on disk when this returns. */
  async add(containerId: string): Promise<void> {
    const file = this.#path(containerId);
    await withCniErrors(async () => {
      if (await this.has(containerId)) return;
      await ensureDir(this.#dir, 0o700);
      await createExclusive(file, "");
    }, { file });
    // Not before: whoever looks now has to find it.
    for (const listener of this.#listeners) listener();
  }

  /** Calls back each time that this process has noted one, until disposed of. */
  onAdd(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Differs once any process has noted a container, or taken one away. */
  async stamp(): Promise<string> {
    const stat = await statOf(this.#dir).catch(() => undefined);
    return stat === undefined ? "" : `${stat.ino} ${stat.mtimeMs}`;
  }

  /** Whether the container is noted. */
  async has(containerId: string): Promise<boolean> {
    return await statOf(this.#path(containerId)) !== undefined;
  }

  /** Forgets the container. The caller holds its lock. */
  async remove(containerId: string): Promise<void> {
    const file = this.#path(containerId);
    await withCniErrors(() => removeIfThere(file), { file });
  }

  /** The containers that are noted. */
  async containers(): Promise<readonly string[]> {
    // What cannot be an ID was not noted here.
    return (await withCniErrors(() => listDir(this.#dir), { file: this.#dir })).filter(isContainerId);
  }

  /** Removes what writes of killed processes left. */
  async removeUnfinished(): Promise<void> {
    await removeUnfinished(this.#dir);
  }

  #path(containerId: string): string {
    return `${this.#dir}/${containerId}`;
  }
}
