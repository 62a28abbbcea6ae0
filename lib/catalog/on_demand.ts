import { Coalescer } from "../async/coalesce.ts";
import { CniError } from "../cni/error.ts";
import type { Logger } from "../host/log.ts";
import type { Catalog } from "./catalog.ts";
import type { CatalogReader, ReadCatalog } from "./reader.ts";
import { reportCatalog } from "./report.ts";
import { type CatalogChange, CatalogListeners, type CatalogSource } from "./source.ts";

/** Reads the directory on each request for the catalog. That is cheap if nothing has changed. */
export class CatalogOnDemand implements CatalogSource {
  readonly #reader: CatalogReader;
  readonly #log: Logger;
  readonly #listeners: CatalogListeners;
  readonly #closed = new AbortController();
  readonly #readings: Coalescer<ReadCatalog>;

  constructor(reader: CatalogReader, log: Logger) {
    this.#reader = reader;
    this.#log = log;
    this.#listeners = new CatalogListeners(log);
    this.#readings = new Coalescer(() => this.#read());
  }

  async current(signal?: AbortSignal): Promise<Catalog> {
    const { catalog, failure } = await this.#next(signal);
    // A missing permission of the caller says nothing about the directory, so it is thrown.
    const isUsable = failure?.kind !== "permission" && catalog.hasNetworks;
    if (failure !== undefined && !isUsable) throw failure;
    return catalog;
  }

  async reload(signal?: AbortSignal): Promise<Catalog> {
    const { catalog, failure } = await this.#next(signal);
    if (failure !== undefined) throw failure;
    return catalog;
  }

  onChange(listener: (change: CatalogChange) => void): Disposable {
    return this.#listeners.add(listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort();
    await this.#readings.idle();
  }

  async #next(signal: AbortSignal | undefined): Promise<ReadCatalog> {
    if (this.#closed.signal.aborted) throw new CniError("cancelled", "the catalog is closed");
    return await this.#readings.next(signal);
  }

  async #read(): Promise<ReadCatalog> {
    const { current } = this.#reader;
    const outcome = await this.#reader.attempt(this.#closed.signal);
    const { catalog } = outcome;
    reportCatalog(this.#log, current, catalog, false);
    if (current !== undefined && catalog !== current) {
      this.#listeners.emit({ catalog, networks: true, plugins: false });
    }
    return outcome;
  }
}
