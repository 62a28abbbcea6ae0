import { type FileStat, listDir, statOf } from "./file.ts";

/** Changes when another file is there, or the file has changed. */
export function identityOf({ dev, ino, size, mode, mtimeMs, ctimeMs }: FileStat): string {
  return [dev, ino, size, mode, mtimeMs, ctimeMs].join(":");
}

const CLOCK_TICK_MS = 100;
const WHOLE_SECONDS_MS = 2_000;

/**
 * Whether what is read from `now` on stays known by this time of change: a change right after the last one can have
 * the same time. Some file systems keep no more than seconds.
 */
export function isSettled({ mtimeMs }: FileStat, now: number): boolean {
  return mtimeMs < now - (mtimeMs % 1_000 === 0 ? WHOLE_SECONDS_MS : CLOCK_TICK_MS);
}

/** The names in a directory, which is read and sorted only when it has changed. */
export class DirListing {
  #known: { readonly identity: string; readonly names: readonly string[] } | undefined;

  constructor(readonly dir: string) {}

  /** As `listDir` gives them: none if there is no such directory. Requires `--allow-read`. */
  async names(): Promise<readonly string[]> {
    const now = Date.now();
    const stat = await statOf(this.dir);
    const identity = stat === undefined ? "" : identityOf(stat);
    if (stat !== undefined && this.#known?.identity === identity) return this.#known.names;
    const names = await listDir(this.dir);
    this.#known = stat !== undefined && isSettled(stat, now) ? { identity, names } : undefined;
    return names;
  }
}
