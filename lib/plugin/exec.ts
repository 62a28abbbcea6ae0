import {
  type CommandOutcome,
  DEFAULT_PATH,
  type RunCommand,
  runCommand,
  startProblem,
} from "../host/command.ts";
import { permissionFlag } from "../host/permissions.ts";
import type { RunningPrograms } from "../host/running_programs.ts";
import { CniError } from "../cni/error.ts";
import { type JsonObject, printJson } from "../cni/json.ts";
import { asResult, decodeResult, type Result } from "../cni/result.ts";
import { SPEC_VERSIONS, type SpecVersion } from "../cni/version.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { runWithContainerId } from "./run_with_container_id.ts";
import { findPlugin, type FindPluginOptions, pluginMissing, searchPath } from "./find.ts";
import { type CniArgs, encodeEnvironment, type Verb } from "./invocation.ts";
import { Instrumentation } from "./instrumentation.ts";
import { decodeFailure, decodeOutput, failureDespiteSuccess, requireSmall } from "./output.ts";
import { type BuiltinTable, type Delegate, type Plugin, servePlugin } from "./serve.ts";
import { StderrLines } from "./stderr_lines.ts";
import { type PluginWait, type WaitPace, whileWaiting } from "./while_waiting.ts";
import { delay, settled } from "../async/wait.ts";

/** When a built-in plugin stands in for an executable. */
export const BUILTIN_POLICIES = ["fallback", "prefer", "off"] as const;

/** One of {@linkcode BUILTIN_POLICIES}. */
export type BuiltinPolicy = typeof BUILTIN_POLICIES[number];

/** A member of a plugin's configuration that lets the built-in one run, whatever lies on disk. */
export const ALWAYS_BUILTIN = "podwireBuiltin";

/** What runs when a plugin type is called. */
export type PluginSource =
  | { readonly kind: "binary"; readonly path: string }
  | { readonly kind: "builtin"; readonly plugin: Plugin };

/** One call of one plugin. */
export interface PluginCall {
  readonly verb: Verb;
  readonly type: string;
  readonly config: JsonObject;
  readonly containerId: string;
  readonly netns: string;
  readonly ifName: string;
  readonly args: CniArgs;
  /** `CNI_PATH`. @default {the directories in which the plugin itself is looked for} */
  readonly path?: readonly string[] | undefined;
  /** Ends the plugin and everything that it started. */
  readonly signal: AbortSignal;
}

/** A line that a plugin wrote to standard error. */
export interface PluginLine {
  readonly plugin: string;
  readonly verb: Verb;
  readonly containerId: string;
  readonly line: string;
}

/** How plugins are found and run. */
export interface PluginRunnerOptions extends FindPluginOptions {
  readonly pluginDirs: readonly string[];
  /** @default {{}} */
  readonly builtins?: BuiltinTable | undefined;
  /** @default {"fallback"} */
  readonly builtinPolicy?: BuiltinPolicy | undefined;
  /** What plugins get beside the six `CNI_*` variables; nothing else is inherited. */
  readonly environment?: Readonly<Record<string, string>> | undefined;
  readonly onStderrLine?: ((line: PluginLine) => void) | undefined;
  /** Is told of a plugin that is waited for, as often as `waitPace` says. */
  readonly onWait?: ((wait: PluginWait) => void) | undefined;
  readonly waitPace?: WaitPace | undefined;
  /** @default {runCommand} */
  readonly run?: RunCommand | undefined;
  /** Where plugins are noted while they run. @default {nowhere: those of a killed runtime are not found again} */
  readonly running?: RunningPrograms | undefined;
  /** Sees each call, those of delegates of built-in plugins too. @default {nobody looks on} */
  readonly watch?: Instrumentation | undefined;
}

/** A call, and what tells its plugin of which trace it is a part. */
interface TracedCall extends PluginCall {
  readonly trace: Readonly<Record<string, string>>;
}

const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 5_000;
/** A built-in ends its own commands by the signal; after this the runtime no longer waits for it. */
const BUILTIN_GRACE_MS = 3_000;

/**
 * The runtime's end of the wire: finds a plugin, as an executable or built in, runs it and decodes
 * what it answers.
 *
 * Permissions: `--allow-read` for the plugin directories, `--allow-run` for the plugins (unscoped,
 * to end a whole process group).
 *
 * Source: CNI specification 1.1.0, sections 2 and 5.
 */
export class PluginRunner {
  readonly #options: PluginRunnerOptions;
  readonly #run: RunCommand;
  readonly #watch: Instrumentation;

  constructor(options: PluginRunnerOptions) {
    this.#options = options;
    this.#run = options.run ?? runCommand;
    this.#watch = options.watch ?? new Instrumentation();
  }

