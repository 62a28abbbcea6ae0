import { CniError, isCniError } from "../cni/error.ts";
import { printJson } from "../cni/json.ts";
import { statOf } from "../host/file.ts";
import { countsOf, toGithub, toText, wrap } from "../lint/formats.ts";
import { type Finding, LINT_FORMATS } from "../lint/finding.ts";
import { type AskPlugin, gatherAnswers, gatherFiles } from "../lint/gather.ts";
import { lint } from "../lint/lint.ts";
import { ruleNamed, RULES } from "../lint/rules.ts";
import { toSarif } from "../lint/sarif.ts";
import { withSignals } from "../plugin/signals.ts";
import { DEFAULTS } from "../runtime/options.ts";
import type { Podwire } from "../runtime/podwire.ts";
import type { CommandInput } from "./command.ts";
import { openPodwire } from "./open.ts";
import { runtimeOptions } from "./settings.ts";
import { table } from "./table.ts";
import { VERSION } from "./version.ts";

/** `podwire lint [FILE|DIR]...` */
export async function lintCommand(input: CommandInput): Promise<number> {
  const { io } = input;
  const format = formatOf(input);
  const explained = input.value("explain");
  if (explained !== undefined) return explain(input, explained);
  if (input.flag("rules")) return listRules(input);
  const exclude = input.list("exclude").map((name) => ruleNamed(name, "--exclude").name);
  const options = runtimeOptions(input);
  const paths = input.operands.length > 0 ? input.operands : await configDirectory(options.confDir);
  const { files, findings } = await withSignals(io, async (signal) => {
    const files = await gatherFiles(paths, { allowUnsafeFiles: options.allowUnsafeFiles ?? false, signal });
    const answerOf = input.flag("no-plugins")
      ? () => undefined
      : await gatherAnswers(files, asking(openPodwire(input)), signal);
    return { files, findings: lint({ files, answerOf }, exclude) };
  });
  print(input, format, findings, files.length);
  const counted = input.flag("strict") ? ["error", "warning"] : ["error"];
  return findings.some(({ severity }) => counted.includes(severity)) ? 1 : 0;
}

/** A directory that is not named need not exist: then there are no networks. */
async function configDirectory(confDir: string | undefined): Promise<readonly string[]> {
  if (confDir !== undefined) return [confDir];
  return await statOf(DEFAULTS.confDir) === undefined ? [] : [DEFAULTS.confDir];
}

function asking(podwire: Podwire): AskPlugin {
  return async (type, config, signal) => {
    let isBuiltin = false;
    try {
      isBuiltin = await podwire.pluginPath(type, { config, signal }) === undefined;
      return { isBuiltin, versions: await podwire.pluginVersions(type, { config, signal }) };
    } catch (error) {
      if (!isCniError(error) || signal?.aborted) throw error;
      return { isBuiltin, error };
    }
  };
}

function formatOf(input: CommandInput): typeof LINT_FORMATS[number] {
  const text = input.value("format") ?? (input.flag("json") ? "json" : "text");
  const format = LINT_FORMATS.find((known) => known === text);
  if (format === undefined) {
    throw new CniError("usage", `--format: "${text}" is not one of ${LINT_FORMATS.join(", ")}`);
  }
  return format;
}

function print(
  { io, ...input }: CommandInput,
  format: typeof LINT_FORMATS[number],
  findings: readonly Finding[],
  files: number,
): void {
  if (format === "json") return io.write(`${JSON.stringify(findings, null, 2)}\n`);
  if (format === "sarif") return io.write(`${printJson(toSarif(findings, VERSION), 2)}\n`);
  if (format === "github") return io.write(toGithub(findings));
  const color = io.stdoutIsTerminal && !input.flag("no-color") && !io.env("NO_COLOR");
  io.writeStyled(toText(findings, { columns: io.columns, color }));
  io.writeError(`${countsOf(findings, files)}\n`);
}

function listRules({ io, ...input }: CommandInput): number {
  if (input.flag("json")) {
    const rules = RULES.map(({ name, severity, summary, explanation }) => ({
      name,
      severity,
      summary,
      explanation,
    }));
    io.write(`${JSON.stringify(rules, null, 2)}\n`);
  } else {io.write(
      table(
        ["RULE", "SEVERITY", "FINDS"],
        RULES.map(({ name, severity, summary }) => [name, severity, summary]),
      ),
    );}
  return 0;
}

function explain({ io, ...input }: CommandInput, text: string): number {
  const { name, severity, summary, explanation } = ruleNamed(text, "--explain");
  if (input.flag("json")) {
    io.write(`${JSON.stringify({ name, severity, summary, explanation }, null, 2)}\n`);
    return 0;
  }
  const width = io.columns ?? 100;
  io.write(
    `${name} (${severity}): ${summary}\n\n${
      wrap(explanation, width).map((line) => line.trimStart()).join("\n")
    }\n`,
  );
  return 0;
}
