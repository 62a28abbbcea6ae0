import { assert, assertEquals, assertThrows } from "@std/assert";
import { type Bench, measureRows, type Measures, selectRows } from "./bench.ts";
import { GOALS, type GroupName } from "./goals.ts";
import { parseOptions } from "./options.ts";
import { reportTable } from "./report.ts";
import { type Goal, titleOf } from "./row.ts";

const ALL: readonly Goal[] = Object.values(GOALS).flatMap((group) => Object.values(group));

/** Measures that give each wanted row the figure 1, and note what was wanted. */
function fakeMeasures(wantedKeys: Map<string, readonly string[]>, broken?: GroupName): Measures {
  const entries = Object.keys(GOALS).map((group) => [group, (_: Bench, wanted: ReadonlySet<string>) => {
    wantedKeys.set(group, [...wanted]);
    if (group === broken) return Promise.reject(new Error("no room"));
    return Promise.resolve(Object.fromEntries([...wanted].map((key) => [key, 1])));
  }]);
  return Object.fromEntries(entries);
}

function benchOf(said: string[] = []): Bench {
  return { rounds: 1, disk: "/disk", memory: "/memory", peer: undefined, say: (line) => said.push(line) };
}

Deno.test("each row has a title of its own, which is in the table", async () => {
  assertEquals(new Set(ALL.map(titleOf)).size, ALL.length);
  const rows = await measureRows(selectRows(/^/), fakeMeasures(new Map()), benchOf());
  const lines = reportTable(rows).split("\n");
  for (const { name, against } of ALL) {
    assert(lines.some((line) => line.startsWith(name) && line.includes(`  ${against}`)), name);
  }
  assertEquals(rows.length, ALL.length);
});

Deno.test("--rows selects rows by their title, without regard to case, and nothing else is measured", async () => {
  const wanted = new Map<string, readonly string[]>();
  const selected = selectRows(parseOptions(["--rows", "GET /METRICS|--version"]).rows);
  const rows = await measureRows(selected, fakeMeasures(wanted), benchOf());
  assertEquals(rows.map(({ name }) => name), ["podwire --version", "10,000 records: GET /metrics"]);
  assertEquals(Object.fromEntries(wanted), { programs: ["version"], tenThousand: ["metrics"] });
});

Deno.test("without a peer its rows are there without figures, and the others are measured", async () => {
  const wanted = new Map<string, readonly string[]>();
  const rows = await measureRows(selectRows(/^engine with a plugin/), fakeMeasures(wanted), benchOf());
  assertEquals(wanted.get("engine"), ["least1", "least8"]);
  assertEquals(Map.groupBy(rows, ({ verdict }) => verdict).get("no peer")?.length, 4);
});

Deno.test("a group that fails is reported, and does not stop the others", async () => {
  const said: string[] = [];
  const measures = fakeMeasures(new Map(), "programs");
  const rows = await measureRows(selectRows(/empty compiled program/), measures, benchOf(said));
  const verdicts = Map.groupBy(rows, ({ verdict }) => verdict);
  assertEquals(verdicts.get("failed")?.map(({ name }) => name), [
    "podwire add, one shot",
    "podwire --version",
  ]);
  assert(said.some((line) => line.startsWith("Cannot measure programs: Error: no room")), said.join("\n"));
  assert((verdicts.get("met")?.length ?? 0) > 5);
});

Deno.test("the flags of the bench are read", () => {
  const { help, rounds, json, svg } = parseOptions(["--rounds=7", "--json", "a.json", "--svg=b.svg"]);
  assertEquals({ help, rounds, json, svg }, { help: false, rounds: 7, json: "a.json", svg: "b.svg" });
  assert(parseOptions(["--help"]).help);
  assertEquals(parseOptions([]).rounds, 31);
});

Deno.test("a bad flag of the bench is an error that names it", () => {
  const bad = {
    "--round": "--round",
    "extra": "extra",
    "--rounds=0": '--rounds "0" is not a whole number from 1 to 10000',
    "--rounds=x": '--rounds "x" is not',
    "--rows=(": '--rows "(" is not a regular expression',
    "--json=": "--json needs the name of a file",
    "--svg=": "--svg needs the name of a file",
    "--json": "--json",
  };
  for (const [arg, words] of Object.entries(bad)) {
    const { message } = assertThrows(() => parseOptions([arg]));
    assert(message.startsWith("Cannot run the bench: ") && message.includes(words), message);
  }
});