  /**
   * What would run for that plugin type, called with that configuration.
   *
   * @throws {CniError} kind `plugin-missing`
   */
  async locate(type: string, config: JsonObject = {}): Promise<PluginSource> {
    const { pluginDirs, builtins = {}, builtinPolicy = "fallback" } = this.#options;
    const plugin = Object.hasOwn(builtins, type) && builtinPolicy !== "off" ? builtins[type] : undefined;
    const isFirst = builtinPolicy === "prefer" || config[ALWAYS_BUILTIN] === true;
    if (plugin !== undefined && isFirst) return { kind: "builtin", plugin };
    const found = await findPlugin(type, pluginDirs, this.#options);
    if (found.path !== undefined) return { kind: "binary", path: found.path };
    if (plugin !== undefined) return { kind: "builtin", plugin };
    throw pluginMissing(type, pluginDirs, found);
  }

  /**
   * Finds what would run when a plugin calls another one, as `bridge` does its IPAM plugin: an executable finds
   * executables alone.
   *
   * @throws {CniError} kind `plugin-missing`
   */
  async locateDelegate(caller: PluginSource, type: string, config?: JsonObject): Promise<PluginSource> {
    if (caller.kind === "builtin") return await this.locate(type, config);
    const { pluginDirs } = this.#options;
    const found = await findPlugin(type, pluginDirs, this.#options);
    if (found.path === undefined) throw pluginMissing(type, pluginDirs, found);
    return { kind: "binary", path: found.path };
  }

  /**
   * Runs the plugin with ADD and gives its result in the shape of `version`.
   *
   * @throws {CniError} with what the plugin said, or what became of it
   */
  async add(call: PluginCall, version: SpecVersion): Promise<JsonObject> {
    return decodeResult(decodeOutput(await this.call(call)), version);
  }

  /**
   * Runs the plugin and gives what it printed. "Try again later" (code 11) and a busy executable
   * are retried until the signal fires.
   *
   * @throws {CniError} with what the plugin said, or what became of it
   */
  async call(call: PluginCall): Promise<string> {
    const { onWait, waitPace } = this.#options;
    const { verb, type: plugin, containerId } = call;
    // Who asks how a plugin is tells of its silence in words of its own.
    if (onWait === undefined || verb === "STATUS" || verb === "VERSION") return await this.#seen(call);
    const said: { answer?: string } = {};
    const tell = (ms: number) => onWait({ plugin, verb, network: networkOf(call), containerId, ms, ...said });
    const onAnswer = (answer: unknown) => void (said.answer = asCniError(answer).msg);
    return await whileWaiting(() => this.#seen(call, onAnswer), tell, waitPace);
  }

  async #seen(call: PluginCall, onAnswer: (answer: unknown) => void = () => {}): Promise<string> {
    const { verb, type, containerId } = call;
    return await this.#watch.pluginCall(
      { verb, type, containerId, network: networkOf(call) },
      ({ environment }, onRetry) => this.#call({ ...call, trace: environment }, onRetry, onAnswer),
    );
  }

  async #call(
    call: TracedCall,
    onRetry: () => void,
    onAnswer: (answer: unknown) => void,
  ): Promise<string> {
    const source = await this.locate(call.type, call.config);
    const started = performance.now();
    for (let wait = FIRST_RETRY_MS;; wait = Math.min(wait * 2, LONGEST_RETRY_MS)) {
      try {
        return await this.#attempt(source, call);
      } catch (error) {
        if (!isTransient(error, call.verb)) throw asCniError(error);
        onAnswer(error);
        await pauseOr(wait, call.signal, error, started);
        onRetry();
      }
    }
  }

  async #attempt(source: PluginSource, call: TracedCall): Promise<string> {
    const { type: plugin, verb, containerId } = call;
    const report = this.#options.onStderrLine ?? (() => {});
    const lines = new StderrLines((line) => report({ plugin, verb, containerId, line }));
    const outcome =
      await (source.kind === "binary"
        ? this.#runBinary(source.path, call, lines)
        : this.#runBuiltin(source.plugin, call, lines)).finally(() => lines.end());
    const isWell = outcome.ended === "exit" && outcome.code === 0 && outcome.signal === null;
    const failure = isWell ? failureDespiteSuccess(outcome) : decodeFailure(outcome, call.signal);
    if (failure !== undefined) throw failure;
    return requireSmall(outcome.stdout);
  }

