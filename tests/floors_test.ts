// The house of the design as data: who may import whom. The picture cannot rot, because these tests compare every file
// of lib/ with it, on the syntax tree that Deno's linter reads.
import { assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path/posix";

interface Floor {
  /** Its files, lowest first: a file imports only files before it. */
  readonly files: readonly string[];
  /** The floors that its files may import. */
  readonly sees: readonly string[];
}

const GROUND = ["lib/spec", "lib/host"];
const UP_TO_NETWORK = [...GROUND, "lib/plugin", "lib/network"];
const UP_TO_SANDBOX = [...UP_TO_NETWORK, "lib/pod", "lib/sandbox"];

/** Every folder with code of the library and the program, lowest first. */
const HOUSE: Readonly<Record<string, Floor>> = {
  "lib/spec": {
    files: [
      "error.ts",
      "version.ts",
      "name.ts",
      "address.ts",
      "json_reader.ts",
      "json.ts",
      "config_document.ts",
      "plugin_config.ts",
      "config.ts",
      "result_shape.ts",
      "result_convert.ts",
      "result.ts",
    ],
    sees: [],
  },
  "lib/host": {
    files: [
      "io.ts",
      "capture.ts",
      "launch.ts",
      "command.ts",
      "attached.ts",
      "boot.ts",
      "orphans.ts",
      "tree.ts",
      "file.ts",
      "lock.ts",
      "netns.ts",
      "link.ts",
      "log.ts",
      "permissions.ts",
    ],
    sees: [],
  },
  "lib/plugin": {
    files: ["invocation.ts", "deadline.ts", "failure.ts", "output.ts", "serve.ts", "find.ts", "exec.ts"],
    sees: GROUND,
  },
  "lib/network": {
    files: [
      "load.ts",
      "container_lock.ts",
      "backoff.ts",
      "sealed.ts",
      "result_cache.ts",
      "record.ts",
      "chain.ts",
      "network.ts",
    ],
    sees: [...GROUND, "lib/plugin"],
  },
  "lib/builtin": {
    files: [
      "all.ts",
      "undo.ts",
      "field.ts",
      "attachment_tag.ts",
      "ip_script.ts",
      "shown_link.ts",
      "valid_attachments.ts",
      "address_range.ts",
      "address_store.ts",
      "resolv_conf.ts",
      "host_local_config.ts",
      "host_local.ts",
      "masquerade_iptables.ts",
      "masquerade_nft.ts",
      "masquerade.ts",
      "bridge_config.ts",
      "bridge_plan.ts",
      "bridge_port.ts",
      "bridge_check.ts",
      "bridge.ts",
      "loopback.ts",
      "mod.ts",
    ],
    sees: [...GROUND, "lib/plugin"],
  },
  "lib/pod": { files: ["embedded.ts", "catalog.ts", "request.ts", "pod.ts"], sees: UP_TO_NETWORK },
  "lib/sandbox": {
    files: [
      "name.ts",
      "record.ts",
      "view.ts",
      "find.ts",
      "infra.ts",
      "dismantle.ts",
      "recovery.ts",
      "sandbox.ts",
    ],
    sees: [...UP_TO_NETWORK, "lib/pod"],
  },
  "lib": { files: ["runtime.ts"], sees: [...UP_TO_SANDBOX, "lib/builtin"] },
  "lib/daemon": { files: [], sees: [...UP_TO_SANDBOX, "lib"] },
  "lib/cli": {
    files: [
      "command.ts",
      "settings.ts",
      "table.ts",
      "failure.ts",
      "version.ts",
      "picture.ts",
      "traffic.ts",
      "sandbox_text.ts",
      "attachment.ts",
      "network.ts",
      "plugin.ts",
      "recover.ts",
      "run.ts",
      "sandbox.ts",
      "demo.ts",
      "completion.ts",
      "commands.ts",
      "main.ts",
    ],
    sees: [...UP_TO_SANDBOX, "lib", "lib/builtin", "lib/daemon"],
  },
  ".": {
    files: ["mod.ts", "cli.ts"],
    sees: [...UP_TO_SANDBOX, "lib", "lib/builtin", "lib/daemon", "lib/cli"],
  },
};

/** Who may import what from outside. What is missing here may be imported by nobody. */
const OUTSIDE: Readonly<Record<string, readonly string[]>> = {
  "@std/fs": ["lib/host/file.ts"],
  "@std/log": ["lib/host/log.ts"],
  "@std/path": [
    "lib/host/",
    "lib/plugin/",
    "lib/network/",
    "lib/pod/",
    "lib/sandbox/",
    "lib/runtime.ts",
    "lib/cli/",
  ],
  "@std/path/posix": ["lib/"],
  "@std/cli": ["lib/cli/"],
  "@std/cli/parse-args": ["lib/cli/"],
};

/** Where `Deno` may be written. */
const DENO = ["lib/host/", "lib/daemon/server.ts", "cli.ts"];
/** What the face of the library may not show, and the only floors that the program's entry needs. */
const NARROWER: Readonly<Record<string, (floor: string) => boolean>> = {
  "mod.ts": (floor) => floor !== "lib/cli",
  "cli.ts": (floor) => floor === "lib/cli" || floor === "lib/host",
};

const MOST_LINES_IN_FILE = 350;
const MOST_LINES_IN_FUNCTION = 60;

const within = (path: string, places: readonly string[]) =>
  places.some((place) => path === place || (place.endsWith("/") && path.startsWith(place)));

/** Folder and name of a path such as `lib/spec/json.ts`; the folder of `mod.ts` is ".". */
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
  const floor = HOUSE[folder];
  if (floor === undefined || !HOUSE[targetFolder]?.files.includes(targetName)) {
    return `imports unknown ${target}`;
  }
  if (targetFolder === folder) {
    const isBefore = floor.files.indexOf(targetName) < floor.files.indexOf(name);
    return isBefore ? undefined : `imports ${target}, which does not stand before it`;
  }
  const isSeen = floor.sees.includes(targetFolder) && (NARROWER[path]?.(targetFolder) ?? true);
  return isSeen ? undefined : `imports ${target}, which is not below it`;
}

