import { assertEquals } from "@std/assert";
import { chart } from "./chart.ts";
import { reportJson, reportTable } from "./report.ts";
import type { Row } from "./row.ts";

const ROWS: readonly Row[] = [
  { name: "set-up", against: "a start", unit: "times", figure: 1.5, goal: 1.3, verdict: "missed" },
  { name: "list", against: "nothing", unit: "ms", figure: 250, goal: 1_000, verdict: "met" },
  {
    name: "tear-down",
    against: `"A" & <B>'s\x07`,
    unit: "times",
    figure: 0.75,
    goal: undefined,
    verdict: "no goal",
  },
  { name: "check", against: "the peer", unit: "times", figure: undefined, goal: 1, verdict: "no peer" },
];

Deno.test("the table has a line for each row, in columns", () => {
  assertEquals(reportTable(ROWS.toSpliced(2, 1)).split("\n"), [
    "WORK    AGAINST   FIGURE  GOAL",
    "set-up  a start   1.50 x  <= 1.30 x   missed",
    "list    nothing   250 ms  <= 1000 ms  met",
    "check   the peer  -       <= 1.00 x   no peer",
    "",
  ]);
});

Deno.test("the JSON has a member for each thing that is known of a row, and null for what is not", () => {
  const { rows } = JSON.parse(reportJson(ROWS));
  assertEquals(rows.length, ROWS.length);
  assertEquals(rows[0], { ...ROWS[0], met: false });
  assertEquals(rows[2].goal, null);
  assertEquals(rows[3], { ...ROWS[3], figure: null, met: null });
});

/** The elements of a document, each as its name and attributes; throws if one is not closed, or a text not escaped. */
function elementsIn(
  xml: string,
): readonly { readonly name: string; readonly attributes: ReadonlyMap<string, string> }[] {
  const text = /^(?:[^<&]|&(?:amp|lt|gt|quot|apos);)*/;
  const tag = /^<(\/?)([a-z]+)((?: [a-z0-9-]+="(?:[^"<&]|&(?:amp|lt|gt|quot|apos);)*")*)(\/?)>/;
  const [open, elements]: [string[], { name: string; attributes: Map<string, string> }[]] = [[], []];
  for (let rest = xml; rest !== "";) {
    rest = rest.slice(text.exec(rest)?.[0].length);
    if (rest === "") break;
    const [whole, closes, name = "", attributes = "", isEmpty] = tag.exec(rest) ?? [];
    if (whole === undefined) throw new Error(`Cannot read the document at ${rest.slice(0, 40)}`);
    rest = rest.slice(whole.length);
    if (closes) assertEquals(open.pop(), name);
    else {
      const pairs = [...attributes.matchAll(/([a-z0-9-]+)="([^"]*)"/g)];
      elements.push({ name, attributes: new Map(pairs.map(([, key = "", value = ""]) => [key, value])) });
      if (!isEmpty) open.push(name);
    }
  }
  assertEquals(open, []);
  return elements;
}

Deno.test("the picture is well-formed, with a bar for each ratio and a line for each goal", () => {
  const elements = elementsIn(chart(ROWS));
  const ofClass = (name: string) => elements.filter(({ attributes }) => attributes.get("class") === name);
  assertEquals(elements[0]?.name, "svg");
  const [missed, other] = ofClass("bar").map(({ attributes }) => Number(attributes.get("width")));
  assertEquals(ofClass("bar").length, 2);
  assertEquals(missed, 2 * (other ?? NaN));
  assertEquals(ofClass("goal").length, 1);
});

Deno.test("the line of a goal is where a bar with that figure ends", () => {
  const [row] = ROWS;
  if (row === undefined) throw new Error("there is no row");
  const elements = elementsIn(chart([{ ...row, figure: 1.3 }]));
  const bar = elements.find(({ attributes }) => attributes.get("class") === "bar")?.attributes;
  const line = elements.find(({ attributes }) => attributes.get("class") === "goal")?.attributes;
  assertEquals(Number(bar?.get("x")) + Number(bar?.get("width")), Number(line?.get("x1")));
});

Deno.test("names in the picture are escaped, and what XML cannot hold is left out", () => {
  const [line] = chart(ROWS).split("\n").filter((line) => line.includes("tear-down"));
  assertEquals(/>(.*)</.exec(line ?? "")?.[1], "tear-down, against &quot;A&quot; &amp; &lt;B&gt;&apos;s");
});

Deno.test("a picture without a ratio is empty, and still one", () => {
  assertEquals(elementsIn(chart([])).map(({ name }) => name), ["svg", "rect"]);
});
