import { statOf } from "../host/file.ts";
import { DirListing, identityOf } from "../host/listing.ts";
import { inParallel } from "../async/parallel.ts";
import { searchPath } from "../plugin/find.ts";

const FILES_AT_ONCE = 16;

/** The directories in which plugins are looked for, to tell whether one of them has changed. */
export class PluginDirs {
  readonly #configured: readonly string[];
  #listings = new Map<string, DirListing>();
  #seen: ReadonlyMap<string, string> = new Map();

  constructor(configured: readonly string[]) {
    this.#configured = configured;
  }

  /** All that are searched for plugins of these types. */
  pathsFor(types: Iterable<string>): readonly string[] {
    const paths = [...types].flatMap((type) => searchPath(type, this.#configured));
    return [...new Set([...this.#configured, ...paths])].filter((path) => path !== "");
  }

  /**
   * Whether one that was looked at before is no longer as it was then. A plugin that is there or not, that can be
   * executed or not, or that was replaced makes a difference; only the metadata is read.
   */
  async haveChanged(types: Iterable<string>): Promise<boolean> {
    const paths = this.pathsFor(types);
    const seen = new Map<string, string>();
    for (const path of paths) seen.set(path, await this.#look(path));
    const before = this.#seen;
    this.#seen = seen;
    return paths.some((path) => before.has(path) && before.get(path) !== seen.get(path));
  }

  async #look(path: string): Promise<string> {
    const listing = this.#listings.get(path) ?? new DirListing(path);
    this.#listings.set(path, listing);
    // One that cannot be looked at holds nothing that could be run.
    const names = await listing.names().catch(() => []);
    const files = await inParallel(names, FILES_AT_ONCE, async (name) => {
      const stat = await statOf(`${path}/${name}`).catch(() => undefined);
      return stat === undefined ? name : `${name} ${identityOf(stat)}`;
    });
    return files.join("\n");
  }
}
