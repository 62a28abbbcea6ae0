import type { NameOperation } from "./file_operation.ts";
import type { FileTree } from "./file_tree.ts";

/** What a number of a {@linkcode Volume} stands for. */
export type Inode =
  | { readonly kind: "dir"; readonly mode: number; readonly names: Map<string, number> }
  | { readonly kind: "file"; readonly mode: number }
  | { readonly kind: "symlink"; readonly target: string };

/** The number of the directory that has all others. */
const ROOT = 0;

/**
 * The names of a file system, without the bytes of its files. Numbers are given in the order of creation, so that the same
 * operations give the same numbers, and fewer of them the first of these.
 */
export class Volume {
  readonly #inodes = new Map<number, Inode>([[ROOT, { kind: "dir", mode: 0o755, names: new Map() }]]);
  #next = ROOT + 1;

  /** Returns a volume with that tree, and the bytes of its files by their numbers. */
  static of(tree: FileTree): { readonly volume: Volume; readonly bytes: ReadonlyMap<number, Uint8Array> } {
    const volume = new Volume();
    const bytes = new Map<number, Uint8Array>();
    const numbers = new Map<number, number>();
    for (const [path, entry] of tree) {
      const known = entry.kind === "file" ? numbers.get(entry.inode) : undefined;
      if (known !== undefined) {
        volume.#put(path, known);
        continue;
      }
      const inode = volume.#add(path, entry.kind === "dir" ? { ...entry, names: new Map() } : entry);
      if (entry.kind !== "file") continue;
      numbers.set(entry.inode, inode);
      bytes.set(inode, entry.bytes);
    }
    return { volume, bytes };
  }

  /** Returns the number of what is at a path; undefined if nothing is. */
  find(path: string): number | undefined {
    let found = ROOT;
    for (const name of path === "" ? [] : path.split("/")) {
      const dir = this.#inodes.get(found);
      const next = dir?.kind === "dir" ? dir.names.get(name) : undefined;
      if (next === undefined) return undefined;
      found = next;
    }
    return found;
  }

  /** Changes names. Returns the numbers of all that the journal has to write for it. */
  apply(operation: NameOperation): readonly number[] {
    const { kind, path } = operation;
    const parent = this.#parent(path).inode;
    switch (kind) {
      case "mkdir":
        return [parent, this.#add(path, { kind: "dir", mode: operation.mode, names: new Map() })];
      case "create":
        return [parent, this.#add(path, { kind: "file", mode: operation.mode })];
      case "symlink":
        return [parent, this.#add(path, { kind, target: operation.target })];
      case "remove":
        return [parent, this.#take(path)];
      case "link": {
        const inode = this.#at(path);
        return [inode, this.#put(operation.to, inode)];
      }
      case "rename": {
        const replaced = this.find(operation.to);
        const inode = this.#take(path);
        const touched = [parent, inode, this.#put(operation.to, inode)];
        return replaced === undefined ? touched : [...touched, replaced];
      }
      case "chmod": {
        const inode = this.#at(path);
        const found = this.#inodes.get(inode);
        if (found === undefined || found.kind === "symlink") throw new Error(`Cannot change ${path}`);
        this.#inodes.set(inode, { ...found, mode: operation.mode });
        return [inode];
      }
    }
  }

  /** Returns all paths, each with its number and what it stands for; each directory precedes what is in it. */
  entries(): readonly (readonly [string, number, Inode])[] {
    const found: (readonly [string, number, Inode])[] = [];
    const visit = (below: string, dir: Inode) => {
      if (dir.kind !== "dir") return;
      for (const [name, inode] of dir.names) {
        const entry = this.#inodes.get(inode);
        if (entry === undefined) continue;
        const path = below === "" ? name : `${below}/${name}`;
        found.push([path, inode, entry]);
        visit(path, entry);
      }
    };
    visit("", this.#inodes.get(ROOT)!);
    return found;
  }

  #at(path: string): number {
    const inode = this.find(path);
    if (inode === undefined) throw new Error(`Cannot find ${path}`);
    return inode;
  }

  #parent(path: string) {
    const slash = path.lastIndexOf("/");
    const inode = this.#at(path.slice(0, Math.max(slash, 0)));
    const dir = this.#inodes.get(inode);
    if (dir?.kind !== "dir") throw new Error(`Cannot find the directory of ${path}`);
    return { inode, names: dir.names, name: path.slice(slash + 1) };
  }

  #add(path: string, inode: Inode): number {
    const number = this.#next++;
    this.#inodes.set(number, inode);
    this.#put(path, number);
    return number;
  }

  /** Returns the number of the directory. */
  #put(path: string, number: number): number {
    const { inode, names, name } = this.#parent(path);
    names.set(name, number);
    return inode;
  }

  /** Returns the number of what had the name. */
  #take(path: string): number {
    const number = this.#at(path);
    const { names, name } = this.#parent(path);
    names.delete(name);
    return number;
  }
}
