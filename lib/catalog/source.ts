import { messageOf } from "../errors/to_cni_error.ts";
import type { Logger } from "../host/log.ts";
import type { Catalog } from "./catalog.ts";
import type { CatalogEntry } from "./entry.ts";

/** A change that a {@linkcode CatalogSource} emits. */
export interface CatalogChange {
  /** The catalog that is in use now. */
  readonly catalog: Catalog;
  /** Whether the catalog differs from the one before. */
  readonly networks: boolean;
  /** Whether a directory of plugins changed. */
  readonly plugins: boolean;
}

/** Provides the catalog of a configuration directory, which may change at any time. */
export interface CatalogSource extends AsyncDisposable {
  /**
   * Returns the catalog: a source that watches returns the one in use, and any other source reads the directory now.
   *
   * @throws {CniError} if the directory cannot be read and there is no former catalog to fall back on
   */
  current(signal?: AbortSignal): Promise<Catalog>;
  /**
   * Reads the directory now. Calls that come before a reading begins share it. An older state never replaces a newer one.
   *
   * @throws {CniError} if the directory cannot be read; then the former catalog stays in use
   */
  reload(signal?: AbortSignal): Promise<Catalog>;
  /** Calls `listener` after each change, until disposed of. An error of the listener is logged. */
  onChange(listener: (change: CatalogChange) => void): Disposable;
}

/** Calls `listener` with the entries of all files after each change of the networks, until disposed of. */
export function onEntries(
  source: Pick<CatalogSource, "onChange">,
  listener: (entries: readonly CatalogEntry[]) => void,
): Disposable {
  return source.onChange(({ networks, catalog }) => {
    if (networks) listener(catalog.entries);
  });
}

/** The listeners to changes. */
export class CatalogListeners {
  readonly #listeners = new Set<(change: CatalogChange) => void>();
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Adds a listener, until disposed of. */
  add(listener: (change: CatalogChange) => void): Disposable {
    // Its own object: the same function may be added twice.
    const own = (change: CatalogChange) => listener(change);
    this.#listeners.add(own);
    return { [Symbol.dispose]: () => void this.#listeners.delete(own) };
  }

  /** Emits a change to all listeners. An error of a listener is logged. */
  emit(change: CatalogChange): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(change);
      } catch (error) {
        this.#log.error(`a listener to changes of the configuration failed: ${messageOf(error)}`);
      }
    }
  }
}
