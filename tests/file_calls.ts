import fs from "node:fs";
import { type FactsLibrary, factsLibrary, useForFacts } from "../lib/host/file_facts.ts";

/**
 * Counts the system calls of this process through Deno: calls by name, with or without a thread, and how many
 * names the directories had that it read. What the C library is asked for instead, once it is open, counts as the same. Whatever
 * else the process does meanwhile is counted too.
 */
const COUNTED = [
  "chmod",
  "link",
  "lstat",
  "mkdir",
  "open",
  "readDir",
  "readLink",
  "readTextFile",
  "realPath",
  "remove",
  "rename",
  "stat",
] as const;

// deno-lint-ignore no-explicit-any
type Anything = any;

export class FileCalls implements Disposable {
  /** The paths of the files that were opened to be read. */
  readonly opened: string[] = [];
  readonly #calls = new Map<string, number>();
  readonly #before = new Map<string, unknown>();
  readonly #open = fs.open;
  readonly #openSync = fs.openSync;
  readonly #library = factsLibrary();

  constructor() {
    // Code that reads files opens them with these.
    fs.open = ((...args: Anything[]) => {
      this.#count("readTextFile");
      this.opened.push(String(args[0]));
      return Reflect.apply(this.#open, fs, args);
    }) as typeof fs.open;
    fs.openSync = ((...args: Anything[]) => {
      this.#count("readTextFile");
      this.opened.push(String(args[0]));
      return Reflect.apply(this.#openSync, fs, args);
    }) as typeof fs.openSync;
    if (this.#library !== undefined) useForFacts(this.#counted(this.#library));
    const deno = Deno as unknown as Record<string, Anything>;
    for (const name of ["readFile", "readFileSync"]) {
      const before = deno[name];
      this.#before.set(name, before);
      deno[name] = (...args: unknown[]) => {
        this.#count("readTextFile");
        return before(...args);
      };
    }
    for (const name of COUNTED) {
      const [before, beforeSync] = [deno[name], deno[`${name}Sync`]];
      this.#before.set(name, before);
      this.#before.set(`${name}Sync`, beforeSync);
      deno[name] = (...args: unknown[]) => {
        this.#count(name);
        const found = before(...args);
        return name === "readDir" ? this.#entries(found) : found;
      };
      deno[`${name}Sync`] = (...args: unknown[]) => {
        this.#count(name);
        const found = beforeSync(...args);
        return name === "readDir" ? this.#entriesSync(found) : found;
      };
    }
    this.#before.set("Command", Deno.Command);
    deno.Command = new Proxy(Deno.Command, {
      construct: (target, args, self) => {
        this.#count("Command");
        return Reflect.construct(target, args, self);
      },
    });
  }

  /** The counts since the last call. */
  take(): Readonly<Record<string, number>> {
    const calls = Object.fromEntries([...this.#calls].sort());
    this.#calls.clear();
    return calls;
  }

  #counted(library: FactsLibrary): FactsLibrary {
    return {
      errno: () => library.errno(),
      statx: (...args) => {
        this.#count("stat");
        return library.statx(...args);
      },
      open: (...args) => {
        this.#count("readTextFile");
        this.opened.push(args[0]);
        return library.open(...args);
      },
      fstatx: (...args) => library.fstatx(...args),
      read: (...args) => library.read(...args),
      close: (fd) => library.close(fd),
      statfsAway: (...args) => library.statfsAway(...args),
    };
  }

  #count(name: string): void {
    this.#calls.set(name, (this.#calls.get(name) ?? 0) + 1);
  }

  async *#entries(found: AsyncIterable<Deno.DirEntry>): AsyncGenerator<Deno.DirEntry> {
    for await (const entry of found) {
      this.#count("names");
      yield entry;
    }
  }

  *#entriesSync(found: Iterable<Deno.DirEntry>): Generator<Deno.DirEntry> {
    for (const entry of found) {
      this.#count("names");
      yield entry;
    }
  }

  [Symbol.dispose](): void {
    if (this.#library !== undefined) useForFacts(this.#library);
    fs.open = this.#open;
    fs.openSync = this.#openSync;
    for (const [name, before] of this.#before) (Deno as unknown as Record<string, unknown>)[name] = before;
  }
}
