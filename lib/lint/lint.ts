import { isArray } from "../cni/json.ts";
import { compareFindings, type Finding } from "./finding.ts";
import { objectOf } from "./network_file.ts";
import type { LintSubject } from "./rule.ts";
import { RULES } from "./rules.ts";
import { LINT_EXCLUDES } from "./schema.ts";

/** Applies all rules but the excluded ones, and those that a file excludes for itself. Returns the findings in order. */
export function lint(subject: LintSubject, exclude: readonly string[] = []): readonly Finding[] {
  const ownExcludes = new Map(subject.files.map((file) => {
    const names = objectOf(file)?.[LINT_EXCLUDES];
    return [file.file, isArray(names) ? names : []] as const;
  }));
  const findings: Finding[] = [];
  for (const { name, severity, check } of RULES) {
    if (exclude.includes(name)) continue;
    for (const { suggestion, ...problem } of check(subject)) {
      if (ownExcludes.get(problem.file)?.includes(name)) continue;
      findings.push({
        file: problem.file,
        line: problem.line,
        column: problem.column,
        rule: name,
        severity: problem.severity ?? severity,
        message: problem.message,
        ...(suggestion === undefined ? {} : { suggestion }),
      });
    }
  }
  return findings.sort(compareFindings);
}
