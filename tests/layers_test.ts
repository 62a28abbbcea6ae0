// Compares every file with the table of rooms, on the syntax tree that Deno's linter reads, so that the table
// stays true.
import { assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path/posix";
import { isGenerated } from "./generated.ts";
import { DENO, LAYERS, layersBelow, NARROWER, OUTSIDE } from "./layers.ts";
import { layersPicture } from "./layers_picture.ts";

const MOST_LINES_IN_FILE = 350;
const MOST_LINES_IN_FUNCTION = 60;

const within = (path: string, places: readonly string[]) =>
  places.some((place) => path === place || (place.endsWith("/") && path.startsWith(place)));

/** Folder and name of a path such as `lib/cni/json.ts`; the folder of `mod.ts` is ".". */
function split(path: string): [folder: string, name: string] {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? [".", path] : [path.slice(0, slash), path.slice(slash + 1)];
}

/** Why `path` must not import `specifier`; undefined if it may. */
function importProblem(path: string, specifier: string): string | undefined {
  if (!specifier.startsWith(".")) {
    const places = OUTSIDE[specifier];
    return places !== undefined && within(path, places) ? undefined : `must not import "${specifier}"`;
  }
  const [folder, name] = split(path);
  const target = join(folder, specifier);
  const [targetFolder, targetName] = split(target);
  const layer = LAYERS[folder];
  if (layer === undefined || !LAYERS[targetFolder]?.files.includes(targetName)) {
    return `imports unknown ${target}`;
  }
  if (targetFolder === folder) {
    const isBefore = layer.files.indexOf(targetName) < layer.files.indexOf(name);
    return isBefore ? undefined : `imports ${target}, which does not stand before it`;
  }
  const isSeen = layersBelow(folder).has(targetFolder) && (NARROWER[path]?.(targetFolder) ?? true);
  return isSeen ? undefined : `imports ${target}, which is not below it`;
}

/** The rules that `source`, as the file `path`, breaks. */
function problemsOf(path: string, source: string): string[] {
  const problems: string[] = [];
  const [folder, name] = split(path);
  if (!LAYERS[folder]?.files.includes(name)) problems.push("is in no layer of the table");
  const lines = source.trimEnd().split("\n").length;
  if (lines > MOST_LINES_IN_FILE && !isGenerated(path)) problems.push(`has ${lines} lines`);

  const onImport = (node: { source: { value: unknown } | null }) => {
    if (node.source === null) return;
    const problem = importProblem(path, String(node.source.value));
    if (problem !== undefined) problems.push(problem);
  };
  const onFunction = (node: { range: [number, number] }) => {
    const text = source.slice(...node.range);
    const length = text.split("\n").length;
    if (length > MOST_LINES_IN_FUNCTION) {
      problems.push(`has a function of ${length} lines: ${text.split("\n")[0]}`);
    }
  };
  const create = (): Deno.lint.LintVisitor => ({
    ImportDeclaration: onImport,
    ExportNamedDeclaration: onImport,
    ExportAllDeclaration: onImport,
    ImportExpression: (node) => {
      if (node.source.type === "Literal") onImport({ source: node.source });
      else problems.push("imports something computed");
    },
    Identifier: (node) => {
      if (node.name === "Deno" && !within(path, DENO)) problems.push("names Deno");
      if (node.name === "console") problems.push("names console");
    },
    FunctionDeclaration: onFunction,
    FunctionExpression: onFunction,
    ArrowFunctionExpression: onFunction,
    "Program > ExpressionStatement": () => problems.push("does something when it is imported"),
  });
  Deno.lint.runPlugin({ name: "layers", rules: { all: { create } } }, path, source);
  return [...new Set(problems)];
}

const ROOT = fromFileUrl(new URL("../", import.meta.url));

/** The TypeScript files below `folder`, as paths from the repository's root. */
function* sources(folder: string): Generator<string> {
  for (const entry of Deno.readDirSync(join(ROOT, folder))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory) yield* sources(path);
    else if (/\.[cm]?[jt]sx?$/.test(entry.name)) yield path;
  }
}

const faces = [...Deno.readDirSync(ROOT)].map(({ name }) => name).filter((name) => name.endsWith(".ts"));
const files = [...sources("lib"), ...faces].sort();

Deno.test("every file imports only what stands below it", async () => {
  const found: string[] = [];
  for (const file of files) {
    for (const problem of problemsOf(file, await Deno.readTextFile(ROOT + file))) {
      found.push(`${file} ${problem}`);
    }
  }
  assertEquals(found, []);
});

