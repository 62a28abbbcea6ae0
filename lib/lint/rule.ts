import type { CniError } from "../cni/error.ts";
import type { JsonPath } from "../cni/json.ts";
import type { PluginVersions } from "../plugin/versions.ts";
import type { Finding, Severity } from "./finding.ts";
import type { NetworkFile, PlacedPlugin, ReadText } from "./network_file.ts";

/** What runs for a plugin type and what it answered to VERSION, or why there is no answer. */
export interface PluginAnswer {
  /** Whether a built-in plugin runs. */
  readonly isBuiltin: boolean;
  readonly versions?: PluginVersions | undefined;
  readonly error?: CniError | undefined;
}

/** What is looked at: files that are used together. */
export interface LintSubject {
  readonly files: readonly NetworkFile[];
  /** Undefined if plugins are not looked for. */
  readonly answerOf: (type: string, config: PlacedPlugin["json"]) => PluginAnswer | undefined;
}

/** What a rule has found. */
export type Problem = Pick<Finding, "file" | "line" | "column" | "message"> & {
  readonly suggestion?: string | undefined;
  /** @default {that of the rule} */
  readonly severity?: Severity | undefined;
};

/** One rule. */
export interface Rule {
  /** In kebab case. It stays the same: people write it into scripts and files. */
  readonly name: string;
  readonly severity: Severity;
  /** What it finds, in one line. */
  readonly summary: string;
  /** Why that is bad, and what to do. */
  readonly explanation: string;
  readonly check: (subject: LintSubject) => Iterable<Problem>;
}

/** What a problem can say beside its message. */
export type ProblemOptions = Pick<Problem, "suggestion" | "severity">;

/** A problem with the value at a path; if there is none, with what should hold it. */
export function problemAt(
  { file, document }: ReadText,
  path: JsonPath,
  message: string,
  options: ProblemOptions = {},
): Problem {
  const { line = 1, column = 1 } = document.fault(path, message).context;
  return { file, line, column, message, ...options };
}

/** A problem with a value of a plugin. */
export function problemIn(
  plugin: PlacedPlugin,
  path: JsonPath,
  message: string,
  options: ProblemOptions = {},
): Problem {
  return problemAt(plugin.source, [...plugin.path, ...path], message, options);
}

/** A problem with a whole file. */
export function problemOf(
  { file }: Pick<NetworkFile, "file">,
  message: string,
  options: ProblemOptions = {},
): Problem {
  return { file, line: 1, column: 1, message, ...options };
}

/** The problem that an error of a reader describes. */
export function problemOfError(
  { file }: Pick<NetworkFile, "file">,
  error: CniError,
  options: ProblemOptions = {},
): Problem {
  const { file: at = file, line = 1, column = 1, hint, details } = error.context;
  const message = details === undefined ? error.msg : `${error.msg}: ${details}`;
  return { file: at, line, column, message, ...options, suggestion: options.suggestion ?? hint };
}

/** A rule that looks at one plugin after another. */
export function eachPlugin(
  check: (plugin: PlacedPlugin, at: number, file: NetworkFile) => Iterable<Problem>,
): Rule["check"] {
  return function* ({ files }) {
    for (const file of files) {
      for (const [at, plugin] of file.plugins.entries()) yield* check(plugin, at, file);
    }
  };
}
