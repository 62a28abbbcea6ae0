import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { behaviourProblems, namedAtStart, statementsIn, testNames } from "./behaviour_statements.ts";

const HERE = fromFileUrl(new URL(".", import.meta.url));
const DOCUMENT = fromFileUrl(new URL("../docs/behaviour.md", import.meta.url));
const USERS = fromFileUrl(new URL("../docs/plugin-users.md", import.meta.url));

async function allTestNames(dir: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    if (isDirectory) names.push(...await allTestNames(`${dir}${name}/`));
    else if (name.endsWith("_test.ts")) names.push(...testNames(await Deno.readTextFile(dir + name)));
  }
  return names;
}

Deno.test("every statement of docs/behaviour.md and docs/plugin-users.md has a test or a line that says why not, and every number in the name of a test leads there", async () => {
  const names = await allTestNames(HERE);
  const statements = statementsIn(await Deno.readTextFile(DOCUMENT));
  const ofUsers = statementsIn(await Deno.readTextFile(USERS));
  assert(names.length > 1_000, `the names of only ${names.length} tests were found`);
  assert(statements.length > 500, `only ${statements.length} statements were found`);
  assertEquals(ofUsers.map(({ id }) => id), Array.from({ length: 98 }, (_, index) => `U${index + 1}`));
  assertEquals(behaviourProblems([...statements, ...ofUsers], names), []);
});

Deno.test("every statement that another one refers to is in the document", async () => {
  const markdown = await Deno.readTextFile(DOCUMENT);
  const ids = new Set(statementsIn(markdown).map(({ id }) => id));
  const referred = [...markdown.matchAll(/(?<![\w./-])([A-H]\d{1,3})(?![\w.-]*\.\w)\b/g)].map(([, id = ""]) =>
    id
  );
  assertEquals([...new Set(referred)].filter((id) => !ids.has(id)), []);
});

Deno.test("a list of numbers counts at the start of a name only, ranges spelled out", () => {
  assertEquals(namedAtStart("A53 rejects a name that leaves the directory"), ["A53"]);
  assertEquals(namedAtStart("B16-B18, B20 and C1 to C2 words"), ["B16", "B17", "B18", "B20", "C1", "C2"]);
  assertEquals(namedAtStart("D31 Y8 attached by Go"), ["D31", "Y8"]);
  assertEquals(namedAtStart("like A53, a name is refused"), []);
  assertEquals(namedAtStart("A53rejects"), []);
  assertEquals(namedAtStart(""), []);
});

Deno.test("names of tests are found in every spelling, and nothing else", () => {
  const source = `
    // Deno.test("A1 in a comment", fn)
    Deno.test("A2 plain", fn);
    Deno.test(
      'A3 on a line of its own',
      fn,
    );
    Deno.test({ name: \`A4 in an object\`, fn });
    binaryTest("A5 through a function", [], fn);
    await t.step("A6 in a \\"step\\"", fn);
    const text = "A7 elsewhere"; assertEquals("A8 as an argument", text);`;
  assertEquals(testNames(source).flatMap(namedAtStart), ["A2", "A3", "A4", "A5", "A6"]);
});

Deno.test("a statement without a test, an unknown number and an idle line are reported", () => {
  const markdown =
    "# A\n\n- **A1** One.\n- **A2** Two.\n  - **podwire:** Not so.\n- **A3** Three.\n  More of it.\n- **Y1** Aside.\n";
  const statements = statementsIn(markdown);
  assertEquals(statements.map(({ id, hasNote }) => hasNote ? `${id} with a line` : id), [
    "A1",
    "A2 with a line",
    "A3",
    "Y1",
  ]);
  assertEquals(behaviourProblems(statements, ["A1 yes", "A3 yes"]), []);
  assertEquals(behaviourProblems([...statements, ...statements.slice(0, 1)], ["A1 A2 yes", "A4 yes"]), [
    "A3 has no test and no line that says why",
    "A2 has a test and a line that says why it has none: remove the line",
    "A4 is in the name of a test and is not in the document",
    "A1 is in the document twice",
  ]);
});
