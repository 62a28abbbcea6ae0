import { inParallel } from "../async/parallel.ts";
import { statOf } from "../host/file.ts";
import { DirListing, identityOf } from "../host/listing.ts";
import { searchPath } from "../plugin/find.ts";

const MAX_CONCURRENT_STATS = 16;

/** The directories that are searched for plugins. Finds out whether one of them has changed. */
export class PluginDirs {
  readonly #configured: readonly string[];
  #listings = new Map<string, DirListing>();
  #previous: ReadonlyMap<string, string> = new Map();

  constructor(configured: readonly string[]) {
    this.#configured = configured;
  }

  /** Returns all directories that are searched for plugins of these types. */
  pathsFor(types: Iterable<string>): readonly string[] {
    const paths = [...types].flatMap((type) => searchPath(type, this.#configured));
    return [...new Set([...this.#configured, ...paths])].filter((path) => path !== "");
  }

  /**
   * Returns whether a directory has changed since the previous call: a plugin appeared or disappeared, was replaced, or can
   * or cannot be executed now. Only metadata is read.
   */
  async haveChanged(types: Iterable<string>): Promise<boolean> {
    const paths = this.pathsFor(types);
    const current = new Map<string, string>();
    for (const path of paths) current.set(path, await this.#fingerprint(path));
    const before = this.#previous;
    this.#previous = current;
    return paths.some((path) => before.has(path) && before.get(path) !== current.get(path));
  }

  async #fingerprint(path: string): Promise<string> {
    const listing = this.#listings.get(path) ?? new DirListing(path);
    this.#listings.set(path, listing);
    // A directory that cannot be read holds no plugin that could be run.
    const names = await listing.names().catch(() => []);
    const files = await inParallel(names, MAX_CONCURRENT_STATS, async (name) => {
      const stat = await statOf(`${path}/${name}`).catch(() => undefined);
      return stat === undefined ? name : `${name} ${identityOf(stat)}`;
    });
    return files.join("\n");
  }
}
