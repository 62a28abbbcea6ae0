import type { Random } from "../cni/random.ts";
import type { DataOperation } from "./file_operation.ts";

/** A disk writes so many bytes whole or not at all. */
const SECTOR = 512;
/** If no more bytes can be missing, each number of them is tried. */
const FEW_BYTES = 12;
/** How many lengths of a file are tried that have no reason. */
const ODD_LENGTHS = 6;

/** The blocks of a file are written independently of each other, and one that was not is zero. */
const BLOCK = 4096;

/** The end of a file that is so long on the disk, and zero between two places. */
interface Cut {
  readonly tail: Uint8Array;
  readonly size: number;
  readonly from: number;
  readonly to: number;
}

/** Returns the bytes after an operation. */
export function applyData(bytes: Uint8Array, operation: DataOperation): Uint8Array {
  if (operation.kind === "truncate") {
    const shorter = new Uint8Array(operation.size);
    shorter.set(bytes.subarray(0, operation.size));
    return shorter;
  }
  const { at, bytes: written } = operation;
  const longer = new Uint8Array(Math.max(bytes.length, at + written.length));
  longer.set(bytes);
  longer.set(written, at);
  return longer;
}

/**
 * What a loss of power may leave of the bytes of a file after operations that were not synced:
 *
 * - each sector that was there before is the old one or a newer one;
 * - of what was appended, a beginning is there, and the end of that, or one block of it, may be zeros.
 *
 * All of it if few bytes were appended, else the ends of the writes, those of sectors, and lengths by chance.
 */
export class FileVariants {
  readonly #base: Uint8Array;
  /** The contents of the sectors that were written again. */
  readonly #sectors: readonly { readonly at: number; readonly contents: readonly Uint8Array[] }[];
  readonly #cuts: readonly Cut[];

  constructor(synced: Uint8Array, operations: readonly DataOperation[], random: Random) {
    const times = [synced];
    for (const operation of operations) times.push(applyData(times.at(-1)!, operation));
    const sure = Math.min(...times.map(({ length }) => length));
    this.#base = synced.subarray(0, sure);
    this.#sectors = sectorsOf(times.map((bytes) => bytes.subarray(0, sure)));
    const ends = times.map(({ length }) => length);
    this.#cuts = tailsOf(times.map((bytes) => bytes.subarray(sure)))
      .flatMap((tail) => cutsOf(tail, ends.map((end) => end - sure), { sure, random }));
  }

  /** How many there are, at least one. */
  get count(): number {
    return this.#sectors.reduce((product, { contents }) => product * contents.length, this.#cuts.length);
  }

  /** Returns one by chance. All, nothing, and all but a block are more likely than any in between. */
  pick(random: Random): Uint8Array {
    const { count } = this;
    const kind = random.below(10);
    if (kind < 3) return this.at(count - 1);
    if (kind < 5) return this.at(0);
    const index = random.below(count);
    const holes = kind < 7 ? this.#holes : 0;
    return this.at(holes === 0 ? index : index - index % this.#cuts.length + 1 + random.below(holes));
  }

  /** How many cuts have a block of zeros before the end. They follow the first one. */
  get #holes(): number {
    return this.#cuts.filter(({ size, to }) => to < size).length;
  }

  /** Returns one of them; the first is the oldest, the last the newest. */
  at(index: number): Uint8Array {
    const { tail, size, from, to } = this.#cuts[index % this.#cuts.length]!;
    let rest = Math.floor(index / this.#cuts.length);
    const bytes = new Uint8Array(this.#base.length + size);
    bytes.set(this.#base);
    for (const { at, contents } of this.#sectors) {
      bytes.set(contents[rest % contents.length]!, at);
      rest = Math.floor(rest / contents.length);
    }
    bytes.set(tail.subarray(0, size), this.#base.length);
    bytes.fill(0, this.#base.length + from, this.#base.length + to);
    return bytes;
  }
}

/** Returns the sectors that were not always the same. */
function sectorsOf(times: readonly Uint8Array[]) {
  const sectors: { readonly at: number; readonly contents: readonly Uint8Array[] }[] = [];
  const length = times[0]?.length ?? 0;
  for (let at = 0; at < length; at += SECTOR) {
    const contents: Uint8Array[] = [];
    for (const time of times) {
      const sector = time.subarray(at, at + SECTOR);
      if (!contents.some((other) => startsWith(other, sector))) contents.push(sector);
    }
    if (contents.length > 1) sectors.push({ at, contents });
  }
  return sectors;
}

/** Returns the ends without those that are the beginning of another one. */
function tailsOf(tails: readonly Uint8Array[]): readonly Uint8Array[] {
  return tails.filter((tail, index) =>
    !tails.some((other, at) => startsWith(other, tail) && (other.length > tail.length || at > index))
  );
}

function cutsOf(
  tail: Uint8Array,
  ends: readonly number[],
  { sure, random }: { readonly sure: number; readonly random: Random },
): readonly Cut[] {
  const points = new Set<number>([0, tail.length]);
  if (tail.length <= FEW_BYTES) { for (let at = 0; at < tail.length; at++) points.add(at); }
  else {
    for (const end of ends) for (const at of [end - 1, end, end + 1]) points.add(at);
    for (let at = SECTOR - sure % SECTOR; at < tail.length; at += SECTOR) points.add(at);
    for (let count = 0; count < ODD_LENGTHS; count++) points.add(random.below(tail.length));
  }
  const sizes = [...points].filter((at) => at >= 0 && at <= tail.length).sort((a, b) => a - b);
  const cuts = sizes.flatMap((size) =>
    sizes.filter((from) => from <= size).map((from): Cut => ({ tail, size, from, to: size }))
  );
  const holes: Cut[] = [];
  for (let from = 0; from < tail.length; from += BLOCK - (from + sure) % BLOCK) {
    const to = from + BLOCK - (from + sure) % BLOCK;
    if (to < tail.length) holes.push({ tail, size: tail.length, from, to });
  }
  // The newest one is the last.
  return [...cuts.slice(0, 1), ...holes, ...cuts.slice(1)];
}

function startsWith(bytes: Uint8Array, beginning: Uint8Array): boolean {
  return bytes.length >= beginning.length && beginning.every((byte, at) => bytes[at] === byte);
}
