// Holds the words of the project: what was renamed does not come back.
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path/posix";
import { isGenerated } from "./generated.ts";
import { OLD_PHRASES, OLD_WORDS, oldWordsIn } from "./words.ts";

const ROOT = fromFileUrl(new URL("../", import.meta.url));

/** The files that name the words in order to forbid them. */
const LISTS: readonly string[] = ["tests/words.ts", "tests/words_test.ts", "tests/messages_test.ts"];

/** What stays, by file: keys on disk, names of other programs and their messages. */
const EXCEPTIONS: Readonly<Record<string, readonly string[]>> = {
  "lib/state/attachment_record.ts": ["neverRan"],
  // The key in the file, which the first release wrote.
  "lib/readiness/memory.ts": ["lapsed"],
  // An option of apt.
  "tests/apt.ts": ["SourceParts"],
};

const FOLDERS = ["lib", "tests", "docs", "examples", ".ci"];
const FILES = [
  "mod.ts",
  "plugin.ts",
  "cni.ts",
  "client.ts",
  "testing.ts",
  "cli.ts",
  "README.md",
  "deno.json",
];
/** Documents that were made by others are not ours to word, and generated files are worded by their source. */
const SKIPPED = ["tests/testdata/"];

/** All files below a folder that is there. */
function* below(folder: string): Generator<string> {
  let entries: Deno.DirEntry[];
  try {
    entries = [...Deno.readDirSync(ROOT + folder)];
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  for (const { name, isDirectory } of entries) {
    const path = `${folder}/${name}`;
    if (SKIPPED.includes(`${path}/`) || isGenerated(path)) continue;
    if (isDirectory) yield* below(path);
    else yield path;
  }
}

/** The old words in the name and in the lines of a file, each with its place. */
function problemsOf(path: string, text: string): string[] {
  const allowed = EXCEPTIONS[path] ?? [];
  const lines = [path, ...text.split("\n")];
  return lines.flatMap((line, number) => {
    const found = oldWordsIn(line).filter((word) => !allowed.includes(word));
    return found.map((word) => `${path}:${number}: "${word.trim()}" in: ${line.trim().slice(0, 120)}`);
  });
}

Deno.test("no file has an old word", () => {
  const all = [...FOLDERS.flatMap((folder) => [...below(folder)]), ...FILES];
  const files = all.filter((path) => !LISTS.includes(path));
  assertEquals(files.flatMap((path) => problemsOf(path, Deno.readTextFileSync(ROOT + path))), []);
});

Deno.test("every exception is needed", () => {
  for (const [path, words] of Object.entries(EXCEPTIONS)) {
    const found = new Set(Deno.readTextFileSync(ROOT + path).split("\n").flatMap((line) => oldWordsIn(line)));
    for (const word of words) assert(found.has(word), `${path} does not say "${word}"`);
  }
});

Deno.test("an old word is found in each of its forms", () => {
  const bad = [
    [
      "import x from '../spec/json.ts'",
      "Spares",
      "spares",
      "doomOf",
      "dismantle",
      "takeDown",
      "take it down",
    ],
    ["class Remains", "this.#remains", "Standing", "lapsed", "StatusSubject", "statusSubjects", "Questions"],
    ["Map<Put>", "new Turns()", "slots.ts", "told", "it tells", "#tell(x)", "isTold", "toldPod", "untold"],
    [
      "upkeep",
      "OperationSeen",
      "shownReport",
      "sealed",
      "unseal",
      "noteIfPossible",
      "spoken_version",
      "neverRan",
    ],
    ["settleHint", "isLeft", "endUnheard", "SandboxMaking", "permit(x)", "SandboxParts", "holding(x)"],
    ["lookInside", "GcWish", "lookAround", "Manner", "Door", "Misshapen", "floor", "HOUSE"],
    [
      "whoever",
      "Nobody",
      "somebody",
      "what else has a say",
      "is no path",
      "be it",
      "for want of",
      "who looks",
    ],
  ].flat();
  for (const text of bad) assert(oldWordsIn(text).length > 0, text);
  for (const { pattern } of [...OLD_WORDS, ...OLD_PHRASES]) {
    assert(bad.some((text) => pattern.test(text)), `nothing shows what ${pattern} finds`);
  }
});

Deno.test("plain words are no old ones", () => {
  const good = [
    ["isSparse", "it remains ready", "is no longer there", "outstanding", "a question", "turns of the loop"],
    ["hasSeen", "permitted", "runInside(x)", "the parts of a name", "indoor", "threshold"],
  ].flat();
  for (const text of good) assertEquals(oldWordsIn(text), [], text);
});