Deno.test("every file of the table exists", () => {
  const listed = Object.entries(LAYERS).flatMap(([folder, { files }]) =>
    files.map((file) => join(folder, file))
  );
  assertEquals(listed.sort(), files);
});

Deno.test("the table itself has no arrow up", () => {
  const layers = Object.keys(LAYERS);
  for (const [index, layer] of layers.entries()) {
    const above = LAYERS[layer]!.on.filter((below) => layers.indexOf(below) >= index);
    assertEquals(above, [], layer);
  }
});

Deno.test("README shows the picture that `./denow task layers` prints", async () => {
  const readme = await Deno.readTextFile(ROOT + "README.md");
  const [, section = ""] = readme.split("\n## The layout\n");
  const [, shown = ""] = /^```\n(.*?)\n```$/ms.exec(section) ?? [];
  assertEquals(shown, layersPicture());
});

Deno.test("lib holds rooms and no files", () => {
  const loose = [...Deno.readDirSync(join(ROOT, "lib"))].filter(({ isDirectory }) => !isDirectory);
  assertEquals(loose.map(({ name }) => name), []);
});

Deno.test("a file that breaks a rule is found", async (t) => {
  const cases: Record<string, [path: string, source: string, problems: string[]]> = {
    "an import from above": [
      "lib/plugin/exec.ts",
      `import { Attachments } from "../attachment/attachments.ts";`,
      ["imports lib/attachment/attachments.ts, which is not below it"],
    ],
    "a type from above": [
      "lib/cni/json.ts",
      `import type { Io } from "../host/io.ts";`,
      ["imports lib/host/io.ts, which is not below it"],
    ],
    "a re-export from a later file": [
      "lib/cni/error.ts",
      `export { parseJson } from "./json.ts";`,
      ["imports lib/cni/json.ts, which does not stand before it"],
    ],
    "a wholesale re-export": [
      "lib/cni/error.ts",
      `export * from "./json.ts";`,
      ["imports lib/cni/json.ts, which does not stand before it"],
    ],
    "an import on demand": [
      "lib/pod/pod.ts",
      `export const late = () => import("../sandbox/sandbox.ts");`,
      ["imports lib/sandbox/sandbox.ts, which is not below it"],
    ],
    "a computed import": [
      "lib/pod/pod.ts",
      "export const late = (name: string) => import(`../pod/${name}.ts`);",
      ["imports something computed"],
    ],
    "a network that sees the built-ins": [
      "lib/attachment/attachments.ts",
      `import { builtins } from "../builtin/mod.ts";`,
      ["imports lib/builtin/mod.ts, which is not below it"],
    ],
    "the face of the library showing the command line": [
      "mod.ts",
      `export { main } from "./lib/cli/main.ts";`,
      ["imports lib/cli/main.ts, which is not below it"],
    ],
    "an unknown file": ["lib/cni/utils.ts", "export {};", ["is in no layer of the table"]],
    "an import of an unknown file": [
      "lib/cni/json.ts",
      `import { x } from "./utils.ts"; export { x };`,
      ["imports unknown lib/cni/utils.ts"],
    ],
    "a package outside its one file": [
      "lib/plugin/find.ts",
      `import { ensureDir } from "@std/fs"; export { ensureDir };`,
      [`must not import "@std/fs"`],
    ],
    "an unlisted package": ["lib/cni/json.ts", `import "npm:left-pad";`, [`must not import "npm:left-pad"`]],
    "Deno in a word": [
      "lib/cni/json.ts",
      "export const pid = () => Deno.pid;",
      ["names Deno"],
    ],
    "Deno as a type": ["lib/pod/pod.ts", "export type Signal = Deno.Signal;", ["names Deno"]],
    "a console": ["lib/host/log.ts", "export const log = () => console.log(1);", ["names console"]],
    "a module that acts": [
      "lib/host/file.ts",
      "Deno.mkdirSync('/tmp/x');",
      ["does something when it is imported"],
    ],
    "a long function": [
      "lib/cni/json.ts",
      `export function long() {\n${"  void 0;\n".repeat(60)}}`,
      ["has a function of 62 lines: function long() {"],
    ],
    "a long file": ["lib/cni/json.ts", "export {};\n".repeat(351), ["has 351 lines"]],
  };
  for (const [name, [path, source, problems]] of Object.entries(cases)) {
    await t.step(name, () => assertEquals(problemsOf(path, source), problems));
  }
});

Deno.test("an import or a name in a comment or a string is not a violation", () => {
  const source =
    `/** import { x } from "../attachment/attachments.ts"; Deno.exit(1) */\nexport const text = 'from "../cli.ts" Deno.';\n`;
  assertEquals(problemsOf("lib/cni/json.ts", source), []);
});
