import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { countTests } from "./run.ts";
import { afterSecondChance, failedLines, secondChances } from "./second_chance.ts";

const outcome = (passed: number, failed: number, skipped = 0) => ({ passed, failed, skipped });

/** What Deno prints of these tests. */
async function printed(...sources: readonly string[]): Promise<{ code: number; text: string }> {
  const dir = await Deno.makeTempDir({ prefix: "pwt-" });
  try {
    for (const [n, source] of sources.entries()) await Deno.writeTextFile(`${dir}/t${n}_test.ts`, source);
    const denow = fromFileUrl(new URL("../denow", import.meta.url));
    const args = ["test", "-q", "-P=test", "--no-prompt", "--no-check", "--parallel", dir];
    const { code, stdout } = await new Deno.Command(denow, { args, env: { NO_COLOR: "1" }, stderr: "null" })
      .output();
    return { code, text: new TextDecoder().decode(stdout) };
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const FINE = 'Deno.test("fine", () => {});\n';
const WRONG =
  'Deno.test("a => b (c)", (t) => t.step("in", () => { throw new Error("no"); }).then(() => {}));\n';

Deno.test("the failed tests in Deno's output get a second chance", async () => {
  const { code, text } = await printed(FINE + WRONG, FINE);
  const first = countTests(text, code);
  assertEquals(first, outcome(2, 1));
  const failures = secondChances(text, first);
  assertEquals(failures.map(({ name, files }) => [name, files.map((file) => file.split("/").at(-1))]), [[
    "a => b (c) ... in",
    ["t0_test.ts"],
  ]]);
  assertEquals(failures[0]?.place.split("/").at(-1), "t0_test.ts:2:34");
  const lines = failedLines(text, first);
  assertEquals({ linesCount: lines.length, startsWith: lines[0]?.startsWith("a => b (c) ... in => ") }, {
    linesCount: 1,
    startsWith: true,
  });
  const green = await printed(FINE);
  assertEquals(failedLines(green.text, countTests(green.text, green.code)), []);
  assertEquals(secondChances(green.text, countTests(green.text, green.code)), []);
});

Deno.test("a test that a helper registers is run again with the file that called it", async () => {
  const helper = 'export const wrong = () => Deno.test("helped", () => { throw new Error("no"); });\n';
  const { code, text } = await printed(FINE, helper, 'import { wrong } from "./t1_test.ts";\nwrong();\n');
  const [failure] = secondChances(text, countTests(text, code));
  assertEquals(failure?.files.map((file) => file.split("/").at(-1)), ["t2_test.ts"]);
  assertEquals(failure?.place.split("/").at(-1)?.split(":")[0], "t1_test.ts");
});

Deno.test("an error outside of tests, a crash, or more failures than chance gives, have no second chance", async () => {
  const uncaught = await printed(FINE + WRONG, 'throw new Error("module");');
  assertEquals(secondChances(uncaught.text, countTests(uncaught.text, uncaught.code)), []);
  const many = await printed(WRONG.repeat(5).replaceAll(/a => b/g, () => crypto.randomUUID()));
  assertEquals(countTests(many.text, many.code).failed, 5);
  assertEquals(secondChances(many.text, countTests(many.text, many.code)), []);
  assertEquals(secondChances("error: Type checking failed.\n", outcome(0, 1)), []);
  assertEquals(failedLines(many.text, countTests(many.text, many.code)).length, 5);
  assertEquals(failedLines("error: Type checking failed.\n", outcome(0, 1)).length, 1);
});

Deno.test("a test that fails again has failed, and a test that passes alone has passed", () => {
  assertEquals(afterSecondChance(outcome(10, 2, 1), outcome(4, 0)), outcome(12, 0, 1));
  assertEquals(afterSecondChance(outcome(10, 2, 1), outcome(3, 1)), outcome(11, 1, 1));
  // Another one of the same file.
  assertEquals(afterSecondChance(outcome(10, 1), outcome(0, 2)), outcome(10, 2));
});
