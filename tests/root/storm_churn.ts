/** Rewrites a configuration directory ten times a second, and knows what was in effect when. */
import { delay } from "../../lib/async/wait.ts";
import type { Random } from "../cni/random.ts";
import {
  folderText,
  nameOf,
  type NetworkKey,
  type NetworkPlaces,
  NETWORKS,
  SECOND,
  textOf,
  VERSIONS,
} from "./storm_networks.ts";
import { Timelines } from "./storm_timeline.ts";

const TICK_MS = 100;
/**
 * For how many ticks a deleted file stays away, and an unfinished one stays broken: long enough to be
 * noticed.
 */
const GONE_TICKS = { least: 15, most: 40 } as const;
const BROKEN_TICKS = { least: 2, most: 12 } as const;
/** So many files are away or broken at most, so that one is always left for the next operation. */
const MOST_PENDING = 3;

const FILES = {
  main: "20-main.conflist",
  blue: "30-blue.conflist",
  green: "40-green.conflist",
  port: "50-port.conflist",
  fixed: "55-fixed.conflist",
} as const;
type FileKey = keyof typeof FILES;

const DECOY = "00-decoy.conflist";
const GARBAGE = [
  "99-note.txt",
  "20-main.conflist~",
  ".20-main.conflist.swp",
  "15-broken.conflist",
  "17-dir.conflist",
];

/** One kind of operation on the directory. */
type Operation = (churn: Churn) => Promise<void> | void;

/** What ends the absence or damage of a file. */
interface Pending {
  readonly kind: string;
  /** The tick. */
  readonly due: number;
  readonly end: () => void;
}

export class Churn implements AsyncDisposable {
  readonly timelines = new Timelines();
  /** How often each kind of operation was done. */
  readonly counts = new Map<string, number>();
  readonly #versions = new Map<FileKey, number>();
  readonly #pending = new Map<FileKey, Pending>();
  readonly #stop = new AbortController();
  #ended: Promise<void> | undefined;
  #deck: readonly string[] = [];
  #tick = 0;

  constructor(readonly dir: string, readonly places: NetworkPlaces, readonly random: Random) {}

  /** Writes all networks, complete and undisturbed. */
  prepare(): void {
    Deno.mkdirSync(this.dir, { recursive: true });
    for (const key of Object.keys(FILES) as FileKey[]) this.put(key, 0);
  }

  start(): void {
    this.#ended = this.#go();
  }

  /** Ends it and leaves all networks there. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#ended;
    for (const { end } of [...this.#pending.values()]) end();
  }

  path(name: string): string {
    return `${this.dir}/${name}`;
  }

  version(key: FileKey): number {
    return this.#versions.get(key) ?? 0;
  }

  /** A version that the file has not had yet, or not for long. */
  another(key: FileKey): number {
    return key === "fixed" ? 0 : (this.version(key) + 1) % VERSIONS;
  }

