import { assertEquals, assertThrows } from "@std/assert";
import { median, medianDifference, medianRatio } from "./median.ts";

Deno.test("the median is the middle value, or the mean of the two middle ones", () => {
  assertEquals([[3], [5, 1, 3], [4, 1, 3, 100], []].map(median), [3, 3, 3.5, NaN]);
});

Deno.test("the order of numbers, not of their texts, decides the median", () => {
  assertEquals(median([10, 9, 100]), 10);
});

Deno.test("ratios and differences are those of the same round", () => {
  const [values, others] = [[10, 200, 30], [5, 100, 10]];
  assertEquals(medianRatio(values, others), 2);
  assertEquals(medianDifference(values, others), 20);
});

Deno.test("rounds that have no pair are refused", () => {
  assertThrows(() => medianRatio([1, 2], [1]), RangeError, "Cannot pair 2 rounds with 1");
  assertThrows(() => medianDifference([], [1]), RangeError);
});
