/** How bad a finding is: an `error` keeps containers from the network, a `warning` probably does not do what was meant, a `note` is worth to know. */
export const SEVERITIES = ["error", "warning", "note"] as const;

/** One of {@linkcode SEVERITIES}. */
export type Severity = typeof SEVERITIES[number];

/** Something that is wrong, or may be, with a configuration. */
export interface Finding {
  /** The file, as it was named. */
  readonly file: string;
  /** One-based; 1 if it is about the whole file. */
  readonly line: number;
  /** One-based, in characters; 1 if it is about the whole file. */
  readonly column: number;
  /** The name of the rule, which never changes its meaning. */
  readonly rule: string;
  readonly severity: Severity;
  /** One sentence, without a full stop. */
  readonly message: string;
  /** What to do about it. */
  readonly suggestion?: string | undefined;
}

/** Orders findings by file, then by place, then by rule. */
export function compareFindings(a: Finding, b: Finding): number {
  if (a.file !== b.file) return a.file < b.file ? -1 : 1;
  return a.line - b.line || a.column - b.column || (a.rule < b.rule ? -1 : a.rule > b.rule ? 1 : 0);
}

/** How findings can be printed. */
export const LINT_FORMATS = ["text", "json", "sarif", "github"] as const;
