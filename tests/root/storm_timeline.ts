/** Which configuration of a network was in effect when, by the rules of the catalogue. */
import { type NetworkKey, NETWORKS, SECOND } from "./storm_networks.ts";

/** The state of a network at a moment. */
export interface InEffect {
  /** Milliseconds of `performance.now()`. */
  readonly at: number;
  /** The version that pods get; undefined while there is none. */
  readonly version: number | undefined;
  /** Whether its plugin folder has a plugin. */
  readonly folder: boolean;
  /** Whether the file on disk cannot be used, so that its last good version is in effect. */
  readonly isBad: boolean;
}

/** The content of a file: a version, or nothing that can be used. */
type InFile = { readonly version: number } | "bad" | "gone";
type InFolder = "none" | "bad" | "marker";

/** What is on disk of a network, and its last usable version. */
interface Disk {
  file: InFile;
  second: boolean;
  folder: InFolder;
  /** The last good version of either file. */
  good: { readonly version: number; readonly folder: boolean } | undefined;
  goodSecond: { readonly folder: boolean } | undefined;
}

/** Gets each step before it is done, so that no observer can see what is not written here yet. */
export class Timelines {
  readonly #disks = new Map<NetworkKey, Disk>();
  readonly #entries = new Map<NetworkKey, InEffect[]>();

  file(key: NetworkKey, file: InFile): void {
    this.#change(key, { file });
  }

  second(key: NetworkKey, second: boolean): void {
    this.#change(key, { second });
  }

  folder(key: NetworkKey, folder: InFolder): void {
    this.#change(key, { folder });
  }

  /** The directory is away. */
  gone(): void {
    for (const key of this.#disks.keys()) {
      this.#enter(key, { version: undefined, folder: false, isBad: false });
    }
  }

  /** And there again, as it was. */
  back(): void {
    for (const key of this.#disks.keys()) this.#change(key, {});
  }

  /** What was in effect at some moment of that time. */
  within(key: NetworkKey, from: number, to: number): readonly InEffect[] {
    const entries = this.#entries.get(key) ?? [];
    const first = Math.max(entries.findLastIndex(({ at }) => at <= from), 0);
    return entries.slice(first).filter(({ at }) => at <= to);
  }

  /**
   * Whether such a network could seem not to exist to an observer at that time, who has looked before that
   * since `memory`: a network that was gone and is bad when it returns may never have been seen while it was
   * good.
   */
  couldLack(key: NetworkKey, from: number, to: number, memory: number): boolean {
    if (NETWORKS[key].isSteady) return false;
    const isNone = ({ version }: InEffect) => version === undefined;
    const then = this.within(key, from, to);
    return then.some(isNone) || then.some(({ isBad }) => isBad) && this.within(key, memory, to).some(isNone);
  }

  /** How long before that time the version was last in effect; 0 if it was so then. */
  age(key: NetworkKey, version: number, from: number, to: number): number {
    if (this.within(key, from, to).some((entry) => entry.version === version)) return 0;
    const entries = this.#entries.get(key) ?? [];
    const last = entries.findLastIndex((entry) => entry.at <= from && entry.version === version);
    return from - (entries[last + 1]?.at ?? from);
  }

  #change(key: NetworkKey, change: Partial<Disk>): void {
    const disk: Disk = this.#disks.get(key) ??
      { file: "gone", second: false, folder: "none", good: undefined, goodSecond: undefined };
    Object.assign(disk, change);
    this.#disks.set(key, disk);
    const { file, second, folder } = disk;
    // A file that is gone is forgotten; a file that turned bad is not.
    if (file === "gone") disk.good = undefined;
    else if (file !== "bad" && folder !== "bad") {
      disk.good = { version: file.version, folder: folder === "marker" };
    }
    if (!second) disk.goodSecond = undefined;
    else if (folder !== "bad") disk.goodSecond = { folder: folder === "marker" };
    const standIn = disk.goodSecond && { version: SECOND, ...disk.goodSecond };
    const isBad = file === "bad" || folder === "bad";
    this.#enter(key, { ...disk.good ?? standIn ?? { version: undefined, folder: false }, isBad });
  }

  #enter(key: NetworkKey, now: Omit<InEffect, "at">): void {
    // No observer may ever see that the default does not exist.
    if (NETWORKS[key].isSteady && now.version === undefined) return;
    const entries = this.#entries.get(key) ?? [];
    entries.push({ at: performance.now(), ...now });
    this.#entries.set(key, entries);
  }
}
