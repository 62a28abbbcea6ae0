import { oneLine } from "../host/log.ts";

const FIELD_WIDTH = 8;

/** Returns names and their values, one on a line. A value may quote a plugin, and stays on its line. */
export function fieldLines(fields: readonly (readonly string[])[]): string {
  return fields.map(([name = "", value = ""]) => `${name.padEnd(FIELD_WIDTH)} ${oneLine(value)}\n`).join("");
}

/** Returns columns under a line of headings, two spaces apart. A cell may quote a plugin, and stays on its line. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [headings, ...rows.map((row) => row.map(oneLine))];
  const widths = headings.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  const render = (line: readonly string[]) =>
    line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ").trimEnd();
  return lines.map((line) => `${render(line)}\n`).join("");
}
