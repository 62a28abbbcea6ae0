import type { NetworkConfigList } from "../cni/config.ts";
import type { CniError } from "../cni/error.ts";
import { byNameAsCnitool, byNameForPod } from "./by_name.ts";
import type { DefaultChoice } from "./default_network.ts";
import { type CatalogContent, type CatalogEntry, type CatalogFile, entriesOf } from "./entry.ts";
import { noDefaultNetwork, noSuchNetwork } from "./missing.ts";

/**
 * The networks of a configuration directory at the time of reading. Two rules choose among files with one network name:
 * {@linkcode Catalog.forPod} and {@linkcode Catalog.asCnitool}.
 */
export class Catalog {
  readonly #content: CatalogContent;
  readonly #forPod: ReadonlyMap<string, CatalogFile>;
  readonly #asCnitool: ReadonlyMap<string, CatalogFile>;

  constructor(content: CatalogContent) {
    this.#content = content;
    this.#forPod = byNameForPod(content.files);
    this.#asCnitool = byNameAsCnitool(content.files);
  }

  /** The data that it was made of. */
  get content(): CatalogContent {
    return this.#content;
  }

  /** One entry per file, in the order of reading. */
  get entries(): readonly CatalogEntry[] {
    return entriesOf(this.#content, this.#forPod);
  }

  /** Every usable network once, as {@linkcode Catalog.asCnitool} chooses it. */
  get lists(): readonly NetworkConfigList[] {
    return [...this.#forPod.keys()].map((name) => this.asCnitool(name));
  }

  /** Whether there is any network to attach to. */
  get hasNetworks(): boolean {
    return this.#forPod.size > 0;
  }

  /** Why the directory cannot be read; the networks are then those of the last successful reading. */
  get problem(): CniError | undefined {
    return this.#content.problem;
  }

  /** The name of the network for requests that name none; the catalog may lack it. */
  get defaultName(): string | undefined {
    return this.#content.choice.network;
  }

  /** The default network and the reason for the choice. */
  get defaultChoice(): DefaultChoice {
    return this.#content.choice;
  }

  /** The file of the network of that name, as {@linkcode Catalog.forPod} chooses it. */
  fileOf(name: string): string | undefined {
    return this.#forPod.get(name)?.file;
  }

  /**
   * The network of that name for a pod: the first usable file in byte order of the file names.
   *
   * @throws {CniError} kind `not-found`, with the files that were rejected
   */
  forPod(name: string): NetworkConfigList {
    return this.#listIn(this.#forPod, name);
  }

  /**
   * The network of that name as libcni and cnitool choose it: lists before single configurations, then byte order of the
   * file names. Unusable files do not hide usable ones.
   *
   * @throws {CniError} kind `not-found`, with the files that were rejected
   */
  asCnitool(name: string): NetworkConfigList {
    return this.#listIn(this.#asCnitool, name);
  }

  /**
   * The network for a request that names none.
   *
   * @throws {CniError} kind `not-ready` if there is none: no other network takes its place
   */
  default(): NetworkConfigList {
    const { network } = this.#content.choice;
    const list = network === undefined ? undefined : this.#forPod.get(network)?.list;
    if (list === undefined) throw noDefaultNetwork(this.#content);
    return list;
  }

  #listIn(files: ReadonlyMap<string, CatalogFile>, name: string): NetworkConfigList {
    const list = files.get(name)?.list;
    if (list === undefined) throw noSuchNetwork(this.#content, name);
    return list;
  }
}
