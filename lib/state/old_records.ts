import { once } from "../async/once.ts";
import {
  listDir,
  listDirsIn,
  listIfDir,
  readTextIfThere,
  removeDirIfEmpty,
  removeIfThere,
  removeUnfinished,
  statOwn,
  UnreadableFileError,
} from "../host/file.ts";
import { attachmentLineKey, type RecordLine, SANDBOX_KEY } from "./record_log.ts";

const SANDBOX_FILE = /^(.+)\.json(?:\.bad-\d+)?$/;
const ATTACHMENT_FILE = /^(.+)@([^@]+)\.json(\.bad-\d+)?$/;

/**
 * Records as podwire 0.1.0 kept them: a file for each sandbox, `<state-dir>/sandboxes/<id>.json`, and one for each
 * attachment, `<state-dir>/attachments/<containerID>/<ifName>@<network>.json`. A damaged one was moved aside, to
 * `.json.bad-1`, when another took its place. They are read as lines of the present form, and written no more.
 *
 * Permissions: `--allow-read` and `--allow-write` for the state directory.
 */
export class OldRecords {
  readonly #sandboxes: string;
  readonly #attachments: string;
  /** Whether there may be such records. Once the layout is the present one, no process makes any. */
  readonly #exist: () => Promise<boolean>;

  constructor(stateDir: string) {
    this.#sandboxes = `${stateDir}/sandboxes`;
    this.#attachments = `${stateDir}/attachments`;
    this.#exist = once(async () => await isThere(this.#sandboxes) || await isThere(this.#attachments));
  }

  /** Returns the containers that have such records, in byte order. */
  async containers(): Promise<readonly string[]> {
    if (!await this.#exist()) return [];
    const sandboxes = (await listDir(this.#sandboxes)).flatMap((name) => SANDBOX_FILE.exec(name)?.[1] ?? []);
    return [...new Set([...sandboxes, ...await listDirsIn(this.#attachments)])].sort();
  }

  /** Returns the records of a container; undefined if it has none. */
  async read(containerId: string): Promise<readonly RecordLine[] | undefined> {
    const files = await this.#files(containerId);
    if (files.length === 0) return undefined;
    const lines: RecordLine[] = [];
    for (const { key, file, isAside } of files) {
      const text = await readAnyText(file);
      if (text !== undefined) lines.push({ key, file, text: isAside ? `moved aside: ${text}` : text });
    }
    return lines;
  }

  /** Removes the records of a container. What is not a regular file was not made by podwire, and stays. */
  async remove(containerId: string): Promise<void> {
    if (!await this.#exist()) return;
    const files = await this.#files(containerId);
    for (const { file } of files) if ((await statOwn(file))?.isFile) await removeIfThere(file);
    const folder = `${this.#attachments}/${containerId}`;
    if ((await statOwn(folder))?.isDirectory) await removeDirIfEmpty(folder);
  }

  /** Removes the unfinished writes of killed processes. */
  async removeUnfinished(): Promise<void> {
    if (!await this.#exist()) return;
    await removeUnfinished(this.#sandboxes);
    for (const id of await listDirsIn(this.#attachments)) {
      await removeUnfinished(`${this.#attachments}/${id}`);
      await removeDirIfEmpty(`${this.#attachments}/${id}`);
    }
  }

  async #files(containerId: string) {
    if (!await this.#exist()) return [];
    const found: { readonly key: string; readonly file: string; readonly isAside: boolean }[] = [];
    const sandbox = `${this.#sandboxes}/${containerId}.json`;
    for (let n = 1; await statOwn(`${sandbox}.bad-${n}`) !== undefined; n++) {
      found.push({ key: SANDBOX_KEY, file: `${sandbox}.bad-${n}`, isAside: true });
    }
    if (await statOwn(sandbox) !== undefined) found.push({ key: SANDBOX_KEY, file: sandbox, isAside: false });
    const folder = `${this.#attachments}/${containerId}`;
    for (const name of (await listIfDir(folder) ?? []).toReversed()) {
      // In byte order those that were moved aside come later, and the last line of a key counts.
      const [, ifName, network, aside] = ATTACHMENT_FILE.exec(name) ?? [];
      if (ifName === undefined || network === undefined) continue;
      const key = attachmentLineKey({ ifName, network });
      found.push({ key, file: `${folder}/${name}`, isAside: aside !== undefined });
    }
    return found;
  }
}

async function isThere(dir: string): Promise<boolean> {
  return await statOwn(dir) !== undefined;
}

async function readAnyText(file: string): Promise<string | undefined> {
  try {
    return await readTextIfThere(file);
  } catch (error) {
    if (!(error instanceof UnreadableFileError)) throw error;
    return `it cannot be read: ${error.why}`;
  }
}
