import type { CallOptions } from "../async/call_options.ts";
import { withSystemDirs } from "../host/command.ts";
import type { Io } from "../host/io.ts";
import { permissionFlag } from "../host/permissions.ts";
import { PluginRunner } from "./exec.ts";
import type { FindPluginOptions } from "./find.ts";
import { decodeEnvironment } from "./invocation.ts";
import { type BuiltinTable, type Delegate, type Plugin, servePlugin } from "./serve.ts";
import { withSignals } from "./signals.ts";
import { abortable } from "../async/wait.ts";

/** What a plugin needs of its process; `processIo()` gives it. */
export type PluginProcess = Pick<Io, "env" | "readStdin" | "write" | "writeError" | "onSignal">;

/** What {@linkcode runPlugin} can be told. */
export interface RunPluginOptions extends FindPluginOptions, CallOptions {
  /** Plugins that can be delegated to without an executable. @default {{}} */
  readonly builtins?: BuiltinTable | undefined;
  /** Variables that delegates inherit beside the six, where they may be read. @default {DELEGATE_ENVIRONMENT} */
  readonly environment?: readonly string[] | undefined;
}

/** In bytes; a configuration with a result, as large as they may be, is smaller. */
const LONGEST_INPUT = 16 * 1024 * 1024;

/** What delegates inherit unless told otherwise. */
export const DELEGATE_ENVIRONMENT: readonly string[] = [
  "PATH",
  "HOME",
  "LANG",
  "TZ",
  "TRACEPARENT",
  "TRACESTATE",
  "CNI_NETNS_OVERRIDE",
];

/**
 * Is the plugin for whoever called this process: takes the call from the environment and standard input, writes what
 * belongs on standard output and standard error, and gives the exit code. The signal of a request fires when the
 * runtime ends the process; what a request delegates to is looked for in the directories of `CNI_PATH`.
 *
 * Permissions: `--allow-env` for the `CNI_*` variables and `CNI_NETNS_OVERRIDE`, `--allow-read` to compare `CNI_NETNS`
 * with its own network namespace, `--allow-run` for delegates, and whatever the plugin needs.
 *
 * Source: CNI specification 1.1.0, sections 2, 4 and 5.
 *
 * @throws {CniError} kind `permission` if a `CNI_*` variable may not be read; all else becomes the error document
 *
 * @example A plugin, whole
 * ```ts
 * import { CURRENT_VERSION, type Plugin, processIo, runPlugin, SPEC_VERSIONS } from "@podwire/podwire";
 *
 * const plugin: Plugin = {
 *   about: "CNI plugin hello",
 *   versions: SPEC_VERSIONS,
 *   verbs: {
 *     ADD: ({ ifName: name, netns: sandbox }) => ({
 *       cniVersion: CURRENT_VERSION,
 *       interfaces: [{ name, sandbox }],
 *     }),
 *     DEL: () => {},
 *   },
 * };
 *
 * if (import.meta.main) Deno.exit(await runPlugin(plugin, processIo()));
 * ```
 */
export async function runPlugin(
  plugin: Plugin,
  io: PluginProcess,
  options: RunPluginOptions = {},
): Promise<number> {
  return await withSignals(io, async (interrupted) => {
    const signal = options.signal === undefined
      ? interrupted
      : AbortSignal.any([interrupted, options.signal]);
    const { stdout, stderr, code } = await servePlugin(plugin, {
      env: (name) => io.env(name),
      stdin: () => abortable(readInput(io), signal),
      signal,
      delegate: delegateOf(io, options, signal),
    });
    io.writeError(stderr);
    io.write(stdout);
    return code;
  });
}

/** More than enough is read to tell that it is too much. */
async function readInput(io: Pick<PluginProcess, "readStdin">): Promise<string> {
  const text = await io.readStdin(LONGEST_INPUT);
  if (text.length > LONGEST_INPUT) throw new Error(`it has more than ${LONGEST_INPUT} bytes`);
  return text;
}

/** Runs another plugin with the variables of this call. */
function delegateOf(io: PluginProcess, options: RunPluginOptions, signal: AbortSignal): Delegate {
  const { builtins = {}, environment = DELEGATE_ENVIRONMENT, allowUnsafeFiles = false } = options;
  return async (type, config, verb) => {
    const invocation = decodeEnvironment((name) => io.env(name));
    const runner = new PluginRunner({
      pluginDirs: invocation.path,
      allowUnsafeFiles,
      builtins,
      environment: withSearchPath(inherited(io, environment)),
      onStderrLine: ({ line }) => io.writeError(`${line}\n`),
    });
    const delegate = runner.delegateOf({ ...invocation, type, config, signal });
    return await delegate(type, config, verb);
  };
}

function withSearchPath(environment: Record<string, string>): Record<string, string> {
  return { ...environment, PATH: withSystemDirs(environment.PATH) };
}

/** A variable that this process may not read is one that nobody told it about. */
function inherited(io: PluginProcess, names: readonly string[]): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const name of names) {
    try {
      const value = io.env(name);
      if (value !== undefined) environment[name] = value;
    } catch (error) {
      if (permissionFlag(error) === undefined) throw error;
    }
  }
  return environment;
}
