import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import {
  coverageProblems,
  excusedIn,
  namedAtStart,
  STATEMENTS,
  statementsOf,
  testNames,
} from "./behaviour_statements.ts";

const HERE = fromFileUrl(new URL(".", import.meta.url));

async function allTestNames(dir: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    if (isDirectory) names.push(...await allTestNames(`${dir}${name}/`));
    else if (name.endsWith("_test.ts")) names.push(...testNames(await Deno.readTextFile(dir + name)));
  }
  return names;
}

Deno.test("every statement has a test that names it, or an entry that tells why not", async () => {
  const names = await allTestNames(HERE);
  assert(names.length > 300, `the names of only ${names.length} tests were found`);
  const excused = excusedIn(await Deno.readTextFile(`${HERE}behaviour_coverage.md`));
  assertEquals(coverageProblems(STATEMENTS, names, excused), []);
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

Deno.test("statements without a test, unknown ones and stale entries are told", () => {
  const groups = { A: "1-3 5" };
  assertEquals(statementsOf(groups), ["A1", "A2", "A3", "A5"]);
  const excused = excusedIn("# Title\n\n- **A2 A5** why not\n- **A3**\n- A1 without emphasis\n");
  assertEquals(excused, ["A2", "A5"]);
  assertEquals(
    coverageProblems(groups, ["A1 yes", "A3-A4 yes", "B7 of a group that is not asked for"], excused),
    [
      "A4 is in the name of a test and does not exist",
    ],
  );
  assertEquals(coverageProblems(groups, ["A1 A2 yes"], ["A2", "A5", "A5", "A9"]), [
    "A3 has no test and no entry",
    "A9 has an entry and does not exist",
    "A2 has an entry and a test by now: remove the entry",
    "A5 has two entries",
  ]);
});