  async #runBinary(path: string, call: TracedCall, lines: StderrLines): Promise<CommandOutcome> {
    const env = this.#environment(call);
    try {
      return await this.#noting(call)({
        program: path,
        env,
        stdin: printJson(call.config),
        signal: call.signal,
        onStderrLine: (line) => lines.add(line),
      });
    } catch (error) {
      if (call.signal.aborted) throw asCniError(call.signal.reason);
      throw startError(path, error);
    }
  }

  /**
   * Through the same environment, standard input and output document as an executable, so that what
   * holds for one holds for the other.
   */
  async #runBuiltin(plugin: Plugin, call: TracedCall, lines: StderrLines): Promise<CommandOutcome> {
    const env = this.#environment(call);
    const started = performance.now();
    call.signal.throwIfAborted();
    let refused: unknown;
    const served = servePlugin(plugin, {
      env: (name) => env[name],
      stdin: () => Promise.resolve(printJson(call.config)),
      signal: call.signal,
      run: this.#commandsOf(call),
      delegate: this.delegateOf(call),
      onFailure: (error) => {
        if (permissionFlag(error) !== undefined) refused = error;
      },
    });
    const outcome = await raceGrace(served, call.signal);
    // The error document has no place for what the caller lacks to let the plugin run.
    if (outcome?.code !== 0 && refused !== undefined) throw asCniError(refused);
    const elapsedMs = Math.round(performance.now() - started);
    if (outcome === undefined || (call.signal.aborted && outcome.code !== 0)) {
      return {
        code: -1,
        signal: null,
        stdout: "",
        stderr: outcome?.stderr ?? "",
        elapsedMs,
        ended: "aborted",
      };
    }
    for (const line of outcome.stderr.split("\n")) if (line !== "") lines.add(line);
    return { ...outcome, signal: null, elapsedMs, ended: "exit" };
  }

  /** Runs other plugins with what this call has, on behalf of the plugin that it is for. */
  delegateOf(call: PluginCall): Delegate {
    return async (type, config, verb = call.verb): Promise<Result | undefined> => {
      const delegated = { ...call, type, config, verb };
      // Who waits is told of the plugin that was called, not also of those that this one waits for.
      const stdout = await this.#seen(delegated);
      if (verb !== "ADD") return undefined;
      return asResult(decodeResult(decodeOutput(stdout), versionOf(config)));
    };
  }

  #environment(call: TracedCall): Record<string, string> {
    const { pluginDirs, environment } = this.#options;
    const { TRACEPARENT: _parent, TRACESTATE: _state, ...untraced } = environment ?? {};
    return {
      PATH: DEFAULT_PATH,
      // The state belongs to the trace of its own parent.
      ...(call.trace.TRACEPARENT === undefined ? environment : { ...untraced, ...call.trace }),
      ...encodeEnvironment({ ...call, path: call.path ?? searchPath(call.type, pluginDirs) }),
    };
  }

  /** What a built-in starts is found on the `PATH` that an executable plugin would have. */
  #commandsOf(call: PluginCall): RunCommand {
    const run = runWithContainerId(this.#noting(call), call.containerId);
    const { PATH = DEFAULT_PATH } = this.#options.environment ?? {};
    return (request) => run({ ...request, env: { PATH, LC_ALL: "C", ...request.env } });
  }

  #noting({ containerId, verb }: PluginCall): RunCommand {
    const { running } = this.#options;
    return running?.noting(this.#run, { subject: containerId, task: verb }) ?? this.#run;
  }
}

function networkOf({ config: { name } }: PluginCall): string {
  return typeof name === "string" ? name : "";
}

function versionOf(config: JsonObject): SpecVersion {
  return SPEC_VERSIONS.find((version) => version === config.cniVersion) ?? "0.1.0";
}

/** The file itself was found a moment ago. */
const START_REASONS: Readonly<Record<string, string>> = {
  "not-found": "its interpreter is missing",
  "not-executable": "it is no program for this machine",
  permission: "permission denied",
};

function startError(path: string, error: unknown): CniError {
  const known = asCniError(error);
  if (known.kind === "permission" && known.context.hint?.includes("--allow-")) return known;
  const said = error instanceof Error ? error.message : String(error);
  const reason = START_REASONS[startProblem(error) ?? ""] ?? said;
  return new CniError("plugin-start", `${path} cannot be started: ${reason}`, { cause: error });
}

function isTransient(error: unknown, verb: Verb): boolean {
  if (!(error instanceof CniError)) return false;
  if (error.kind === "plugin-start") return startProblem(error.cause) === "busy";
  // STATUS asks for the state as it is now.
  return error.kind === "plugin" && error.code === 11 && verb !== "STATUS";
}

/** Waits; when the signal fires first, what the plugin said last is more telling than the clock. */
async function pauseOr(ms: number, signal: AbortSignal, last: unknown, started: number): Promise<void> {
  try {
    await delay(ms, signal);
  } catch (reason) {
    const details = `last answer: ${asCniError(last).message}`;
    throw asCniError(reason).within({ details, elapsedMs: Math.round(performance.now() - started) });
  }
}

/** The value, or nothing when it is still not there some time after the signal fired. */
async function raceGrace<T>(value: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  const fired = Promise.withResolvers<void>();
  const fire = () => fired.resolve();
  signal.addEventListener("abort", fire, { once: true });
  if (signal.aborted) fire();
  try {
    return await Promise.race([value, fired.promise.then(() => settled(value, BUILTIN_GRACE_MS))]);
  } finally {
    signal.removeEventListener("abort", fire);
  }
}