/** What `source`, as the file `path`, does against the rules. */
function problemsOf(path: string, source: string): string[] {
  const problems: string[] = [];
  const [folder, name] = split(path);
  if (!HOUSE[folder]?.files.includes(name)) problems.push("stands in no floor of the table");
  const lines = source.trimEnd().split("\n").length;
  if (lines > MOST_LINES_IN_FILE) problems.push(`has ${lines} lines`);

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
  Deno.lint.runPlugin({ name: "floors", rules: { all: { create } } }, path, source);
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
  const listed = Object.entries(HOUSE).flatMap(([folder, { files }]) =>
    files.map((file) => join(folder, file))
  );
  assertEquals(listed.sort(), files);
});

Deno.test("the table itself has no arrow up", () => {
  const floors = Object.keys(HOUSE);
  for (const [index, floor] of floors.entries()) {
    const above = HOUSE[floor]!.sees.filter((seen) => floors.indexOf(seen) >= index);
    assertEquals(above, [], floor);
  }
});

Deno.test("a file that breaks a rule is found", async (t) => {
  const cases: Record<string, [path: string, source: string, problems: string[]]> = {
    "an import from above": [
      "lib/plugin/exec.ts",
      `import { Network } from "../network/network.ts";`,
      ["imports lib/network/network.ts, which is not below it"],
    ],
    "a type from above": [
      "lib/spec/json.ts",
      `import type { Io } from "../host/io.ts";`,
      ["imports lib/host/io.ts, which is not below it"],
    ],
    "a re-export from a later file": [
      "lib/spec/error.ts",
      `export { parseJson } from "./json.ts";`,
      ["imports lib/spec/json.ts, which does not stand before it"],
    ],
    "a wholesale re-export": [
      "lib/spec/error.ts",
      `export * from "./json.ts";`,
      ["imports lib/spec/json.ts, which does not stand before it"],
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
      "lib/network/network.ts",
      `import { builtins } from "../builtin/mod.ts";`,
      ["imports lib/builtin/mod.ts, which is not below it"],
    ],
    "the face of the library showing the command line": [
      "mod.ts",
      `export { main } from "./lib/cli/main.ts";`,
      ["imports lib/cli/main.ts, which is not below it"],
    ],
    "an unknown file": ["lib/spec/utils.ts", "export {};", ["stands in no floor of the table"]],
    "an import of an unknown file": [
      "lib/spec/json.ts",
      `import { x } from "./utils.ts"; export { x };`,
      ["imports unknown lib/spec/utils.ts"],
    ],
    "a package outside its one file": [
      "lib/plugin/find.ts",
      `import { ensureDir } from "@std/fs"; export { ensureDir };`,
      [`must not import "@std/fs"`],
    ],
    "an unlisted package": ["lib/spec/json.ts", `import "npm:left-pad";`, [`must not import "npm:left-pad"`]],
    "Deno in a word": [
      "lib/spec/json.ts",
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
      "lib/spec/json.ts",
      `export function long() {\n${"  void 0;\n".repeat(60)}}`,
      ["has a function of 62 lines: function long() {"],
    ],
    "a long file": ["lib/spec/json.ts", "export {};\n".repeat(351), ["has 351 lines"]],
  };
  for (const [name, [path, source, problems]] of Object.entries(cases)) {
    await t.step(name, () => assertEquals(problemsOf(path, source), problems));
  }
});

Deno.test("what looks like a breach in a comment or a string is none", () => {
  const source =
    `/** import { x } from "../network/network.ts"; Deno.exit(1) */\nexport const text = 'from "../cli.ts" Deno.';\n`;
  assertEquals(problemsOf("lib/spec/json.ts", source), []);
});
