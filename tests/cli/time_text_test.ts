import { assertEquals } from "@std/assert";
import { ageOf, nextTryOf } from "../../lib/cli/time_text.ts";

const NOW = new Date("2026-03-01T12:00:00Z");
const at = (seconds: number) => new Date(NOW.getTime() + seconds * 1000).toISOString();
const HOUR = 3_600;

Deno.test("an age is shown in its largest unit, and is never negative", () => {
  const ages = [
    0,
    1.9,
    59,
    60,
    119,
    59 * 60 + 59,
    HOUR,
    2 * HOUR,
    47 * HOUR,
    48 * HOUR,
    100 * 24 * HOUR,
    -HOUR,
  ];
  assertEquals(ages.map((seconds) => ageOf(at(-seconds), NOW)), [
    "0s",
    "1s",
    "59s",
    "1m",
    "1m",
    "59m",
    "60m",
    "2h",
    "47h",
    "2d",
    "100d",
    "0s",
  ]);
  assertEquals(ageOf("yesterday", NOW), "?");
});

Deno.test("the next retry is in some time or due; without a failure there is none", () => {
  assertEquals([0.2, 12, 299.5, 0, -5, 301, 9 * HOUR].map((seconds) => nextTryOf(1, at(seconds), NOW)), [
    "in 1s",
    "in 12s",
    "in 5m",
    "due",
    "due",
    "due",
    "due",
  ]);
  assertEquals([nextTryOf(0, undefined, NOW), nextTryOf(2, undefined, NOW), nextTryOf(2, "soon", NOW)], [
    "-",
    "due",
    "due",
  ]);
});
