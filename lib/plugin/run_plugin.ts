import type { CallOptions } from "../async/call_options.ts";
import { abortable } from "../async/wait.ts";
import { withSystemDirs } from "../host/command.ts";
import type { Io } from "../host/io.ts";
import { permissionFlag } from "../host/permissions.ts";
import { PluginRunner } from "./exec.ts";
import type { FindPluginOptions } from "./find.ts";
import { decodeEnvironment } from "./invocation.ts";
import { type BuiltinTable, type Delegate, type Plugin, servePlugin } from "./serve.ts";
import { withSignals } from "./signals.ts";

/** Functions that a plugin needs of its process; `processIo()` returns them. */
export type PluginProcess = Pick<Io, "env" | "readStdin" | "write" | "writeError" | "onSignal">;

/** Options of {@linkcode runPlugin}. */
export interface RunPluginOptions extends FindPluginOptions, CallOptions {
  /** Plugins that delegation can use without an executable. @default {{}} */
  readonly builtins?: BuiltinTable | undefined;
  /** Variables that delegates inherit beside the six `CNI_*` variables, if this process may read them. @default {DELEGATE_ENVIRONMENT} */
  readonly environment?: readonly string[] | undefined;
}

/** In bytes. The largest allowed configuration with the largest allowed result is smaller. */
const LONGEST_INPUT = 16 * 1024 * 1024;

/** Variables that delegates inherit by default. */
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
 * Runs this process as the plugin: reads the call from the environment and standard input, writes to standard output and
 * standard error, and returns the exit code. The signal of a request fires when the runtime ends the process; delegates
 * are searched in the directories of `CNI_PATH`.
 *
 * Permissions: `--allow-env` for the `CNI_*` variables and `CNI_NETNS_OVERRIDE`, `--allow-read` to compare `CNI_NETNS`
 * with its own network namespace (from Deno 2.8.3 on with `--allow-run=sh`), `--allow-run` for delegates, and whatever the
 * plugin needs. A permission that is missing becomes the error document, as every other error.
 *
 * Source: CNI specification 1.1.0, sections 2, 4 and 5.
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

/** Reads one byte too many at most, to notice that the input is too large. */
async function readInput(io: Pick<PluginProcess, "readStdin">): Promise<string> {
  const text = await io.readStdin(LONGEST_INPUT);
  if (text.length > LONGEST_INPUT) throw new Error(`it has more than ${LONGEST_INPUT} bytes`);
  return text;
}

/** Runs another plugin with the variables of this call. */
function delegateOf(io: PluginProcess, options: RunPluginOptions, signal: AbortSignal): Delegate {
  const { builtins = {}, environment = DELEGATE_ENVIRONMENT, allowUnsafeFiles = false } = options;
  return async (type, config, verb, options) => {
    const invocation = decodeEnvironment((name) => io.env(name));
    const runner = new PluginRunner({
      pluginDirs: invocation.path,
      allowUnsafeFiles,
      builtins,
      environment: withSearchPath(inherited(io, environment)),
      onStderrLine: ({ line }) => io.writeError(`${line}\n`),
    });
    const delegate = runner.delegateOf({ ...invocation, type, config, signal });
    return await delegate(type, config, verb, options);
  };
}

function withSearchPath(environment: Record<string, string>): Record<string, string> {
  return { ...environment, PATH: withSystemDirs(environment.PATH) };
}

/** Skips variables that this process may not read. */
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
