import { isContainerId } from "../cni/name.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import {
  createExclusive,
  ensureDir,
  listDir,
  removeIfThere,
  removeUnfinished,
  statOwn,
} from "../host/file.ts";

/**
 * Which containers have attachments that could not be removed: an empty file `<state-dir>/failed/<containerID>` for each,
 * so that a retry does not have to read all records.
 *
 * The file is a hint: it is created before a record becomes `failed`, and removed after the last of them. After a crash
 * there may be a hint too many, which the next retry removes. The records decide.
 *
 * Permissions: `--allow-read` and `--allow-write` for the state directory.
 */
export class FailedIndex {
  readonly #dir: string;
  readonly #listeners = new Set<() => void>();

  constructor(stateDir: string) {
    this.#dir = `${stateDir}/failed`;
  }

  /** Adds the container. The file is on disk when this returns. */
  async add(containerId: string): Promise<void> {
    const file = this.#path(containerId);
    await withCniErrors(async () => {
      if (await this.has(containerId)) return;
      await ensureDir(this.#dir, 0o700);
      await createExclusive(file, "");
    }, { file });
    // After the write: a listener that reads the index must find the container.
    for (const listener of this.#listeners) listener();
  }

  /** Calls the listener each time that this process has added a container, until disposed. */
  onAdd(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Returns a text that changes when any process adds or removes a container. */
  async stamp(): Promise<string> {
    const stat = await statOwn(this.#dir).catch(() => undefined);
    return stat === undefined ? "" : `${stat.ino} ${stat.mtimeMs}`;
  }

  /** Whether the index has the container. */
  async has(containerId: string): Promise<boolean> {
    return await statOwn(this.#path(containerId)) !== undefined;
  }

  /** Removes the container. The caller holds its lock. */
  async remove(containerId: string): Promise<void> {
    const file = this.#path(containerId);
    // To look first is faster, and nearly always there is none.
    await withCniErrors(async () => await this.has(containerId) && await removeIfThere(file), { file });
  }

  /** Returns the containers of the index. */
  async containers(): Promise<readonly string[]> {
    // To look first is faster, and nearly always there is none.
    if (await statOwn(this.#dir).catch(() => "unknown") === undefined) return [];
    // A file whose name is not a valid ID was not created here.
    return (await withCniErrors(() => listDir(this.#dir), { file: this.#dir })).filter(isContainerId);
  }

  /** Removes the unfinished writes of killed processes. */
  async removeUnfinished(): Promise<void> {
    await removeUnfinished(this.#dir);
  }

  #path(containerId: string): string {
    return `${this.#dir}/${containerId}`;
  }
}
