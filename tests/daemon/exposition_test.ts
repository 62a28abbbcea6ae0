import { assert, assertEquals } from "@std/assert";
import { Counter, Histogram, writeGauge } from "../../lib/daemon/exposition.ts";
import { property } from "../cni/random.ts";
import { parseExposition, valueOf } from "./prometheus_text.ts";

const HITS = { name: "hits_total", help: "Hits.\nOf \\ all.", labels: ["who", "how"] } as const;

/** Characters that label values and help texts have to escape. */
const ODD = ["\\", '"', "\n", "\\n", "\r", "{", "}", ",", "=", " ", "#", "\u2028", "ä", "💡", "\0", "a", ""];

property("whatever stands in labels comes out of the text as it went in", (random) => {
  const value = () => random.list(6, () => random.one(ODD)).join("");
  const counter = new Counter({ ...HITS, help: value() });
  const counts = new Map<string, number>();
  for (const labels of random.list(8, () => ({ who: value(), how: value() }))) {
    counter.add(labels, 0);
    const key = JSON.stringify([labels.who, labels.how]);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const family = parseExposition(counter.write()).get("hits_total");
  assertEquals(family?.help, counter.metric.help);
  const read = family?.samples.map(({ labels, value }) =>
    [JSON.stringify([labels.get("who"), labels.get("how")]), value] as const
  );
  assertEquals(new Map(read), counts);
}, 3_000);

Deno.test("the text has the format of Prometheus, in a stable order", () => {
  const counter = new Counter(HITS);
  counter.add({ who: "b", how: "y" }, 0);
  counter.add({ who: "a", how: "z" }, 0);
  counter.add({ who: "b", how: "y" }, 0, 2);
  const histogram = new Histogram({ name: "took_seconds", help: "Time.", labels: [] }, [0.1, 1]);
  for (const value of [0.1, 0.25, 0.5, 7]) histogram.observe({}, value, 0);
  const gauge = writeGauge({ name: "heat", help: "Now.", labels: [] }, [{ labels: {}, value: -Infinity }]);
  assertEquals(
    counter.write() + histogram.write() + gauge,
    [
      "# HELP hits_total Hits.\\nOf \\\\ all.",
      "# TYPE hits_total counter",
      'hits_total{who="a",how="z"} 1',
      'hits_total{who="b",how="y"} 3',
      "# HELP took_seconds Time.",
      "# TYPE took_seconds histogram",
      'took_seconds_bucket{le="0.1"} 1',
      'took_seconds_bucket{le="1"} 3',
      'took_seconds_bucket{le="+Inf"} 4',
      "took_seconds_sum 7.85",
      "took_seconds_count 4",
      "# HELP heat Now.",
      "# TYPE heat gauge",
      "heat -Inf",
      "",
    ].join("\n"),
  );
});

Deno.test("a counter without labels begins with 0", () => {
  const counter = new Counter({ name: "n_total", help: "N.", labels: [] });
  assertEquals(valueOf(parseExposition(counter.write()), "n_total"), 0);
});

Deno.test("there are at most 1,001 series, and no event is lost", () => {
  const counter = new Counter({ name: "n_total", help: "N.", labels: ["who"] });
  for (let index = 0; index < 5_000; index++) counter.add({ who: `w${index}` }, index);
  const families = parseExposition(counter.write());
  const samples = families.get("n_total")?.samples ?? [];
  assertEquals(samples.length, 1_001);
  assertEquals(samples.reduce((sum, { value }) => sum + value, 0), 5_000);
  assertEquals(valueOf(families, "n_total", { who: "other" }), 4_000);
  counter.drop(({ who }, touchedAt) => who !== "other" && touchedAt < 990);
  assertEquals(parseExposition(counter.write()).get("n_total")?.samples.length, 11);
  counter.add({ who: "new" }, 5_000);
  assert(counter.write().includes('who="new"'));
});
