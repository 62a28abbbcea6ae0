import { createHash } from "node:crypto";

/** What is at a path. */
export type TreeEntry =
  | { readonly kind: "dir"; readonly mode: number }
  | { readonly kind: "symlink"; readonly target: string }
  | {
    readonly kind: "file";
    readonly mode: number;
    readonly bytes: Uint8Array;
    /** Names with the same number are links to one file. */
    readonly inode: number;
  };

/** All that is below a directory, by its relative path. Each directory precedes what is in it. */
export type FileTree = ReadonlyMap<string, TreeEntry>;

/** Reads what is below a directory. */
export function readTree(root: string): FileTree {
  const found = new Map<string, TreeEntry>();
  const visit = (below: string) => {
    const entries = [...Deno.readDirSync(`${root}/${below}`)].sort((a, b) => a.name < b.name ? -1 : 1);
    for (const { name } of entries) {
      const path = below === "" ? name : `${below}/${name}`;
      const { isDirectory, isSymlink, mode, ino } = Deno.lstatSync(`${root}/${path}`);
      if (isSymlink) found.set(path, { kind: "symlink", target: Deno.readLinkSync(`${root}/${path}`) });
      else if (isDirectory) found.set(path, { kind: "dir", mode: (mode ?? 0) & 0o7777 });
      else {
        const bytes = Deno.readFileSync(`${root}/${path}`);
        found.set(path, { kind: "file", mode: (mode ?? 0) & 0o7777, bytes, inode: ino ?? 0 });
      }
      if (isDirectory) visit(path);
    }
  };
  visit("");
  return found;
}

/** Makes the directory anew, with exactly that below it. */
export function writeTree(root: string, tree: FileTree): void {
  try {
    Deno.removeSync(root, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  Deno.mkdirSync(root, { mode: 0o755 });
  const names = new Map<number, string>();
  for (const [path, entry] of tree) {
    const place = `${root}/${path}`;
    if (entry.kind === "symlink") {
      Deno.symlinkSync(entry.target, place);
      continue;
    }
    const other = entry.kind === "file" ? names.get(entry.inode) : undefined;
    if (other !== undefined) Deno.linkSync(other, place);
    else if (entry.kind === "dir") Deno.mkdirSync(place);
    else {
      Deno.writeFileSync(place, entry.bytes);
      names.set(entry.inode, place);
    }
    Deno.chmodSync(place, entry.mode);
  }
}

/** Returns a text that is the same for trees with the same content. */
export function digestOf(tree: FileTree): string {
  const hash = createHash("sha256");
  for (const [path, entry] of [...tree].sort(([a], [b]) => a < b ? -1 : 1)) {
    if (entry.kind === "file") {
      hash.update(`${path}\0${entry.mode}\0${entry.bytes.length}\0`).update(entry.bytes);
    } else hash.update(`${path}\0${entry.kind}\0${entry.kind === "dir" ? entry.mode : entry.target}\0`);
  }
  return hash.digest("hex");
}

/** Returns a line for each path, for people. */
export function linesOf(tree: FileTree): string[] {
  return [...tree].map(([path, entry]) => {
    if (entry.kind === "symlink") return `${path} -> ${entry.target}`;
    const mode = entry.mode.toString(8);
    if (entry.kind === "dir") return `${path}/ ${mode}`;
    return `${path} ${mode} ${JSON.stringify(new TextDecoder().decode(entry.bytes))}`;
  }).sort();
}
