import { dirname } from "@std/path/posix";
import { removeNow } from "../host/file.ts";
import { appendNow, beginningNow, inDirNow, overwriteNow } from "../host/file_now.ts";
import { readTextNow } from "../host/read_file.ts";
import { type Member, parseMember, printMember } from "./member.ts";

/**
 * So many sandboxes of one network know each other by name: each that comes or goes changes the files of all others. It takes
 * some milliseconds with that many, and grows with their square.
 */
export const MOST_LISTED = 256;

const HEAD = /^podwire\.members\.v1 (\d{10})\n$/;
const headOf = (count: number) => `podwire.members.v1 ${String(count).padStart(10, "0")}\n`;
const HEAD_BYTES = headOf(0).length;

/**
 * The file with the sandboxes on one network: their number, and a line for each. One more can be added without a look at the
 * others, and the number says whether they are too many to be listed.
 *
 * The caller holds the lock of the files. Requires `--allow-read` and `--allow-write`.
 */
export class NetworkMembers {
  readonly #path: string;
  #count: number;
  /** The lines by ID; undefined until they are needed. */
  #lines: Map<string, string> | undefined;
  /** What is added to lines that were not read. */
  #added: string[] = [];
  #isChanged = false;
  readonly #wasListed: boolean;
  /** Whether the file is there and cannot be read, as a loss of power leaves it. */
  readonly #isCut: boolean;

  private constructor(path: string, count: number | undefined, isCut: boolean) {
    this.#path = path;
    this.#count = count ?? 0;
    this.#isCut = isCut;
    this.#wasListed = this.isListed;
    if (count === undefined) this.#lines = new Map();
  }

  /** Opens the file. One that is missing or cut has no sandboxes: recovery makes it anew from the records. */
  static open(path: string): NetworkMembers {
    const beginning = beginningNow(path, HEAD_BYTES);
    const [, count] = HEAD.exec(beginning ?? "") ?? [];
    if (count !== undefined) return new NetworkMembers(path, Number(count), false);
    return new NetworkMembers(path, undefined, beginning !== undefined);
  }

  /** Whether they are so few that each knows the others. */
  get isListed(): boolean {
    return this.#count <= MOST_LISTED;
  }

  /** Whether they were so few when the file was opened. */
  get wasListed(): boolean {
    return this.#wasListed;
  }

  /** All sandboxes on the network, in the order in which they came. */
  members(): readonly Member[] {
    return [...this.#read().values()].flatMap((line) => parseMember(line) ?? []);
  }

  /** Adds a sandbox, or changes what it says; `isNew` says that it is not there. */
  put(member: Member, isNew: boolean): void {
    const line = printMember(member);
    if (isNew && this.#lines === undefined && !this.isListed) {
      this.#added.push(line);
      this.#count++;
      return;
    }
    const lines = this.#read();
    if (lines.get(member.id) === line) return;
    lines.set(member.id, line);
    this.#changed(lines);
  }

  /** Removes a sandbox. */
  drop(id: string): void {
    const lines = this.#read();
    if (lines.delete(id)) this.#changed(lines);
  }

  /** Replaces all sandboxes; returns whether they are others than before. */
  replace(members: readonly Member[]): boolean {
    const next = new Map(members.map((member) => [member.id, printMember(member)]));
    const [lines, known] = [next, this.#read()].map((each) => [...each.values()].sort().join("\n"));
    const isSame = !this.#isCut && lines === known && next.size === this.#count;
    if (!isSame) this.#changed(next);
    return !isSame;
  }

  /** Writes what has changed. The file of a network without sandboxes is removed. */
  write(): void {
    if (this.#isChanged) {
      if (this.#count === 0) removeNow(this.#path);
      else {
        const text = `${headOf(this.#count)}${[...this.#read().values(), ""].join("\n")}`;
        inDirNow(dirname(this.#path), () => overwriteNow(this.#path, text));
      }
    } else if (this.#added.length > 0) {
      appendNow(this.#path, [...this.#added, ""].join("\n"), headOf(this.#count));
    }
    this.#isChanged = false;
    this.#added = [];
  }

  #changed(lines: Map<string, string>): void {
    this.#lines = lines;
    this.#count = lines.size;
    this.#isChanged = true;
  }

  #read(): Map<string, string> {
    if (this.#lines !== undefined) return this.#lines;
    const text = readTextNow(this.#path)?.slice(HEAD_BYTES) ?? "";
    const lines = [...text.split("\n").filter((line) => line !== ""), ...this.#added];
    return this.#lines = new Map(lines.map((line) => [line.slice(0, line.indexOf("\t")), line]));
  }
}
