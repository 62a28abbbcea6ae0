import { join, resolve } from "@std/path";
import { ensureDir, writeFileSynced } from "../host/file.ts";
import { CniError } from "../cni/error.ts";
import { type JsonObject, printJson } from "../cni/json.ts";
import { type CommandInput, GLOBAL_OPTIONS, type OptionSpec } from "./command.ts";
import { NETWORKS } from "./oci_annotations.ts";
import { hookRules, LIMIT_OPTION, ruleOptions } from "./oci_rules.ts";
import { parseDuration } from "./settings.ts";

/** The stages of a container's life at which the hook has something to do. */
export const HOOK_STAGES = ["createRuntime", "poststop"] as const;

/** One of {@linkcode HOOK_STAGES}. */
export type HookStage = typeof HOOK_STAGES[number];

/** What a hook is called with has to mean the same wherever its runtime was started. */
const PATHS = ["conf-dir", "plugin-dir", "cache-dir", "state-dir", "netns-dir"];
/** What concerns this call alone, or would be of no use to a runtime. */
const NOT_HANDED_ON = ["json", "no-color", "help", "version"];

/**
 * The files of a `hooks.d` directory as Podman and CRI-O read it, by their names: one for each stage, since the hook is
 * called differently. Global options are handed on, to createRuntime what annotations are allowed, and to poststop how long
 * it may take.
 *
 * Source: containers/common, oci-hooks(5), version 1.0.0.
 *
 * @throws {CniError} kind `usage` where the program is not known
 */
export function hookFiles(input: CommandInput): Readonly<Record<string, JsonObject>> {
  const path = resolve(input.value("program") ?? input.io.program);
  if (input.value("program") === undefined && /\/deno[^/]*$/.test(path)) {
    throw new CniError("usage", "podwire is run by Deno, which is not what a hook can be", {
      hint: "name the compiled program with --program",
    });
  }
  // What is wrong with them is better said now than at each container.
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

/** `podwire oci-hook config [createRuntime|poststop]`: prints the files, or one of them, or writes them. */
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
    // Others than root read it, too.
    await writeFileSynced(path, `${printJson(file, 2)}\n`, { mode: 0o644 });
    input.io.write(`${path}\n`);
  }
  return 0;
}

function globalOptions(input: CommandInput): readonly string[] {
  return optionsOf(input, GLOBAL_OPTIONS.filter(({ name }) => !NOT_HANDED_ON.includes(name)));
}

function optionsOf(input: CommandInput, options: readonly OptionSpec[]): readonly string[] {
  return options.flatMap(({ name, kind }) => {
    if (kind === "flag") return input.flag(name) ? [`--${name}`] : [];
    const values = kind === "list" ? input.list(name) : [input.value(name) ?? []].flat();
    return values.map((value) => `--${name}=${PATHS.includes(name) ? resolve(value) : value}`);
  });
}

/**
 * The milliseconds of {@linkcode LIMIT_OPTION}.
 *
 * @throws {CniError} kind `usage`
 */
export function hookLimitMs(input: CommandInput): number {
  return parseDuration(input.value(LIMIT_OPTION.name) ?? "2m", `--${LIMIT_OPTION.name}`);
}
