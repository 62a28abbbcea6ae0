import fs from "node:fs";
import type { FileOperation, NameOperation } from "./file_operation.ts";
import { type FileTree, readTree } from "./file_tree.ts";
import { Volume } from "./volume.ts";

// deno-lint-ignore no-explicit-any
type AnyFunction = (...args: any[]) => any;
type Functions = Record<string, AnyFunction>;

/** Functions of Deno, without `Sync`, that change files in a way that is not recorded. */
const REFUSED = ["chown", "copyFile", "create", "makeTempDir", "makeTempFile", "truncate"];
/** The same of `node:fs`. */
const REFUSED_NODE = [
  "appendFile",
  "copyFile",
  "cp",
  "createWriteStream",
  "link",
  "mkdir",
  "mkdtemp",
  "rename",
  "rm",
  "rmdir",
  "symlink",
  "truncate",
  "unlink",
  "writeFile",
];
const FOR_WRITING = fs.constants.O_WRONLY | fs.constants.O_RDWR | fs.constants.O_CREAT;

/**
 * Records what this process does to the files below a directory through Deno, until disposed. Each operation but a sync is
 * done without a thread, so that the recorded order is the one of the kernel.
 *
 * An operation that it does not know is refused.
 */
export class FileRecorder implements Disposable {
  /** What was there before. */
  readonly base: FileTree;
  readonly operations: FileOperation[] = [];
  readonly #root: string;
  readonly #volume: Volume;
  readonly #files = new WeakMap<object, { readonly inode: number; readonly append: boolean }>();
  readonly #before: (() => void)[] = [];

  constructor(root: string) {
    this.#root = root;
    this.base = readTree(root);
    this.#volume = Volume.of(this.base).volume;
    this.#patchNames();
    this.#patchFiles();
    this.#refuse(Deno as unknown as Functions, REFUSED);
    this.#refuse(fs as unknown as Functions, REFUSED_NODE);
    this.#patchNodeOpen();
  }

  [Symbol.dispose](): void {
    for (const restore of this.#before.toReversed()) restore();
  }

  /** Returns the path below the directory; undefined for another one. */
  #below(path: unknown): string | undefined {
    const text = path instanceof URL ? path.pathname : path;
    return typeof text === "string" && text.startsWith(`${this.#root}/`)
      ? text.slice(this.#root.length + 1)
      : undefined;
  }

  #add(operation: NameOperation): void {
    this.#volume.apply(operation);
    this.operations.push(operation);
  }

