import { formatFigure, type Row } from "./row.ts";

const WIDTH = 1_200;
/** Enough for the longest title. */
const LABELS = 760;
const BARS = 340;
const LINE = 24;
const BAR = 14;
const MARGIN = 16;
const COLOURS: Readonly<Record<string, string>> = { met: "#2e7d32", missed: "#c62828", "no goal": "#607d8b" };

/** The ratios as a picture in SVG: a bar for each row that has one, and a line across it where the goal is. */
export function chart(rows: readonly Row[]): string {
  const drawn = rows.flatMap((row) =>
    row.unit === "times" && row.figure !== undefined ? [{ ...row, figure: row.figure }] : []
  );
  const most = Math.max(1, ...drawn.flatMap(({ figure, goal = 0 }) => [figure, goal]));
  const height = 2 * MARGIN + LINE * drawn.length;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    ...drawn.flatMap((row, index) => bar(row, MARGIN + LINE * index, BARS / most)),
    "</svg>",
    "",
  ].join("\n");
}

function bar(
  { name, against, figure, goal, unit, verdict }: Row & { readonly figure: number },
  top: number,
  scale: number,
): readonly string[] {
  const at = (value: number) => (LABELS + value * scale).toFixed(1);
  const middle = top + BAR - 3;
  const title = escapeXml(`${name}, against ${against}`);
  return [
    `<text x="${LABELS - 8}" y="${middle}" text-anchor="end">${title}</text>`,
    `<rect class="bar" x="${LABELS}" y="${top}" width="${(figure * scale).toFixed(1)}" height="${BAR}" ` +
    `fill="${COLOURS[verdict] ?? "#607d8b"}"/>`,
    ...(goal === undefined ? [] : [
      `<line class="goal" x1="${at(goal)}" y1="${top - 3}" x2="${at(goal)}" y2="${top + BAR + 3}" ` +
      `stroke="#000000" stroke-width="2"/>`,
    ]),
    `<text x="${LABELS + BARS + 12}" y="${middle}">${escapeXml(formatFigure(figure, unit))}</text>`,
  ];
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&apos;",
};

function escapeXml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character] ?? character)
    // deno-lint-ignore no-control-regex -- XML has no way to write them
    .replaceAll(/[\x00-\x08\x0b\x0c\x0e-\x1f]/g, "");
}
