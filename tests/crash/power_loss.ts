import type { Random } from "../cni/random.ts";
import type { FileTree } from "./file_tree.ts";
import type { FileVariants } from "./file_variants.ts";

/** What a {@linkcode PowerLoss} has from its history. */
export interface LossContext {
  readonly variantsOf: (inode: number) => FileVariants;
  /** Returns the numbers of the files that have names. */
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

  /** Returns all states if there are at most `limit`, else so many by chance, the oldest and the newest first. */
  *states(limit: number, random: Random): Generator<FileTree> {
    const { inodes, variantsOf, tree } = this.#context;
    const files = [...new Set(inodes())].map((inode) => ({ inode, variants: variantsOf(inode) }))
      .filter(({ variants }) => variants.count > 1);
    const all = files.reduce((product, { variants }) => product * variants.count, 1);
    const state = (choose: (variants: FileVariants) => Uint8Array) => {
      const chosen = new Map(files.map(({ inode, variants }) => [inode, choose(variants)]));
      return tree((inode) => chosen.get(inode) ?? variantsOf(inode).at(0));
    };
    if (all <= limit) {
      for (let number = 0; number < all; number++) {
        let rest = number;
        yield state((variants) => {
          const index = rest % variants.count;
          rest = Math.floor(rest / variants.count);
          return variants.at(index);
        });
      }
      return;
    }
    yield state((variants) => variants.at(0));
    yield state((variants) => variants.at(variants.count - 1));
    for (let number = 2; number < limit; number++) yield state((variants) => variants.pick(random));
  }
}
