/** A configuration directory with everything around it, for sources of its catalog. */
import { assert } from "@std/assert";
import { delay } from "../../lib/async/wait.ts";
import type { Catalog } from "../../lib/catalog/catalog.ts";
import type { CatalogEntry } from "../../lib/catalog/entry.ts";
import { CatalogOnDemand } from "../../lib/catalog/on_demand.ts";
import { type CatalogOptions, CatalogReader } from "../../lib/catalog/reader.ts";
import type { CatalogChange } from "../../lib/catalog/source.ts";
import { CatalogWatch, type CatalogWatchOptions } from "../../lib/catalog/watch.ts";
import { Lines } from "../attachment/world.ts";

/** Polling finds nothing unless a test sets its interval. */
const NEVER_MS = 3_600_000;
const LIMIT_MS = 60_000;

export const list = (name: string, ...types: string[]) =>
  JSON.stringify({ cniVersion: "1.0.0", name, plugins: types.map((type) => ({ type })) });
export const conf = (name: string, type = "bridge") => JSON.stringify({ cniVersion: "0.4.0", name, type });

/** An entry as `FILE NAME STATUS`, and ` default` for the default network. */
export const brief = ({ file, name, status, default: isDefault }: CatalogEntry) =>
  `${file.slice(file.lastIndexOf("/") + 1)} ${name ?? "-"} ${status}${isDefault ? " default" : ""}`;
export const briefs = (catalog: Catalog) => catalog.entries.map(brief);

export class CatalogWorld implements AsyncDisposable {
  readonly parent: string;
  readonly confDir: string;
  readonly stateDir: string;
  readonly pluginDir: string;
  readonly log = new Lines();
  /** The networks that containers are attached to. */
  readonly attached = new Set<string>();

  private constructor(readonly dir: string) {
    this.parent = `${dir}/etc`;
    this.confDir = `${dir}/etc/net.d`;
    this.stateDir = `${dir}/state`;
    this.pluginDir = `${dir}/bin`;
  }

  static async make(files: Readonly<Record<string, string>> = {}): Promise<CatalogWorld> {
    const world = new CatalogWorld(await Deno.makeTempDir({ prefix: "podwire-catalog-" }));
    await Deno.mkdir(world.confDir, { recursive: true });
    await Deno.mkdir(world.pluginDir);
    for (const [name, text] of Object.entries(files)) await world.write(name, text);
    return world;
  }

  path(name: string): string {
    return `${this.confDir}/${name}`;
  }

  async write(name: string, text: string): Promise<void> {
    await Deno.writeTextFile(this.path(name), text);
  }

  async remove(name: string): Promise<void> {
    await Deno.remove(this.path(name), { recursive: true });
  }

  /** A reader as in a process that was just started. */
  reader(options: Partial<CatalogOptions> = {}): CatalogReader {
    const { confDir, stateDir, log, attached } = this;
    const isAttached = (network: string) => Promise.resolve(attached.has(network));
    return new CatalogReader({ confDir, stateDir, log, isAttached, ...options });
  }

  onDemand(options: Partial<CatalogOptions> = {}): CatalogOnDemand {
    return new CatalogOnDemand(this.reader(options), this.log);
  }

  async watch(
    { reader = this.reader(), ...options }: Partial<CatalogWatchOptions> = {},
  ): Promise<WatchedWorld> {
    const { log } = this;
    const pluginDirs = [this.pluginDir];
    const source = await CatalogWatch.open({
      pluginDirs,
      log,
      pollMs: NEVER_MS,
      gatherMs: 50,
      ...options,
      reader,
    });
    return new WatchedWorld(source);
  }

  /** The path of the file of the memory. */
  async memoryFile(): Promise<string> {
    const dir = `${this.stateDir}/catalogs`;
    const names = await Array.fromAsync(Deno.readDir(dir), ({ name }) => name);
    assert(names.length === 1, names.join());
    return `${dir}/${names[0]}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.dir, { recursive: true });
  }
}

/** A source that watches, and the changes that it emitted. */
export class WatchedWorld implements AsyncDisposable {
  readonly changes: CatalogChange[] = [];

  constructor(readonly source: CatalogWatch) {
    source.onChange((change) => this.changes.push(change));
  }

  async now(): Promise<string[]> {
    return briefs(await this.source.current());
  }

  /** Waits until the catalog in use has these entries. */
  async becomes(...expected: string[]): Promise<void> {
    const limit = performance.now() + LIMIT_MS;
    while ((await this.now()).join() !== expected.join()) {
      assert(performance.now() < limit, `still ${(await this.now()).join()}, not ${expected.join()}`);
      await delay(10);
    }
  }

  async until(fits: () => boolean | Promise<boolean>, what: string): Promise<void> {
    const limit = performance.now() + LIMIT_MS;
    while (!await fits()) {
      assert(performance.now() < limit, `not within ${LIMIT_MS} ms: ${what}`);
      await delay(10);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.source[Symbol.asyncDispose]();
  }
}
