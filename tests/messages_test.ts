// Every message that the code can make follows one grammar.
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path/posix";
import { isGenerated } from "./generated.ts";
import { faultsOf, messagesOf } from "./messages.ts";

const ROOT = fromFileUrl(new URL("../", import.meta.url));

function* sources(folder: string): Generator<string> {
  for (const entry of Deno.readDirSync(ROOT + folder)) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) yield* sources(path);
    else if (path.endsWith(".ts") && !isGenerated(path)) yield path;
  }
}

const messages = [...sources("lib"), "mod.ts", "cli.ts"].flatMap((path) =>
  messagesOf(path, Deno.readTextFileSync(ROOT + path)).map((message) => ({ path, message }))
);

Deno.test("every message of the code is plain, begins in lower case or with Cannot, and has no full stop", () => {
  const faults = messages.flatMap(({ path, message }) =>
    faultsOf(message).map((fault) => `${path} ${fault}: ${message.text}`)
  );
  assertEquals(faults, []);
});

Deno.test("the messages of errors, logs, hints and helpers are all found", () => {
  assert(messages.length > 600, `only ${messages.length} messages were found`);
  const uses = new Set(messages.map(({ message }) => message.use));
  for (
    const use of ["CniError", "HostError", "ValidationError", "warn", "hint", "details", "why", "refuse"]
  ) {
    assert(uses.has(use), use);
  }
});

Deno.test("a message that breaks the grammar is found, wherever it is written", () => {
  const bad = {
    "old word": 'throw new CniError("io", `${path} is no file`);',
    "full stop": 'log.warn("the file is gone.");',
    "two spaces": 'this.#options.log.info("the  file is gone");',
    "contraction": 'throw new HostError("it doesn\'t exist");',
    "lower-case cannot": "throw new Error(`cannot read ${file}: ${why}`);",
    "no reason": 'throw new TypeError("Cannot read the file");',
    "capital letter": 'return new CniError("io", msg, { hint: "Try it again" });',
    "single quotes": "const details = `the name '${name}' is taken`;",
    "plea": 'refuse("please try again");',
    "whoever": 'failures.push({ why: isOwn ? "it is gone" : "whoever made it" });',
    "nobody": 'const text = () => "nobody owns it";',
    "told": 'function f() { return "it was" + " told so"; }',
  };
  for (const [name, source] of Object.entries(bad)) {
    const found = messagesOf("lib/x.ts", source);
    assertEquals(found.flatMap(faultsOf).length, 1, `${name}: ${JSON.stringify(found)}`);
  }
});

Deno.test("good messages have no fault, and texts that are no messages are not read", () => {
  const good = [
    'throw new CniError("usage", `--pid: "${text}" is not a number from 1 to ${most}`);',
    "log.warn(`Cannot read the configuration: ${why}`);",
    "const hint = \"`podwire rm -f` removes it; run as `sh -c 'x'`\";",
    "throw new Error(`Deno permission ${name} is missing`);",
    'if (error.message.includes("Argument list too long")) throw error;',
    "lines.push(`route add ${target} dev ${link}`);",
  ];
  for (const source of good) {
    assertEquals(messagesOf("lib/x.ts", source).flatMap(faultsOf), [], source);
  }
});
