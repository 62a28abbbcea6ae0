import { assertEquals } from "@std/assert";
import { Random } from "../cni/random.ts";
import { crashStates } from "./crash_states.ts";
import { FileHistory } from "./file_history.ts";
import type { FileOperation } from "./file_operation.ts";
import type { FileTree, TreeEntry } from "./file_tree.ts";

const MODE = 0o600;
const bytes = (text: string) => new TextEncoder().encode(text);
const create = (path: string): FileOperation => ({ kind: "create", path, mode: MODE });
const mkdir = (path: string): FileOperation => ({ kind: "mkdir", path, mode: 0o700 });
const rename = (path: string, to: string): FileOperation => ({ kind: "rename", path, to });
const link = (path: string, to: string): FileOperation => ({ kind: "link", path, to });
const remove = (path: string): FileOperation => ({ kind: "remove", path });
const write = (inode: number, at: number, text: string): FileOperation => ({
  kind: "write",
  inode,
  at,
  bytes: bytes(text),
});
const sync = (inode: number, from: number): FileOperation => ({ kind: "sync", inode, from });

/** A tree as `path` for a directory and `path=content` for a file, with `0` for a zero byte. */
function shown(tree: FileTree): string {
  return [...tree].map(([path, entry]) =>
    entry.kind === "file" ? `${path}=${new TextDecoder().decode(entry.bytes).replaceAll("\0", "0")}` : path
  ).sort().join(" ");
}

function base(...files: readonly (readonly [string, string])[]): FileTree {
  return new Map(
    files.map(([path, text], index): [string, TreeEntry] => [
      path,
      { kind: "file", mode: MODE, bytes: bytes(text), inode: 100 + index },
    ]),
  );
}

/** All states after a loss of power at any moment, or at one. */
function states(tree: FileTree, operations: readonly FileOperation[], moment?: number): string[] {
  const history = new FileHistory(tree, operations, new Random(1));
  const found = [...crashStates(history, new Random(1))];
  if (moment === undefined) return found.map(({ tree }) => shown(tree)).sort();
  const losses = history.moments().filter((loss) => loss.moment === moment);
  return [...new Set(losses.flatMap((loss) => [...loss.states(1_000, new Random(1))].map(shown)))].sort();
}

Deno.test("names reach the disk in their order, and a beginning of them may be there", () => {
  const operations = [mkdir("d"), mkdir("d/e"), remove("d/e"), mkdir("f")];
  assertEquals(states(new Map(), operations), ["", "d", "d d/e", "d f"]);
  assertEquals(states(new Map(), operations, 2), ["", "d", "d d/e"]);
});

Deno.test("a file that was not synced may be empty, cut, or zero from any byte on", () => {
  assertEquals(states(new Map(), [create("a"), write(1, 0, "xy")], 2), [
    "",
    "a=",
    "a=0",
    "a=00",
    "a=x",
    "a=x0",
    "a=xy",
  ]);
});

Deno.test("a synced file has its text, and its name with all names before it", () => {
  const operations = [mkdir("d"), create("a"), write(2, 0, "xy"), sync(2, 3), mkdir("e")];
  assertEquals(states(new Map(), operations, 4), ["a=xy d"]);
  assertEquals(states(new Map(), operations, 5), ["a=xy d", "a=xy d e"]);
});

Deno.test("a sync of a file is sure of nothing that came after it had begun", () => {
  const operations = [create("a"), write(1, 0, "x"), write(1, 1, "y"), rename("a", "b"), sync(1, 2)];
  assertEquals(states(new Map(), operations, 5), ["a=x", "a=x0", "a=xy", "b=x", "b=x0", "b=xy"]);
});

Deno.test("a file that gets its name after its sync may be missing, but is never without its text", () => {
  const operations = [create("t"), write(1, 0, "xy"), sync(1, 2), rename("t", "a")];
  assertEquals(states(new Map(), operations, 4), ["a=xy", "t=xy"]);
});

Deno.test("a file that is renamed without a sync may replace a whole one by an empty one", () => {
  const operations = [create("t"), write(2, 0, "n"), rename("t", "a")];
  assertEquals(states(base(["a", "o"]), operations, 3), [
    "a=",
    "a=0",
    "a=n",
    "a=o",
    "a=o t=",
    "a=o t=0",
    "a=o t=n",
  ]);
});

Deno.test("a link and its first name are one file", () => {
  const operations = [create("t"), write(1, 0, "x"), link("t", "a"), remove("t")];
  assertEquals(states(new Map(), operations, 4), [
    "",
    "a=",
    "a= t=",
    "a=0",
    "a=0 t=0",
    "a=x",
    "a=x t=x",
    "t=",
    "t=0",
    "t=x",
  ]);
});

