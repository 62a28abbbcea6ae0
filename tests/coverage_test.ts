import { assertEquals } from "@std/assert";
import { coverageReport, linesByFolder } from "./coverage.ts";

Deno.test("lines are summed up by folder, and a folder under the least percentage is told", () => {
  const lcov = [
    "SF:/src/lib/spec/a.ts\nDA:1,1\nLH:30\nLF:40\nend_of_record\n",
    "SF:/src/lib/spec/b.ts\nLH:60\nLF:60\nend_of_record\n",
    "SF:/src/lib/plugin/c.ts\nLH:1\nLF:1\nend_of_record\n",
    "SF:/src/tests/spec/d_test.ts\nLH:0\nLF:9\nend_of_record\n",
  ].join("");
  const folders = ["lib/spec", "lib/plugin", "lib/network"];
  const sums = linesByFolder(lcov, folders);
  assertEquals(sums, { "lib/spec": { found: 100, hit: 90 }, "lib/plugin": { found: 1, hit: 1 } });
  assertEquals(coverageReport(sums, folders, 95), {
    lines: ["lib/spec 90.0 %", "lib/plugin 100.0 %", "lib/network 0.0 %"],
    tooLow: ["lib/spec", "lib/network"],
  });
});
