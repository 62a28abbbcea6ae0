/** The tables of what happened in a storm, in Markdown. */
import { type PodOutcome, REQUEST_KINDS, type StormReport } from "./storm_report.ts";

/** The value below which that share of the values lies. */
export function quantile(values: readonly number[], share: number): number | undefined {
  return values.toSorted((a, b) => a - b)[Math.max(Math.ceil(values.length * share) - 1, 0)];
}

export function tables(report: StormReport): string {
  const { options, violations, left } = report;
  const { plugins, pods, concurrency, seed } = options;
  const title = plugins === "built-in" ? "the built-in plugins" : `the reference plugins ${plugins}`;
  return [
    `## ${pods} pods, ${concurrency} at a time, ${title}, seed ${seed}`,
    podTable(report.outcomes),
    factTable(report),
    table(["what happened to the directory", "times"], [
      ...[...report.operations].sort(([a], [b]) => a < b ? -1 : 1),
      ["all", sum(report.operations.values())],
    ]),
    ...violations.map((violation) => `VIOLATION: ${violation}`),
    ...left.map((line) => `LEFT: ${line}`),
  ].join("\n\n") + "\n";
}

function podTable(outcomes: readonly PodOutcome[]): string {
  const head = ["request", "asked", "attached", "refused", "set-up ms", "check ms", "tear-down ms"];
  const row = (name: string, of: readonly PodOutcome[]) => {
    const attached = of.filter(({ refused }) => refused === undefined);
    return [
      name,
      of.length,
      attached.length,
      refusals(of),
      times(attached.map(({ setUpMs }) => setUpMs)),
      times(attached.flatMap(({ checkMs }) => checkMs ?? [])),
      times(attached.flatMap(({ tearDownMs }) => tearDownMs ?? [])),
    ];
  };
  const rows = REQUEST_KINDS.map((kind) => row(kind, outcomes.filter((outcome) => outcome.kind === kind)));
  return `${
    table(head, [...rows, row("all", outcomes)])
  }\n\nTimes: median / 95th percentile of those attached.`;
}

function refusals(outcomes: readonly PodOutcome[]): string {
  const kinds = Map.groupBy(outcomes.flatMap(({ refused }) => refused ?? []), (kind) => kind);
  return [...kinds].map(([kind, { length }]) => `${length} ${kind}`).join(", ") || "0";
}

function times(values: readonly number[]): string {
  if (values.length === 0) return "-";
  return [0.5, 0.95].map((share) => (quantile(values, share) ?? 0).toFixed(0)).join(" / ");
}

function factTable(report: StormReport): string {
  const { outcomes, operations, churnMs, violations, left } = report;
  const count = (which: (outcome: PodOutcome) => boolean | undefined) => outcomes.filter(which).length;
  const oldest = Math.max(0, ...outcomes.map(({ ageMs = 0 }) => ageMs));
  const rate = (sum(operations.values()) / (churnMs / 1000)).toFixed(1);
  return table(["figure", "value"], [
    ["duration", `${(report.elapsedMs / 1000).toFixed(0)} s`],
    ["changes of the directory", `${sum(operations.values())}, ${rate} a second`],
    ["times that the catalogue changed", report.reloads],
    ["of these with a file whose last good version stood in", report.stale],
    ["set-ups with a configuration that had just been replaced", count(({ ageMs = 0 }) => ageMs > 0)],
    ["the longest time since it had been", `${(oldest / 1000).toFixed(1)} s`],
    ["tear-downs with another configuration in the file, or none", count(({ changed }) => changed)],
    ["of these with the file gone", count(({ gone }) => gone)],
    ["ADD, CHECK and DEL that the marker saw", report.calls],
    ["attached to what was not asked for, or otherwise wrong", violations.length],
    ["left behind", left.length],
  ]);
}

function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cells = [head, ...rows.map((row) => row.map(String))];
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  const rule = line(widths.map((width) => "-".repeat(width)));
  return [line(cells[0] ?? []), rule, ...cells.slice(1).map(line)].join("\n");
}

function sum(values: Iterable<number>): number {
  return [...values].reduce((total, value) => total + value, 0);
}