Deno.test("a sync of a directory is sure of its names, and not of the text of its files", () => {
  const operations = [
    mkdir("d"),
    create("d/t"),
    write(2, 0, "x"),
    rename("d/t", "d/a"),
    sync(1, 4),
    mkdir("e"),
  ];
  assertEquals(states(new Map(), operations, 6), [
    "d d/a=",
    "d d/a= e",
    "d d/a=0",
    "d d/a=0 e",
    "d d/a=x",
    "d d/a=x e",
  ]);
});

Deno.test("a sync of a directory is not sure of later names elsewhere", () => {
  const operations = [mkdir("d"), mkdir("d/a"), mkdir("e"), sync(1, 3)];
  assertEquals(states(new Map(), operations, 4), ["d d/a", "d d/a e"]);
});

Deno.test("what is written over synced bytes is old or new, and what is appended may be missing", () => {
  const operations = [write(1, 2, "z"), write(1, 0, "X")];
  assertEquals(states(base(["a", "xy"]), operations, 2), [
    "a=Xy",
    "a=Xy0",
    "a=Xyz",
    "a=xy",
    "a=xy0",
    "a=xyz",
  ]);
});

Deno.test("what is appended is there only with all names before it, and what is written over may be there before", () => {
  const operations = [mkdir("d"), write(1, 2, "z"), write(1, 0, "X")];
  const without = ["a=Xy", "a=xy"];
  const withNames = ["a=Xy d", "a=Xy0 d", "a=Xyz d", "a=xy d", "a=xy0 d", "a=xyz d"];
  assertEquals(states(base(["a", "xy"]), operations, 3), [...without, ...withNames].sort());
});

Deno.test("a sync of a file that has become longer is sure of all names before that", () => {
  const operations = [mkdir("d"), write(1, 2, "z"), mkdir("e"), sync(1, 3)];
  assertEquals(states(base(["a", "xy"]), operations, 4), ["a=xyz d", "a=xyz d e"]);
  const same = [mkdir("d"), write(1, 1, "z"), sync(1, 2)];
  assertEquals(states(base(["a", "xy"]), same, 3), ["a=xz", "a=xz d"]);
});

Deno.test("sectors are old or new independently of each other", () => {
  const old = "o".repeat(600);
  const operations = [write(1, 0, "a"), write(1, 599, "b")];
  const short = states(base(["f", old]), operations, 2).map((text) => `${text[2]}${text.at(-1)}`);
  assertEquals(short, ["ab", "ao", "ob", "oo"]);
});

Deno.test("a block of what was appended may be zeros while the next one is there", () => {
  const end = "y".repeat(4096);
  const found = states(base(["f", "x".repeat(4000)]), [write(1, 4000, end)], 1).map((text) => text.slice(2));
  const holes = found.filter((text) => text.includes("0y"));
  assertEquals(holes, [`${"x".repeat(4000)}${"0".repeat(96)}${"y".repeat(4000)}`]);
});

Deno.test("a file that is cut in place has its old length or the new one", () => {
  const operations: FileOperation[] = [{ kind: "truncate", inode: 1, size: 1 }];
  assertEquals(states(base(["a", "xy"]), operations, 1), ["a=x", "a=x0", "a=xy"]);
});

Deno.test("files differ independently, and each content is built once", () => {
  const operations = [create("a"), create("b"), write(1, 0, "x"), write(2, 0, "y")];
  const files = ["", "0"];
  const both = ["", "0", "x"].flatMap((a) => [...files, "y"].map((b) => `a=${a} b=${b}`));
  assertEquals(states(new Map(), operations), ["", "a=", ...both].sort());
});

Deno.test("a moment with more states than the limit gives so many, among them the oldest and the newest", () => {
  const operations = [create("a"), write(1, 0, "xyxyxyxyxy")];
  const history = new FileHistory(new Map(), operations, new Random(1));
  const loss = history.moments().find(({ moment, changes }) => moment === 2 && changes === 1)!;
  const some = [...loss.states(10, new Random(1))].map(shown);
  assertEquals({ count: some.length, oldest: some[0], newest: some[1] }, {
    count: 10,
    newest: "a=xyxyxyxyxy",
    oldest: "a=",
  });
});

Deno.test("the end without a loss of power has every operation", () => {
  const operations = [create("t"), write(1, 0, "xy"), link("t", "a"), remove("t"), write(1, 1, "z")];
  assertEquals(shown(new FileHistory(new Map(), operations, new Random(1)).final()), "a=xz");
});
