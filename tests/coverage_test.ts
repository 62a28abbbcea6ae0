import { assertEquals } from "@std/assert";
import { coverageReport, linesByFolder } from "./coverage.ts";

Deno.test("lines are summed up by folder, and a folder under the least percentage is reported", () => {
  const lcov = [
    "SF:/src/lib/cni/a.ts\nDA:1,1\nLH:30\nLF:40\nend_of_record\n",
    "SF:/src/lib/cni/b.ts\nLH:60\nLF:60\nend_of_record\n",
    "SF:/src/lib/plugin/c.ts\nLH:1\nLF:1\nend_of_record\n",
    "SF:/src/tests/cni/d_test.ts\nLH:0\nLF:9\nend_of_record\n",
  ].join("");
  const folders = ["lib/cni", "lib/plugin", "lib/state"];
  const sums = linesByFolder(lcov, folders);
  assertEquals(sums, { "lib/cni": { found: 100, hit: 90 }, "lib/plugin": { found: 1, hit: 1 } });
  assertEquals(coverageReport(sums, folders, 95), {
    lines: ["lib/cni 90.0 %", "lib/plugin 100.0 %", "lib/state 0.0 %"],
    tooLow: ["lib/cni", "lib/state"],
  });
});
