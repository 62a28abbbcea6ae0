import type { Random } from "../cni/random.ts";
import { type FileOperation, isDataOperation, isNameOperation } from "./file_operation.ts";
import type { FileTree, TreeEntry } from "./file_tree.ts";
import { FileVariants } from "./file_variants.ts";
import { FileWrites } from "./file_writes.ts";
import { PowerLoss } from "./power_loss.ts";
import { type Inode, Volume } from "./volume.ts";

/** A change in the journal. */
interface Change {
  /** The place among all operations. */
  readonly at: number;
  /** The number of changes of names up to it. */
  readonly names: number;
}

/**
 * What a program did to the files below a directory, and what a loss of power may leave of it at each moment, with ext4 and
 * with XFS:
 *
 * - All changes of names go through one journal, and a beginning of them is on the disk. So does each change of the length of
 *   a file: what was appended is there only with all changes of names before it.
 * - A sync makes sure of the bytes of a file, and of the journal up to the last change of that file or directory.
 * - The bytes that were not synced are there or not, as {@linkcode FileVariants} says.
 */
export class FileHistory {
  readonly operations: readonly FileOperation[];
  /** The names after so many changes of names. */
  readonly #names: (readonly (readonly [string, number, Inode])[])[] = [];
  /** For each moment, how many changes of names were begun, and how many are surely on the disk. */
  readonly #counts = [{ begun: 0, forced: 0 }];
  readonly #files = new Map<number, FileWrites>();
  readonly #variants = new Map<string, FileVariants>();
  readonly #random: Random;

  /** All of `base` was on the disk. */
  constructor(base: FileTree, operations: readonly FileOperation[], random: Random) {
    this.operations = operations;
    this.#random = random;
    const { volume, bytes } = Volume.of(base);
    for (const [inode, content] of bytes) this.#files.set(inode, new FileWrites(content));
    this.#names.push(volume.entries());
    const changes = new Map<number, Change[]>();
    for (const [at, operation] of operations.entries()) {
      const touched = this.#add(operation, at, volume);
      const names = this.#names.length - 1;
      for (const inode of touched) changes.set(inode, [...changes.get(inode) ?? [], { at, names }]);
      const isSure = (change: Change) => operation.kind === "sync" && change.at < operation.from;
      const sure = operation.kind === "sync"
        ? changes.get(operation.inode)?.findLast(isSure)?.names
        : undefined;
      this.#counts.push({ begun: names, forced: Math.max(this.#counts.at(-1)!.forced, sure ?? 0) });
    }
  }

  /** Returns the numbers of all that the journal has to write for the operation. */
  #add(operation: FileOperation, at: number, volume: Volume): readonly number[] {
    if (isNameOperation(operation)) {
      const touched = volume.apply(operation);
      this.#names.push(volume.entries());
      return touched;
    }
    const { inode } = operation;
    const file = this.#fileOf(inode);
    this.#files.set(inode, file);
    if (isDataOperation(operation)) {
      return file.write({ at, names: this.#names.length - 1, operation }) ? [inode] : [];
    }
    file.sync(at, operation.from);
    return [];
  }

  /** Returns what is there at the end, without a loss of power. */
  final(): FileTree {
    return this.#tree(this.#names.length - 1, (inode) => this.#fileOf(inode).final());
  }

  /** Returns all moments of a loss of power, each with each number of changes of names that the disk may have. */
  moments(): PowerLoss[] {
    return this.#counts.flatMap(({ begun, forced }, moment) =>
      Array.from({ length: begun - forced + 1 }, (_, more) => this.#loss(moment, forced + more))
    );
  }

  #loss(moment: number, changes: number): PowerLoss {
    return new PowerLoss(moment, changes, {
      variantsOf: (inode) => this.#variantsOf(inode, moment, changes),
      inodes: () =>
        (this.#names[changes] ?? []).filter(([, , { kind }]) => kind === "file").map(([, inode]) => inode),
      tree: (bytesOf) => this.#tree(changes, bytesOf),
    });
  }

  #fileOf(inode: number): FileWrites {
    return this.#files.get(inode) ?? new FileWrites();
  }

  #variantsOf(inode: number, moment: number, changes: number): FileVariants {
    const file = this.#fileOf(inode);
    const { synced, begun } = file.counts(moment);
    const operations = file.between(synced, begun, changes);
    const lengths = operations.map((each) => each.kind === "write" ? each.bytes.length : each.size);
    const key = `${inode} ${synced} ${begun} ${lengths.join()}`;
    const known = this.#variants.get(key);
    if (known !== undefined) return known;
    const variants = new FileVariants(file.after(synced), operations, this.#random);
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
