import { oneLine, withoutLongWords } from "../host/terminal_text.ts";
import type { Finding, Severity } from "./finding.ts";

/** How text is shown. */
export interface TextStyle {
  /** Where lines are broken; undefined if they are not, as programs read them. */
  readonly columns?: number | undefined;
  readonly color: boolean;
}

const COLORS: Readonly<Record<Severity, number>> = { error: 31, warning: 33, note: 36 };
const INDENT = "    ";
/** Narrower, words would stand one below another. */
const NARROWEST = 40;

/** Returns findings for people: the place, as compilers write it, the rule and the message, then what to do. */
export function toText(findings: readonly Finding[], style: TextStyle): string {
  const paint = (code: number, text: string) => style.color ? `\u001b[${code}m${text}\u001b[0m` : text;
  return findings.map(({ file, line, column, rule, severity, message, suggestion }) => {
    const place = oneLine(`${file}:${line}:${column}:`);
    const head = `${place} ${severity}[${rule}]: ${readable(message)}`;
    const [first = "", ...more] = wrap(head, style.columns);
    const painted = first.startsWith(place)
      ? `${paint(1, place)}${
        first.slice(place.length).replace(severity, (word) => paint(COLORS[severity], word))
      }`
      : first;
    const hint = suggestion === undefined
      ? []
      : wrap(`suggestion: ${readable(suggestion)}`, style.columns, INDENT);
    return [painted, ...more, ...hint.map((text) => paint(2, text))].map((text) => `${text}\n`).join("");
  }).join("");
}

/** Returns how many findings there are of each severity, as a sentence. */
export function countsOf(findings: readonly Finding[], files: number): string {
  const count = (severity: Severity) => findings.filter((one) => one.severity === severity).length;
  const counted = (number: number, word: string) => `${number} ${word}${number === 1 ? "" : "s"}`;
  const found = (["error", "warning", "note"] as const).map((severity) => counted(count(severity), severity));
  return `${counted(files, "file")}: ${found.join(", ")}`;
}

/**
 * Returns findings as commands of a workflow of GitHub, which shows them beside the lines.
 *
 * Source: GitHub Docs, "Workflow commands for GitHub Actions".
 */
export function toGithub(findings: readonly Finding[]): string {
  return findings.map(({ file, line, column, rule, severity, message, suggestion }) => {
    const fields = { file, line: String(line), col: String(column), title: `podwire lint: ${rule}` };
    const shown = Object.entries(fields).map(([key, value]) => `${key}=${escapedField(value)}`).join(",");
    const text = suggestion === undefined ? message : `${message} (${suggestion})`;
    return `::${severity === "note" ? "notice" : severity} ${shown}::${escapedText(text)}\n`;
  }).join("");
}

function escapedText(text: string): string {
  return text.replaceAll("%", "%25").replaceAll("\r", "%0D").replaceAll("\n", "%0A");
}

function escapedField(text: string): string {
  return escapedText(text).replaceAll(":", "%3A").replaceAll(",", "%2C");
}

function readable(text: string): string {
  return withoutLongWords(oneLine(text));
}

/** Breaks a text between words; a word that is too long stays whole. */
export function wrap(text: string, columns: number | undefined, indent = ""): readonly string[] {
  if (columns === undefined) return [`${indent}${text}`];
  const width = Math.max(columns, NARROWEST);
  const lines: string[] = [];
  let line = indent;
  let isEmpty = true;
  for (const word of text.split(" ")) {
    if (!isEmpty && [...line].length + 1 + [...word].length > width) {
      lines.push(line);
      [line, isEmpty] = [INDENT, true];
    }
    line += isEmpty ? word : ` ${word}`;
    isEmpty = false;
  }
  return [...lines, line];
}
