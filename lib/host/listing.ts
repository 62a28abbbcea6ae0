import { type FileStat, listAnyDir, statOf } from "./file.ts";

/** Returns a text that changes if the file changes, or is replaced by another file. */
export function identityOf({ dev, ino, size, mode, mtimeMs, ctimeMs }: FileStat): string {
  return [dev, ino, size, mode, mtimeMs, ctimeMs].join(":");
}

/** Whether {@linkcode identityOf} is the same of both. Thousands of files are compared with what they were. */
export function isSameFile(a: FileStat, b: FileStat): boolean {
  return a.ino === b.ino && a.mtimeMs === b.mtimeMs && a.ctimeMs === b.ctimeMs && a.size === b.size &&
    a.mode === b.mode && a.dev === b.dev;
}

const CLOCK_TICK_MS = 100;
const WHOLE_SECONDS_MS = 2_000;

/**
 * Whether the modification time is old enough to recognize every later change: a change right after the last one can get
 * the same time. Some file systems store whole seconds only.
 */
export function isSettled({ mtimeMs }: Pick<FileStat, "mtimeMs">, now: number): boolean {
  return mtimeMs < now - (mtimeMs % 1_000 === 0 ? WHOLE_SECONDS_MS : CLOCK_TICK_MS);
}

/** The names in a directory; it is read and sorted again only after it has changed. */
export class DirListing {
  #known: { readonly identity: string; readonly names: readonly string[] } | undefined;

  constructor(readonly dir: string) {}

  /** Returns the names as `listAnyDir` does: none if the directory does not exist. Requires `--allow-read`. */
  async names(): Promise<readonly string[]> {
    const now = Date.now();
    const stat = await statOf(this.dir);
    const identity = stat === undefined ? "" : identityOf(stat);
    if (stat !== undefined && this.#known?.identity === identity) return this.#known.names;
    const names = await listAnyDir(this.dir);
    this.#known = stat !== undefined && isSettled(stat, now) ? { identity, names } : undefined;
    return names;
  }
}