  /** A file that exists, and is complete. */
  anyFile(which: (key: FileKey) => boolean = () => true): FileKey {
    const keys = (Object.keys(FILES) as FileKey[]).filter((key) => !this.#pending.has(key) && which(key));
    return this.random.one(keys);
  }

  /** In half of the cases that of the default, which must exist at every moment. */
  mainOrAny(): FileKey {
    return this.random.chance(50) && !this.#pending.has("main") ? "main" : this.anyFile();
  }

  text(key: NetworkKey, version: number): string {
    return textOf(key, version, this.places);
  }

  /** Writes a file at once: a new one, or in the place of the existing one. */
  put(key: FileKey, version: number): void {
    const next = this.path(`${FILES[key]}.new`);
    Deno.writeTextFileSync(next, this.text(key, version));
    this.#versions.set(key, version);
    this.timelines.file(key, { version });
    Deno.renameSync(next, this.path(FILES[key]));
  }

  /** Writes a file in place, in two parts with some time between. */
  rewrite(key: FileKey, version: number, firstPart: number): void {
    const text = this.text(key, version);
    this.timelines.file(key, "bad");
    Deno.writeTextFileSync(this.path(FILES[key]), text.slice(0, firstPart));
    this.#later(key, "rest of it written", BROKEN_TICKS, () => {
      this.#versions.set(key, version);
      this.timelines.file(key, { version });
      // Its present path: the directory may have been replaced.
      Deno.writeTextFileSync(this.path(FILES[key]), text.slice(firstPart), { append: true });
    });
  }

  /** Deletes a file for some time; then it has other content. */
  take(key: FileKey): void {
    this.remove(key);
    this.#later(key, "deleted file written anew", GONE_TICKS, () => this.put(key, this.another(key)));
  }

  remove(key: FileKey): void {
    this.timelines.file(key, "gone");
    Deno.removeSync(this.path(FILES[key]));
  }

  #later(
    key: FileKey,
    kind: string,
    { least, most }: typeof GONE_TICKS | typeof BROKEN_TICKS,
    end: () => void,
  ) {
    const due = this.#tick + least + this.random.below(most - least);
    this.#pending.set(key, {
      kind,
      due,
      end: () => {
        this.#pending.delete(key);
        end();
      },
    });
  }

  async awayAndBack(key: FileKey): Promise<void> {
    const away = this.path(`${FILES[key]}.away`);
    this.timelines.file(key, "gone");
    Deno.renameSync(this.path(FILES[key]), away);
    if (!NETWORKS[key].isSteady) await delay(20 + this.random.below(40));
    this.timelines.file(key, { version: this.version(key) });
    Deno.renameSync(away, this.path(FILES[key]));
  }

  /** Adds or removes it. */
  toggle(name: string, text: string): void {
    if (isThere(this.path(name))) Deno.removeSync(this.path(name), { recursive: true });
    else if (text === "") Deno.mkdirSync(this.path(name));
    else Deno.writeTextFileSync(this.path(name), text);
  }

  toggleSecond(key: "blue" | "green"): void {
    const name = `60-${key}.conflist`;
    this.timelines.second(key, !isThere(this.path(name)));
    const next = this.path(`${name}.new`);
    if (isThere(this.path(name))) return Deno.removeSync(this.path(name));
    Deno.writeTextFileSync(next, this.text(key, SECOND));
    Deno.renameSync(next, this.path(name));
  }

  async toggleFolder(key: "main" | "blue" | "green"): Promise<void> {
    const folder = this.path(nameOf(key, this.places));
    if (isThere(folder)) {
      this.timelines.folder(key, "none");
      return Deno.removeSync(folder, { recursive: true });
    }
    Deno.mkdirSync(folder);
    const text = folderText(key);
    using file = Deno.openSync(`${folder}/10-marker.conf`, { write: true, createNew: true });
    this.timelines.folder(key, "bad");
    file.writeSync(new TextEncoder().encode(text.slice(0, text.length / 2)));
    await delay(20 + this.random.below(40));
    this.timelines.folder(key, "marker");
    file.writeSync(new TextEncoder().encode(text.slice(text.length / 2)));
  }

  /** Replaces this directory by another one with the same content. */
  replace(): void {
    const [next, old] = [`${this.dir}.next`, `${this.dir}.old`];
    copyTree(this.dir, next);
    this.timelines.gone();
    Deno.renameSync(this.dir, old);
    Deno.renameSync(next, this.dir);
    this.timelines.back();
    Deno.removeSync(old, { recursive: true });
  }

  async #go(): Promise<void> {
    for (let due = performance.now(); !this.#stop.signal.aborted;) {
      this.#tick++;
      const pending = this.#nextDue();
      const kind = pending?.kind ?? this.#draw();
      if (pending === undefined) await OPERATIONS[kind]?.(this);
      else pending.end();
      this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
      due = Math.max(due + TICK_MS, performance.now());
      await delay(due - performance.now());
    }
  }

  #nextDue(): Pending | undefined {
    const [first] = [...this.#pending.values()].sort((a, b) => a.due - b.due);
    return first && (first.due <= this.#tick || this.#pending.size >= MOST_PENDING) ? first : undefined;
  }

  /** Every kind once before one comes again. */
  #draw(): string {
    if (this.#deck.length === 0) this.#deck = shuffled(Object.keys(OPERATIONS), this.random);
    const [kind = "", ...rest] = this.#deck;
    this.#deck = rest;
    return kind;
  }
}

const OPERATIONS: Readonly<Record<string, Operation>> = {
  "first half written": (churn) => {
    const key = churn.mainOrAny();
    const version = churn.another(key);
    return churn.rewrite(key, version, churn.text(key, version).length / 2);
  },
  "emptied": (churn) => {
    const key = churn.mainOrAny();
    return churn.rewrite(key, churn.another(key), 0);
  },
  "renamed over, equal": (churn) => {
    const key = churn.anyFile();
    churn.put(key, churn.version(key));
  },
  "renamed over, another subnet": (churn) => {
    const key = churn.anyFile((key) => key !== "fixed");
    churn.put(key, churn.another(key));
  },
  "renamed away and back": (churn) => churn.awayAndBack(churn.anyFile()),
  "deleted and written at once": (churn) => {
    const key = churn.anyFile();
    churn.remove(key);
    churn.put(key, churn.version(key));
  },
  "deleted": (churn) => churn.take(churn.anyFile((key) => !NETWORKS[key].isSteady)),
  "decoy that sorts first": (churn) => churn.toggle(DECOY, churn.text("decoy", 0)),
  "second file of a name": (churn) => churn.toggleSecond(churn.random.one(["blue", "green"])),
  "plugin folder": (churn) => churn.toggleFolder(churn.random.one(["main", "blue", "green"])),
  "garbage": (churn) => {
    const name = churn.random.one(GARBAGE);
    churn.toggle(name, name.includes("dir") ? "" : churn.text("decoy", 0).slice(0, 40));
  },
  "directory replaced": (churn) => churn.replace(),
};

/** All kinds of operations. */
export const OPERATION_KINDS: readonly string[] = [
  ...Object.keys(OPERATIONS),
  "rest of it written",
  "deleted file written anew",
];

function shuffled(kinds: readonly string[], random: Random): string[] {
  const deck = [...kinds];
  for (let at = deck.length - 1; at > 0; at--) {
    const other = random.below(at + 1);
    [deck[at], deck[other]] = [deck[other] ?? "", deck[at] ?? ""];
  }
  return deck;
}

function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function copyTree(from: string, to: string): void {
  Deno.mkdirSync(to);
  for (const { name, isDirectory } of Deno.readDirSync(from)) {
    if (isDirectory) copyTree(`${from}/${name}`, `${to}/${name}`);
    else Deno.copyFileSync(`${from}/${name}`, `${to}/${name}`);
  }
}
