import { assertEquals } from "@std/assert";
import { closing, countTests } from "./run.ts";

Deno.test("the runner reads Deno's closing line", async (t) => {
  const cases: [text: string, code: number, counts: [number, number, number]][] = [
    ["ok | 4 passed (8 steps) | 0 failed (29ms)\n", 0, [4, 0, 0]],
    ["ok | 4 passed | 0 failed | 2 ignored (1 step) (29ms)\n", 0, [4, 0, 2]],
    ["FAILED | 6 passed (44 steps) | 2 failed (3 steps) (22s)\n\nerror: Test failed\n", 1, [6, 2, 0]],
    ["ok | 0 passed | 0 failed | 7 filtered out (4s)\n", 0, [0, 0, 0]],
    ["a test that prints\nok | 99 passed | 0 failed (1s)\nFAILED | 1 passed | 1 failed (2s)\n", 1, [1, 1, 0]],
  ];
  for (const [text, code, [passed, failed, skipped]] of cases) {
    await t.step(text.trim(), () => assertEquals(countTests(text, code), { passed, failed, skipped }));
  }
});

Deno.test("the runner counts a run without a closing line, or with a late crash, as a failure", () => {
  assertEquals(countTests("error: Type checking failed.\n", 1), { passed: 0, failed: 1, skipped: 0 });
  assertEquals(countTests("ok | 4 passed | 0 failed (29ms)\n", 1), { passed: 4, failed: 1, skipped: 0 });
});

Deno.test("the runner's last line adds up, and no test is no success", () => {
  const outcome = (passed: number, failed: number, skipped: number) => ({ passed, failed, skipped });
  assertEquals(closing([outcome(3, 0, 0), outcome(2, 0, 0)]), { line: "5 passed, 0 failed", code: 0 });
  assertEquals(closing([outcome(3, 0, 1), outcome(0, 1, 2)]), {
    line: "3 passed, 1 failed, 3 skipped",
    code: 1,
  });
  assertEquals(closing([outcome(0, 0, 4)]), { line: "0 passed, 0 failed, 4 skipped", code: 1 });
  assertEquals(closing([]), { line: "0 passed, 0 failed", code: 1 });
});
