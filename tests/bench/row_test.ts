import { assertEquals } from "@std/assert";
import { formatFigure, type Goal, rowOf, titleOf } from "./row.ts";

const GOAL: Goal = { name: "set-up", against: "a start", unit: "times", goal: 1.3 };

Deno.test("a figure up to the goal meets it, and a larger one misses it", () => {
  const verdicts = [0.2, 1.3, 1.31].map((figure) => rowOf(GOAL, figure, false).verdict);
  assertEquals(verdicts, ["met", "met", "missed"]);
});

Deno.test("a row without a goal has no verdict", () => {
  assertEquals(rowOf({ ...GOAL, goal: undefined }, 12, true).verdict, "no goal");
});

Deno.test("a row that needs a peer says so if there is none, and that it failed if there is one", () => {
  const goal = { ...GOAL, needsPeer: true };
  assertEquals(rowOf(goal, undefined, false).verdict, "no peer");
  assertEquals(rowOf(goal, undefined, true).verdict, "failed");
});

Deno.test("what could not be measured has failed, and has no figure", () => {
  for (const figure of [undefined, NaN, Infinity]) {
    const { verdict, figure: shown } = rowOf(GOAL, figure, false);
    assertEquals({ verdict, shown }, { verdict: "failed", shown: undefined });
  }
});

Deno.test("a row keeps what it is about", () => {
  assertEquals(rowOf(GOAL, 1, false), { ...GOAL, goal: 1.3, figure: 1, verdict: "met" });
  assertEquals(titleOf(GOAL), "set-up, against a start");
});

Deno.test("a figure has as many digits as count", () => {
  assertEquals([formatFigure(0.254, "times"), formatFigure(12, "times")], ["0.25 x", "12.00 x"]);
  const times = [-0.31, 9.94, 99.5, 1234.5].map((figure) => formatFigure(figure, "ms"));
  assertEquals(times, ["-0.3 ms", "9.9 ms", "99.5 ms", "1235 ms"]);
  assertEquals(formatFigure(38.25, "MB"), "38.3 MB");
});
