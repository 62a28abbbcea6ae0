// The short form of `./denow task storm`.
import { assert, assertEquals } from "@std/assert";
import { SEED_VARIABLE, seedFromEnvironment } from "../cni/random.ts";
import { type Component, need } from "./need.ts";
import { storm } from "./storm.ts";
import { OPERATION_KINDS } from "./storm_churn.ts";
import { SECOND } from "./storm_networks.ts";
import type { StormOptions } from "./storm_report.ts";
import { tables } from "./storm_table.ts";
import { Timelines } from "./storm_timeline.ts";

function stormTest(name: string, needs: readonly Component[], options: Omit<StormOptions, "seed">): void {
  Deno.test({
    name,
    ...need("root", "ip", "iptables", ...needs),
    fn: async () => {
      const seed = seedFromEnvironment() ?? Date.now() % 1_000_000;
      const report = await storm({ ...options, seed });
      const summary = `${SEED_VARIABLE}=${seed}\n${tables(report)}`;
      assertEquals(
        { violations: report.violations, left: report.left },
        { violations: [], left: [] },
        summary,
      );
      // A storm that changed nothing would prove nothing.
      assertEquals([...report.operations.keys()].sort(), [...OPERATION_KINDS].sort(), summary);
      assert(report.reloads > 0, summary);
      const attached = report.outcomes.filter(({ refused }) => refused === undefined);
      assertEquals(report.outcomes.length, options.pods, summary);
      assert(attached.length > options.pods / 3 && attached.some(({ changed }) => changed), summary);
    },
  });
}

stormTest(
  "F25 F28 F36 F78 pods with the built-in plugins come and go while their configuration changes",
  [],
  { plugins: "built-in", pods: 32 },
);

stormTest(
  "F25 F28 F36 F78 pods with the reference plugins come and go while their configuration changes",
  ["cni-1.9.1"],
  { plugins: "1.9.1", pods: 20 },
);

Deno.test("a storm's timeline has the last good version in effect, and nothing of what is gone", () => {
  const timelines = new Timelines();
  const versions = () =>
    timelines.within("blue", performance.now(), performance.now()).map((entry) => entry.version);
  timelines.file("blue", { version: 1 });
  timelines.file("blue", "bad");
  assertEquals(versions().at(-1), 1);
  timelines.second("blue", true);
  assertEquals(versions().at(-1), 1);
  timelines.file("blue", "gone");
  assertEquals(versions().at(-1), SECOND);
  timelines.file("blue", "bad");
  assertEquals(versions().at(-1), SECOND);
  timelines.second("blue", false);
  assertEquals(versions().at(-1), undefined);
  timelines.folder("blue", "marker");
  timelines.file("blue", { version: 2 });
  const [entry] = timelines.within("blue", performance.now(), performance.now());
  assertEquals({ version: entry?.version, folder: entry?.folder, isBad: entry?.isBad }, {
    version: 2,
    folder: true,
    isBad: false,
  });
});
