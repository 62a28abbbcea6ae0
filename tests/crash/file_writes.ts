import type { DataOperation } from "./file_operation.ts";
import { applyData } from "./file_variants.ts";

interface FileWrite {
  /** The place among all operations. */
  readonly at: number;
  /** The number of changes of names before it. */
  readonly names: number;
  readonly operation: DataOperation;
}

/** What was written to one file, and what of it is on the disk at a moment. */
export class FileWrites {
  readonly #before: Uint8Array;
  readonly #writes: FileWrite[] = [];
  readonly #syncs: { readonly at: number; readonly from: number }[] = [];
  #length: number;

  constructor(before: Uint8Array = new Uint8Array()) {
    this.#before = before;
    this.#length = before.length;
  }

  /** Adds an operation. Returns whether it changes the length of the file. */
  write(write: FileWrite): boolean {
    this.#writes.push(write);
    const before = this.#length;
    this.#length = lengthAfter(before, write.operation);
    return this.#length !== before;
  }

  /** Adds a sync that is sure of the operations before `from`, and ended at the place `at`. */
  sync(at: number, from: number): void {
    this.#syncs.push({ at, from });
  }

  /** Returns the bytes after all operations. */
  final(): Uint8Array {
    return this.#writes.reduce((bytes, { operation }) => applyData(bytes, operation), this.#before);
  }

  /** Returns how many operations are sure to be on the disk at a moment, and how many may be. */
  counts(moment: number): { readonly synced: number; readonly begun: number } {
    const sure = Math.max(0, ...this.#syncs.filter(({ at }) => at < moment).map(({ from }) => from));
    const countBefore = (place: number) => this.#writes.filter(({ at }) => at < place).length;
    return { synced: countBefore(sure), begun: countBefore(moment) };
  }

  /** Returns the bytes after that many operations. */
  after(count: number): Uint8Array {
    return this.#writes.slice(0, count)
      .reduce((bytes, { operation }) => applyData(bytes, operation), this.#before);
  }

  /** Returns the operations between, without what changes the length after more than `names` changes of names. */
  between(synced: number, begun: number, names: number): readonly DataOperation[] {
    let { length } = this.after(synced);
    return this.#writes.slice(synced, begun).flatMap(({ names: needed, operation }) => {
      if (needed <= names) {
        length = lengthAfter(length, operation);
        return [operation];
      }
      if (operation.kind === "truncate" || operation.at >= length) return [];
      return [{ ...operation, bytes: operation.bytes.subarray(0, length - operation.at) }];
    });
  }
}

function lengthAfter(length: number, operation: DataOperation): number {
  if (operation.kind === "truncate") return operation.size;
  return Math.max(length, operation.at + operation.bytes.length);
}
