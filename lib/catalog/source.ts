import type { Logger } from "../host/log.ts";
import { messageOf } from "../errors/to_cni_error.ts";
import type { Catalog } from "./catalog.ts";
import type { CatalogEntry } from "./entry.ts";

/** What a {@linkcode CatalogSource} tells of. */
export interface CatalogChange {
  /** The catalogue that is in force now. */
  readonly catalog: Catalog;
  /** Whether it differs from the one before. */
  readonly networks: boolean;
  /** Whether a directory of plugins changed. */
  readonly plugins: boolean;
}

/** Gives the catalogue of a configuration directory, which may change at any time. */
export interface CatalogSource extends AsyncDisposable {
  /**
   * The catalogue now: of a source that watches the one in force, of another what the directory holds at this moment.
   *
   * @throws {CniError} if the directory cannot be read and no former catalogue can stand in
   */
  current(signal?: AbortSignal): Promise<Catalog>;
  /**
   * Reads the directory now. Of calls at once those that came before a reading began share it, and an older state is
   * never put in the place of a newer one.
   *
   * @throws {CniError} if the directory cannot be read; then the former catalogue stays in force
   */
  reload(signal?: AbortSignal): Promise<Catalog>;
  /** Calls `listener` after each change, until disposed of. What it throws is logged. */
  onChange(listener: (change: CatalogChange) => void): Disposable;
}

/** Calls `listener` with what became of the files after each change of the networks, until disposed of. */
export function onEntries(
  source: Pick<CatalogSource, "onChange">,
  listener: (entries: readonly CatalogEntry[]) => void,
): Disposable {
  return source.onChange(({ networks, catalog }) => {
    if (networks) listener(catalog.entries);
  });
}

/** Those who want to hear of changes. */
export class CatalogListeners {
  readonly #listeners = new Set<(change: CatalogChange) => void>();
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Adds one, until disposed of. */
  add(listener: (change: CatalogChange) => void): Disposable {
    // Its own object: the same function may be added twice.
    const own = (change: CatalogChange) => listener(change);
    this.#listeners.add(own);
    return { [Symbol.dispose]: () => void this.#listeners.delete(own) };
  }

  /** Tells all of them. */
  tell(change: CatalogChange): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(change);
      } catch (error) {
        this.#log.error(`a listener to changes of the configuration failed: ${messageOf(error)}`);
      }
    }
  }
}
