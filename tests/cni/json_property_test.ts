import { assertEquals } from "@std/assert";
import { listFromPluginConfig, parseConfigList, requestConfig } from "../../lib/cni/config.ts";
import { CniError } from "../../lib/cni/error.ts";
import {
  formatPath,
  type Json,
  type JsonPath,
  parseJson,
  positionOf,
  printJson,
} from "../../lib/cni/json.ts";
import { printSorted } from "../../lib/cni/libcni_text.ts";
import { property, type Random } from "./random.ts";

const NUMBERS = [
  "0",
  "-0",
  "1",
  "-17",
  "1.0",
  "0.5e-3",
  "1E2",
  "1e400",
  "9007199254740993",
  "12345678901234567890",
];
const TEXTS = [
  "",
  "a",
  "é😀",
  "\ud800",
  "\u2028<>&",
  'q"\\\n\0',
  "__proto__",
  "constructor",
  "toJSON",
  "rawJSON",
];
const SPACES = ["", "", "", " ", "\n", "\r\n", "\t \n"];

/** A JSON text with random white space, the same text without it, and the position of each value. */
class Sample {
  text = "";
  compact = "";
  readonly places: { path: JsonPath; line: number; column: number }[] = [];

  constructor(readonly random: Random) {
    this.value([], 4);
    this.space();
  }

  token(text: string): void {
    this.text += text;
    this.compact += text;
  }

  space(): void {
    this.text += this.random.one(SPACES);
  }

  value(path: JsonPath, depth: number): void {
    this.space();
    const lines = this.text.split("\n");
    this.places.push({ path, line: lines.length, column: [...lines.at(-1)!].length + 1 });
    const kind = this.random.below(depth > 0 ? 7 : 4);
    if (kind === 0) this.token(this.random.one(["null", "true", "false"]));
    else if (kind === 1) this.token(this.random.one(NUMBERS));
    else if (kind < 4) this.token(JSON.stringify(this.random.one(TEXTS)));
    else if (kind === 4) this.array(path, depth - 1);
    else this.object(path, depth - 1);
  }

  array(path: JsonPath, depth: number): void {
    this.token("[");
    for (let index = 0, length = this.random.below(5); index < length; index++) {
      if (index > 0) this.token(",");
      this.value([...path, index], depth);
      this.space();
    }
    this.space();
    this.token("]");
  }

  object(path: JsonPath, depth: number): void {
    this.token("{");
    const keys = new Set(this.random.list(5, () => this.random.one(TEXTS)));
    for (const [index, key] of [...keys].entries()) {
      if (index > 0) this.token(",");
      this.space();
      this.token(JSON.stringify(key));
      this.space();
      this.token(":");
      this.value([...path, key], depth);
      this.space();
    }
    this.space();
    this.token("}");
  }
}

property("A86 a text that is read and printed is the same text without its white space", (random) => {
  const { text, compact } = new Sample(random);
  const printed = printJson(parseJson(text));
  assertEquals(printed, compact, text);
  assertEquals(printJson(parseJson(printed)), printed, text);
});

property("A20 positionOf() finds each value at its position", (random) => {
  const { text, places } = new Sample(random);
  const { path, line, column } = random.one(places);
  assertEquals(positionOf(text, path), { line, column }, text);
});

const NOISE = [..."{}[]\",:\\ \n\t0123456789.eE+-truefalsn/'\ufeff\u00a0"];

property("A12 accepts the same texts as JSON.parse, with the same values", (random) => {
  const { text } = new Sample(random);
  const at = random.below(text.length + 1);
  const spoiled = text.slice(0, at) + random.one(["", random.one(NOISE)]) + text.slice(at + random.below(2));
  const [ours, theirs] = [attempt(() => parseJson(spoiled)), attempt(() => JSON.parse(spoiled) as Json)];
  const label = JSON.stringify(spoiled);
  assertEquals("error" in ours, "error" in theirs, label);
  if ("error" in ours) {
    const { line = 0, column = 0, path } = (ours.error as CniError).context;
    const lines = spoiled.split(/\r\n|\n|\r/);
    assertEquals(line >= 1 && line <= lines.length, true, label);
    assertEquals(column >= 1 && column <= [...lines[line - 1]!].length + 1, true, label);
    assertEquals(typeof path, "string", label);
  } else if ("value" in theirs) {
    assertEquals(JSON.stringify(JSON.parse(printJson(ours.value))), JSON.stringify(theirs.value), label);
  }
});

property("A51 if an object has a key twice, the error has the position of the second one", (random) => {
  const before = random.list(3, (index) => `"before${index}":${new Sample(random).compact}`);
  const between = random.list(3, (index) => `"between${index}":${new Sample(random).compact}`);
  const key = JSON.stringify(random.one(TEXTS));
  const head = `{"x":[{${[...before, `${key}:1`, ...between].join(",")},\n`;
  const fault = attempt(() => parseJson(`${head}${key}:2}]}`, { duplicateKeys: "refused" }));
  const { line = 0, column, path } = ((fault as { error: unknown }).error as CniError).context;
  assertEquals({ line, column }, { line: head.split("\n").length, column: 1 }, head);
  assertEquals(path, formatPath(["x", 0, JSON.parse(key) as string]), head);
});

property("A18 A81 A82 a request keeps everything that the runtime does not own", (random) => {
  const kept = random.list(4, (index) => `"key${index}":${new Sample(random).compact}`);
  const owned = ['"prevResult":{}', '"runtimeConfig":1', '"cni.dev/x":[]'].filter(() => random.chance(50));
  const members = [...kept, ...owned].sort(() => random.below(3) - 1);
  const list = parseConfigList(
    `{"name":"web","plugins":[{"type":"a","capabilities":{"mac":true},${
      [...members, '"z":1.0'].join(",")
    }}]}`,
  );
  const prevResult = { cniVersion: "0.1.0" };
  const json = requestConfig(list, list.plugins[0]!, { prevResult, runtimeConfig: { mac: "x", ips: [] } });
  const { type, name, cniVersion, z: _, prevResult: previous, runtimeConfig, ...rest } = json;
  assertEquals({ type, name, cniVersion, previous, runtimeConfig }, {
    type: "a",
    name: "web",
    cniVersion: "0.1.0",
    previous: prevResult,
    runtimeConfig: {
      mac: "x",
    },
  });
  assertEquals(printJson(rest), `{${members.filter((member) => member.startsWith('"key')).join(",")}}`);
});

property(
  "A76 A86 a single plugin is in its list as it was written, and in what is read from its text",
  (random) => {
    const plugin = `{"type":"a","name":"web","x":${new Sample(random).compact}}`;
    const list = listFromPluginConfig(plugin);
    assertEquals(printSorted(list.plugins[0]!.json), printSorted(parseJson(plugin)));
    assertEquals(printSorted(parseConfigList(list.text).plugins[0]!.json), printSorted(parseJson(plugin)));
  },
);

function attempt<T>(call: () => T): { value: T } | { error: unknown } {
  try {
    return { value: call() };
  } catch (error) {
    if (!(error instanceof CniError) && !(error instanceof SyntaxError)) throw error;
    return { error };
  }
}
