import { join, resolve } from "@std/path";
import { CniError } from "../cni/error.ts";
import { type JsonObject, printJson } from "../cni/json.ts";
import { ensureDir, writeFileSynced } from "../host/file.ts";
import { type CommandInput, GLOBAL_OPTIONS, type OptionSpec } from "./command.ts";
import { NETWORKS } from "./oci_annotations.ts";
import { hookRules, LIMIT_OPTION, ruleOptions } from "./oci_rules.ts";
import { parseDuration } from "./settings.ts";

/** The stages of a container's life at which the hook is called. */
export const HOOK_STAGES = ["createRuntime", "poststop"] as const;

/** One of {@linkcode HOOK_STAGES}. */
export type HookStage = typeof HOOK_STAGES[number];

/** Options with a path, which is made absolute: it must not depend on where the runtime was started. */
const PATHS = ["conf-dir", "plugin-dir", "cache-dir", "state-dir", "netns-dir"];
/** Options that are only for this call, or that a runtime cannot use. */
const NOT_PASSED_ON = ["json", "no-color", "help", "version"];

/**
 * Returns the files of a `hooks.d` directory for Podman and CRI-O by their names: one for each stage, as each stage needs
 * other options. Both get the global options; createRuntime also gets what annotations are allowed, and poststop how
 * long it may take.
 *
 * Source: containers/common, oci-hooks(5), version 1.0.0.
 *
 * @throws {CniError} kind `usage` if the program is not known
 */
function hookFiles(input: CommandInput): Readonly<Record<string, JsonObject>> {
  const path = resolve(input.value("program") ?? input.io.program);
  if (input.value("program") === undefined && /\/deno[^/]*$/.test(path)) {
    throw new CniError("usage", "podwire is run by Deno, which cannot be the program of a hook", {
      hint: "name the compiled program with --program",
    });
  }
  // Report wrong options now, not for each container.
  hookRules(input);
  hookLimitMs(input);
  const files = HOOK_STAGES.map((stage) => {
    const own = optionsOf(input, stage === "createRuntime" ? ruleOptions() : [LIMIT_OPTION]);
    const hook = { path, args: ["podwire", "oci-hook", stage, ...globalOptions(input), ...own] };
    const when = { annotations: { [`^${NETWORKS.replace(".", "\\.")}$`]: ".*" } };
    return [`podwire-${stage}.json`, { version: "1.0.0", hook, when, stages: [stage] }] as const;
  });
  return Object.fromEntries(files);
}

/** `podwire oci-hook config [createRuntime|poststop]`: prints the files or one of them, or writes them to a directory. */
export async function hookConfig(input: CommandInput, stage: HookStage | undefined): Promise<number> {
  const files = hookFiles(input);
  const dir = input.value("dir");
  const wanted = Object.entries(files).filter(([name]) =>
    name === `podwire-${stage ?? name.slice(8, -5)}.json`
  );
  if (dir === undefined) {
    const [[, only] = []] = stage === undefined ? [] : wanted;
    input.io.write(`${printJson(only ?? files, 2)}\n`);
    return 0;
  }
  await ensureDir(resolve(dir), 0o755);
  for (const [name, file] of wanted) {
    const path = join(resolve(dir), name);
    // Users other than root read it, too.
    await writeFileSynced(path, `${printJson(file, 2)}\n`, { mode: 0o644 });
    input.io.write(`${path}\n`);
  }
  return 0;
}

function globalOptions(input: CommandInput): readonly string[] {
  return optionsOf(input, GLOBAL_OPTIONS.filter(({ name }) => !NOT_PASSED_ON.includes(name)));
}

function optionsOf(input: CommandInput, options: readonly OptionSpec[]): readonly string[] {
  return options.flatMap(({ name, kind }) => {
    if (kind === "flag") return input.flag(name) ? [`--${name}`] : [];
    const values = kind === "list" ? input.list(name) : [input.value(name) ?? []].flat();
    return values.map((value) => `--${name}=${PATHS.includes(name) ? resolve(value) : value}`);
  });
}

/**
 * Returns the value of {@linkcode LIMIT_OPTION} in milliseconds.
 *
 * @throws {CniError} kind `usage`
 */
export function hookLimitMs(input: CommandInput): number {
  return parseDuration(input.value(LIMIT_OPTION.name) ?? "2m", `--${LIMIT_OPTION.name}`);
}
