// A strict reader of the Prometheus text format, version 0.0.4, written from its description and not from the writer.

/** One line with a number. */
export interface ParsedSample {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly value: number;
}

/** One metric. */
export interface ParsedFamily {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly samples: readonly ParsedSample[];
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*/;
const LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*/;

/** Parses the text. Throws for an invalid line, and for a family that is split or repeated. */
export function parseExposition(text: string): ReadonlyMap<string, ParsedFamily> {
  if (text !== "" && !text.endsWith("\n")) throw new Error("the last line has no end");
  const families = new Map<string, { name: string; type: string; help: string; samples: ParsedSample[] }>();
  let current: { name: string; type: string; help: string; samples: ParsedSample[] } | undefined;
  const seen = new Set<string>();
  for (const line of text.split("\n").slice(0, -1)) {
    const [, word, name = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.*)$/s.exec(line) ?? [];
    if (word === "HELP") {
      if (families.has(name)) throw new Error(`${name} comes twice`);
      current = { name, type: "", help: unescaped(rest, ""), samples: [] };
      families.set(name, current);
      continue;
    }
    if (word === "TYPE") {
      if (current?.name !== name || current.type !== "") throw new Error(`TYPE out of place: ${line}`);
      current.type = rest;
      continue;
    }
    const sample = parseSample(line);
    const base = sample.name.replace(/_(bucket|sum|count)$/, "");
    const family = current?.type === "histogram" ? base : sample.name;
    if (current === undefined || family !== current.name) throw new Error(`out of place: ${line}`);
    const key = JSON.stringify([sample.name, [...sample.labels].sort()]);
    if (seen.has(key)) throw new Error(`twice: ${line}`);
    seen.add(key);
    current.samples.push(sample);
  }
  return families;
}

function parseSample(line: string): ParsedSample {
  const name = NAME.exec(line)?.[0];
  if (name === undefined) throw new Error(`no name: ${line}`);
  let rest = line.slice(name.length);
  const labels = new Map<string, string>();
  if (rest.startsWith("{")) {
    rest = rest.slice(1);
    while (!rest.startsWith("}")) {
      const label = LABEL.exec(rest)?.[0];
      if (label === undefined || labels.has(label)) throw new Error(`bad label: ${line}`);
      const quoted = /^="((?:[^"\\]|\\[^])*)"/.exec(rest.slice(label.length));
      if (quoted === null) throw new Error(`bad value of ${label}: ${line}`);
      labels.set(label, unescaped(quoted[1] ?? "", '"'));
      rest = rest.slice(label.length + quoted[0].length);
      if (rest.startsWith(",")) rest = rest.slice(1);
      else if (!rest.startsWith("}")) throw new Error(`no comma: ${line}`);
    }
    rest = rest.slice(1);
  }
  const number = /^ ([+-]?Inf|NaN|[+-]?[0-9.]+(?:e[+-]?\d+)?)$/.exec(rest)?.[1];
  if (number === undefined) throw new Error(`no number: ${line}`);
  return { name, labels, value: Number(number.replace("Inf", "Infinity")) };
}

function unescaped(text: string, quote: string): string {
  return text.replaceAll(/\\([^]?)/g, (whole, letter) => {
    if (letter === "n") return "\n";
    if (letter === "\\" || (letter === quote && quote !== "")) return letter;
    throw new Error(`bad escape ${whole}`);
  });
}

/** Returns the number of that name with exactly these labels. */
export function valueOf(
  families: ReadonlyMap<string, ParsedFamily>,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  const family = families.get(name) ?? families.get(name.replace(/_(bucket|sum|count)$/, ""));
  const wanted = Object.entries(labels);
  return family?.samples.find((sample) =>
    sample.name === name && sample.labels.size === wanted.length &&
    wanted.every(([label, value]) => sample.labels.get(label) === value)
  )?.value;
}
