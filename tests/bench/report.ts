import { table } from "../../lib/cli/table.ts";
import { formatFigure, type Row } from "./row.ts";

const HEADINGS = ["WORK", "AGAINST", "FIGURE", "GOAL", ""];

/** The rows for people. */
export function reportTable(rows: readonly Row[]): string {
  return table(
    HEADINGS,
    rows.map(({ name, against, figure, unit, goal, verdict }) => [
      name,
      against,
      figure === undefined ? "-" : formatFigure(figure, unit),
      goal === undefined ? "-" : `<= ${formatFigure(goal, unit)}`,
      verdict === "no goal" ? "" : verdict,
    ]),
  );
}

/** The rows for programs: a member that is not known is null. */
export function reportJson(rows: readonly Row[]): string {
  const shown = rows.map(({ name, figure, unit, goal, verdict, against }) => ({
    name,
    figure: figure ?? null,
    unit,
    goal: goal ?? null,
    met: verdict === "met" ? true : verdict === "missed" ? false : null,
    verdict,
    against,
  }));
  return `${JSON.stringify({ rows: shown }, null, 2)}\n`;
}
