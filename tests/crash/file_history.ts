import type { Random } from "../cni/random.ts";
import {
  type DataOperation,
  type FileOperation,
  isDataOperation,
  isNameOperation,
} from "./file_operation.ts";
import type { FileTree, TreeEntry } from "./file_tree.ts";
import { applyData, FileVariants } from "./file_variants.ts";
import { type Inode, Volume } from "./volume.ts";

/** The data operations of a file, with their places among all operations. */
interface FileWrites {
  readonly bytes: Uint8Array;
  readonly writes: readonly { readonly at: number; readonly operation: DataOperation }[];
}

/** What a program did to the files below a directory, and what a loss of power may leave of it at each moment. */
export class FileHistory {
  readonly operations: readonly FileOperation[];
  /** The names after so many changes of names. */
  readonly #names: (readonly (readonly [string, number, Inode])[])[] = [];
  /** For each moment, how many changes of names were begun. */
  readonly #begun: number[] = [0];
  /** For each moment, how many changes of names are surely on the disk. */
  readonly #forced: number[] = [0];
  readonly #files = new Map<
    number,
    { bytes: Uint8Array; writes: { at: number; operation: DataOperation }[] }
  >();
  readonly #variants = new Map<string, FileVariants>();
  readonly #syncs = new Map<number, { readonly at: number; readonly from: number }[]>();
  readonly #random: Random;

  /** All of `base` was on the disk. */
  constructor(base: FileTree, operations: readonly FileOperation[], random: Random) {
    this.operations = operations;
    this.#random = random;
    const { volume, bytes } = Volume.of(base);
    for (const [inode, content] of bytes) this.#files.set(inode, { bytes: content, writes: [] });
    this.#names.push(volume.entries());
    /** The last change of names that each number was in, with its place among all operations. */
    const touched = new Map<number, { readonly at: number; readonly count: number }[]>();
    for (const [at, operation] of operations.entries()) {
      let forced = this.#forced[at] ?? 0;
      if (isNameOperation(operation)) {
        const count = this.#names.length;
        for (const inode of volume.apply(operation)) {
          touched.set(inode, [...touched.get(inode) ?? [], { at, count }]);
        }
        this.#names.push(volume.entries());
      } else if (isDataOperation(operation)) {
        const file = this.#files.get(operation.inode) ?? { bytes: new Uint8Array(), writes: [] };
        file.writes.push({ at, operation });
        this.#files.set(operation.inode, file);
      } else {
        const { inode, from } = operation;
        this.#syncs.set(inode, [...this.#syncs.get(inode) ?? [], { at, from }]);
        forced = Math.max(forced, touched.get(inode)?.findLast((each) => each.at < from)?.count ?? 0);
      }
      this.#begun.push(this.#names.length - 1);
      this.#forced.push(forced);
    }
  }

  /** Returns what is there at the end, without a loss of power. */
  final(): FileTree {
    const moment = this.operations.length;
    return this.#tree(this.#names.length - 1, (inode) => {
      const { bytes, writes } = this.#writesOf(inode);
      return writes.filter(({ at }) => at < moment).reduce(
        (all, { operation }) => applyData(all, operation),
        bytes,
      );
    });
  }

  /** Returns all moments of a loss of power, each with each number of changes of names that the disk may have. */
  moments(): PowerLoss[] {
    return this.#begun.flatMap((begun, moment) => {
      const forced = this.#forced[moment] ?? 0;
      return Array.from({ length: begun - forced + 1 }, (_, more) => this.#loss(moment, forced + more));
    });
  }

  #loss(moment: number, changes: number): PowerLoss {
    return new PowerLoss(moment, changes, {
      variantsOf: (inode) => this.#variantsOf(inode, moment),
      inodes: () =>
        (this.#names[changes] ?? []).filter(([, , { kind }]) => kind === "file").map(([, inode]) => inode),
      tree: (bytesOf) => this.#tree(changes, bytesOf),
    });
  }

  #writesOf(inode: number): FileWrites {
    return this.#files.get(inode) ?? { bytes: new Uint8Array(), writes: [] };
  }

  #variantsOf(inode: number, moment: number): FileVariants {
    const { bytes, writes } = this.#writesOf(inode);
    const done = (this.#syncs.get(inode) ?? []).filter(({ at }) => at < moment).map(({ from }) => from);
    const sure = Math.max(0, ...done);
    const pending = writes.filter(({ at }) => at >= sure && at < moment);
    const synced = writes.filter(({ at }) => at < sure);
    const key = `${inode} ${synced.length} ${pending.length}`;
    const known = this.#variants.get(key);
    if (known !== undefined) return known;
    const before = synced.reduce((all, { operation }) => applyData(all, operation), bytes);
    const variants = new FileVariants(before, pending.map(({ operation }) => operation), this.#random);
    this.#variants.set(key, variants);
    return variants;
  }

  #tree(changes: number, bytesOf: (inode: number) => Uint8Array): FileTree {
    const contents = new Map<number, Uint8Array>();
    return new Map((this.#names[changes] ?? []).map(([path, inode, entry]): [string, TreeEntry] => {
      if (entry.kind === "dir") return [path, { kind: "dir", mode: entry.mode }];
      if (entry.kind === "symlink") return [path, entry];
      const bytes = contents.get(inode) ?? bytesOf(inode);
      contents.set(inode, bytes);
      return [path, { kind: "file", mode: entry.mode, bytes, inode }];
    }));
  }
}

/** What a {@linkcode PowerLoss} has from its history. */
interface LossContext {
  readonly variantsOf: (inode: number) => FileVariants;
  readonly inodes: () => readonly number[];
  readonly tree: (bytesOf: (inode: number) => Uint8Array) => FileTree;
}

/** A loss of power at one moment, with one number of changes of names on the disk. The bytes of files still differ. */
export class PowerLoss {
  readonly #context: LossContext;

  /** The moment is the number of operations before it. */
  constructor(readonly moment: number, readonly changes: number, context: LossContext) {
    this.#context = context;
  }

  /** Returns all states if there are at most `limit`, else so many by chance, among them the oldest and the newest. */
  *states(limit: number, random: Random): Generator<FileTree> {
    const inodes = [...new Set(this.#context.inodes())];
    const files = inodes.map((inode) => ({ inode, variants: this.#context.variantsOf(inode) }))
      .filter(({ variants }) => variants.count > 1);
    const all = files.reduce((product, { variants }) => product * variants.count, 1);
    const state = (choose: (count: number) => number) => {
      const chosen = new Map(
        files.map(({ inode, variants }) => [inode, variants.at(choose(variants.count))]),
      );
      return this.#context.tree((inode) => chosen.get(inode) ?? this.#context.variantsOf(inode).at(0));
    };
    if (all <= limit) {
      for (let number = 0; number < all; number++) {
        let rest = number;
        yield state((count) => {
          const index = rest % count;
          rest = Math.floor(rest / count);
          return index;
        });
      }
      return;
    }
    yield state((count) => count - 1);
    yield state(() => 0);
    for (let number = 2; number < limit; number++) {
      // Files whose data the kernel has written, or has not, are more likely than any in between.
      yield state((count) => random.chance(30) ? count - 1 : random.chance(20) ? 0 : random.below(count));
    }
  }
}