  #modeOf(path: string): number {
    return (Deno.lstatSync(`${this.#root}/${path}`).mode ?? 0) & 0o7777;
  }

  #replace(owner: Functions, name: string, make: (before: AnyFunction) => AnyFunction): void {
    const before = owner[name];
    if (before === undefined) return;
    owner[name] = make(before);
    this.#before.push(() => owner[name] = before);
  }

  /** Replaces a function of Deno and the one that waits for it, for paths below the directory. */
  #patch(name: string, at: number, record: (path: string, ...args: unknown[]) => unknown): void {
    const isOwn = (args: unknown[]) => this.#below(args[at]);
    const deno = Deno as unknown as Functions;
    this.#replace(deno, `${name}Sync`, (before) => (...args) => {
      const path = isOwn(args);
      return path === undefined ? before(...args) : record(path, ...args);
    });
    this.#replace(deno, name, (before) => async (...args) => {
      const path = isOwn(args);
      return path === undefined ? await before(...args) : record(path, ...args);
    });
  }

  #patchNames(): void {
    const { renameSync, linkSync, symlinkSync, removeSync, mkdirSync, chmodSync } = Deno;
    this.#patch("rename", 0, (path, from, to) => {
      renameSync(from as string, to as string);
      this.#add({ kind: "rename", path, to: this.#below(to) ?? "" });
    });
    this.#patch("link", 0, (path, from, to) => {
      linkSync(from as string, to as string);
      this.#add({ kind: "link", path, to: this.#below(to) ?? "" });
    });
    this.#patch("symlink", 1, (path, target, place) => {
      symlinkSync(target as string, place as string);
      this.#add({ kind: "symlink", path, target: String(target) });
    });
    this.#patch("remove", 0, (path, place, options) => {
      if ((options as Deno.RemoveOptions | undefined)?.recursive) throw this.#unknown("remove all of", path);
      removeSync(place as string);
      this.#add({ kind: "remove", path });
    });
    this.#patch("mkdir", 0, (path, place, options) => {
      const missing = [path];
      if ((options as Deno.MkdirOptions | undefined)?.recursive) {
        const parts = path.split("/");
        missing.splice(0, 1, ...parts.map((_, index) => parts.slice(0, index + 1).join("/")));
      }
      const made = missing.filter((each) => this.#volume.find(each) === undefined);
      mkdirSync(place as string, options as Deno.MkdirOptions);
      for (const each of made) this.#add({ kind: "mkdir", path: each, mode: this.#modeOf(each) });
    });
    this.#patch("chmod", 0, (path, place, mode) => {
      chmodSync(place as string, mode as number);
      this.#add({ kind: "chmod", path, mode: this.#modeOf(path) });
    });
  }

  #patchFiles(): void {
    const { openSync } = Deno;
    const open = (path: string, place: unknown, options: Deno.OpenOptions = {}) => {
      const isNew = this.#volume.find(path) === undefined;
      const file = openSync(place as string, options);
      if (isNew) this.#add({ kind: "create", path, mode: this.#modeOf(path) });
      const inode = this.#volume.find(path)!;
      if (!isNew && options.truncate) this.operations.push({ kind: "truncate", inode, size: 0 });
      this.#files.set(file, { inode, append: options.append === true });
      return file;
    };
    this.#patch("open", 0, (path, place, options) => open(path, place, options as Deno.OpenOptions));
    const writeAll = (path: string, place: unknown, data: unknown, options: Deno.WriteFileOptions = {}) => {
      if (typeof data !== "string" && !(data instanceof Uint8Array)) throw this.#unknown("stream into", path);
      const { append = false, create = true, createNew = false, mode } = options;
      const more = mode === undefined ? {} : { mode };
      using file = open(path, place, { write: true, append, create, createNew, truncate: !append, ...more });
      const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
      for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
    };
    const write = (path: string, place: unknown, data: unknown, options: unknown) =>
      writeAll(path, place, data, options as Deno.WriteFileOptions);
    this.#patch("writeFile", 0, write);
    this.#patch("writeTextFile", 0, write);
    this.#patchHandles();
  }

  /** Replaces what open files can do. */
  #patchHandles(): void {
    const handles = Deno.FsFile.prototype as unknown as Functions;
    const { writeSync, seekSync, truncateSync } = Deno.FsFile.prototype;
    // deno-lint-ignore no-this-alias
    const recorder = this;
    const write = (file: Deno.FsFile, inode: number, append: boolean, bytes: Uint8Array) => {
      const at = append ? file.statSync().size : seekSync.call(file, 0, Deno.SeekMode.Current);
      const length = writeSync.call(file, bytes);
      this.operations.push({ kind: "write", inode, at, bytes: bytes.slice(0, length) });
      return length;
    };
    const truncate = (file: Deno.FsFile, inode: number, size = 0) => {
      truncateSync.call(file, size);
      this.operations.push({ kind: "truncate", inode, size });
    };
    const wrap = (
      name: string,
      act: (file: Deno.FsFile, inode: number, append: boolean, arg: never) => unknown,
    ) => {
      this.#replace(handles, `${name}Sync`, (before) =>
        function (this: Deno.FsFile, arg: never) {
          const own = recorder.#files.get(this);
          return own === undefined ? before.call(this, arg) : act(this, own.inode, own.append, arg);
        });
      this.#replace(handles, name, (before) =>
        async function (this: Deno.FsFile, arg: never) {
          const own = recorder.#files.get(this);
          return own === undefined ? await before.call(this, arg) : act(this, own.inode, own.append, arg);
        });
    };
    wrap("write", (file, inode, append, bytes: never) => write(file, inode, append, bytes as Uint8Array));
    wrap(
      "truncate",
      (file, inode, _append, size: never) => truncate(file, inode, size as number | undefined),
    );
    for (const name of ["sync", "syncData"]) this.#patchSync(handles, name);
  }

  /** A sync still takes a thread: others work meanwhile. */
  #patchSync(handles: Functions, name: string): void {
    // deno-lint-ignore no-this-alias
    const recorder = this;
    const begin = (file: Deno.FsFile) => {
      const own = recorder.#files.get(file);
      const from = recorder.operations.length;
      return () => void (own && recorder.operations.push({ kind: "sync", inode: own.inode, from }));
    };
    this.#replace(handles, `${name}Sync`, (before) =>
      function (this: Deno.FsFile) {
        const end = begin(this);
        before.call(this);
        end();
      });
    this.#replace(handles, name, (before) =>
      async function (this: Deno.FsFile) {
        const end = begin(this);
        await before.call(this);
        end();
      });
  }

  #refuse(owner: Functions, names: readonly string[]): void {
    for (const name of names.flatMap((name) => [name, `${name}Sync`])) {
      this.#replace(owner, name, (before) => (...args) => {
        const path = args.map((arg) => this.#below(arg)).find((found) => found !== undefined);
        if (path !== undefined) throw this.#unknown(name, path);
        return before(...args);
      });
    }
  }

  #patchNodeOpen(): void {
    for (const name of ["open", "openSync"]) {
      this.#replace(fs as unknown as Functions, name, (before) => (place, flags, ...more) => {
        const path = this.#below(place);
        const isRead = flags === undefined || flags === "r" ||
          (typeof flags === "number" && (flags & FOR_WRITING) === 0);
        if (path !== undefined && !isRead) throw this.#unknown(name, path);
        return before(place, flags, ...more);
      });
    }
  }

  #unknown(what: string, path: string): Error {
    return new Error(`Cannot record a call to ${what} ${path}: the recorder does not know it`);
  }
}
