import { type JsonObject, printJson } from "../cni/json.ts";
import { asResult, decodeResult } from "../cni/result.ts";
import { SPEC_VERSIONS, type SpecVersion } from "../cni/version.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import {
  type CommandOutcome,
  DEFAULT_PATH,
  type RunCommand,
  runCommand,
  runningAs,
} from "../host/command.ts";
import type { RunningPrograms } from "../host/running_programs.ts";
import { type AttemptContext, networkOf, type PluginCall } from "./call.ts";
import { searchPath } from "./find.ts";
import { Instrumentation } from "./instrumentation.ts";
import { encodeEnvironment, type Verb } from "./invocation.ts";
import { PluginLocator, type PluginLocatorOptions, type PluginSource } from "./locate.ts";
import { decodeFailure, decodeOutput, failureDespiteSuccess, requireSmall } from "./output.ts";
import { type PluginWait, reportWait, type WaitPace } from "./report_wait.ts";
import { Retries } from "./retry.ts";
import { runBuiltin } from "./run_builtin.ts";
import { runWithContainerId } from "./run_with_container_id.ts";
import type { Delegate } from "./serve.ts";
import { pluginStartError } from "./start_error.ts";
import { StderrLines } from "./stderr_lines.ts";

/** A line that a plugin wrote to standard error. */
export interface PluginLine {
  readonly plugin: string;
  readonly verb: Verb;
  readonly containerId: string;
  readonly line: string;
}

/** How plugins are found and run. */
export interface PluginRunnerOptions extends PluginLocatorOptions {
  /** Variables that plugins get in addition to the six `CNI_*` variables; they inherit nothing else. */
  readonly environment?: Readonly<Record<string, string>> | undefined;
  readonly onStderrLine?: ((line: PluginLine) => void) | undefined;
  /** Called while a plugin does not answer, as often as `waitPace` says. */
  readonly onWait?: ((wait: PluginWait) => void) | undefined;
  readonly waitPace?: WaitPace | undefined;
  /** @default {runCommand} */
  readonly run?: RunCommand | undefined;
  /** Records plugins while they run. @default {nothing: the plugins of a killed runtime are not found again} */
  readonly running?: RunningPrograms | undefined;
  /** Observes each call, also those of delegates of built-in plugins. @default {new Instrumentation()} (no observer) */
  readonly instrumentation?: Instrumentation | undefined;
}

/** A call with the variables that make its plugin part of a trace. */
interface TracedCall extends PluginCall {
  readonly trace: Readonly<Record<string, string>>;
}

/**
 * The runtime's end of the wire: finds a plugin, as an executable or built in, runs it and decodes its answer.
 *
 * Permissions: `--allow-read` for the plugin directories, `--allow-run` for the plugins (unscoped,
 * to end a whole process group).
 *
 * Source: CNI specification 1.1.0, sections 2 and 5.
 */
export class PluginRunner extends PluginLocator {
  readonly #options: PluginRunnerOptions;
  readonly #run: RunCommand;
  readonly #instrumentation: Instrumentation;

  constructor(options: PluginRunnerOptions) {
    super(options);
    this.#options = options;
    this.#run = options.run ?? runCommand;
    this.#instrumentation = options.instrumentation ?? new Instrumentation();
  }

  /**
   * Runs the plugin with ADD and returns its result in the shape of `version`.
   *
   * @throws {CniError} with the plugin's own error, or with how it ended
   */
  async add(call: PluginCall, version: SpecVersion): Promise<JsonObject> {
    return decodeResult(decodeOutput(await this.call(call)), version);
  }

  /**
   * Runs the plugin and returns what it printed. "Try again later" (code 11) and a busy executable
   * are retried until the signal fires.
   *
   * @throws {CniError} with the plugin's own error, or with how it ended
   */
  async call(call: PluginCall): Promise<string> {
    const { onWait, waitPace } = this.#options;
    const { verb, type: plugin, containerId } = call;
    // A caller of STATUS or VERSION reports a slow plugin itself.
    if (onWait === undefined || verb === "STATUS" || verb === "VERSION") {
      return await this.#instrumented(call);
    }
    let answer: string | undefined;
    const report = (ms: number) => {
      onWait({
        plugin,
        verb,
        network: networkOf(call),
        containerId,
        ms,
        ...(answer === undefined ? {} : { answer }),
      });
    };
    const onTransient = (error: unknown) => void (answer = asCniError(error).msg);
    using _reports = reportWait(report, waitPace);
    return await this.#instrumented(call, onTransient);
  }

  /** Runs other plugins with the values of this call, on behalf of its plugin. */
  delegateOf(call: PluginCall): Delegate {
    return async (type, config, verb = call.verb, { signal = call.signal } = {}) => {
      // Only the wait for the plugin that was called is reported, not the waits for those that it calls.
      const stdout = await this.#instrumented({ ...call, type, config, verb, signal });
      if (verb !== "ADD") return undefined;
      return asResult(decodeResult(decodeOutput(stdout), versionOf(config)));
    };
  }

  async #instrumented(call: PluginCall, onTransient: (error: unknown) => void = () => {}): Promise<string> {
    const { verb, type, containerId, config, signal } = call;
    return await this.#instrumentation.pluginCall(
      { verb, type, containerId, network: networkOf(call) },
      async ({ environment }, onRetry) => {
        const source = await this.locate(type, config);
        const retries = new Retries({ verb, signal });
        while (true) {
          try {
            return await this.#attempt(source, { ...call, trace: environment });
          } catch (error) {
            if (!retries.allow(error)) throw asCniError(error);
            onTransient(error);
            await retries.delay(error);
            onRetry();
          }
        }
      },
    );
  }

  async #attempt(source: PluginSource, call: TracedCall): Promise<string> {
    const { type: plugin, verb, containerId } = call;
    const report = this.#options.onStderrLine ?? (() => {});
    const lines = new StderrLines((line) => report({ plugin, verb, containerId, line }));
    const context = {
      env: this.environmentOf(call, call.trace),
      onStderrLine: (line: string) => lines.add(line),
    };
    const outcome =
      await (source.kind === "binary"
        ? this.#runBinary(source.path, call, context)
        : runBuiltin(source.plugin, call, {
          ...context,
          run: this.#commandsOf(call),
          delegate: this.delegateOf(call),
        })).finally(() => lines.end());
    const isWell = outcome.ended === "exit" && outcome.code === 0 && outcome.signal === null;
    const failure = isWell ? failureDespiteSuccess(outcome) : decodeFailure(outcome, call.signal);
    if (failure !== undefined) throw failure;
    return requireSmall(outcome.stdout);
  }

  async #runBinary(
    path: string,
    call: PluginCall,
    context: Omit<AttemptContext, "run">,
  ): Promise<CommandOutcome> {
    const { config, signal } = call;
    try {
      return await this.#recordingRun(call)({ program: path, stdin: printJson(config), signal, ...context });
    } catch (error) {
      if (signal.aborted) throw asCniError(signal.reason);
      throw pluginStartError(path, error);
    }
  }

  /** Returns the environment of a plugin for a call; `trace` makes it part of a trace. */
  environmentOf(
    call: Omit<PluginCall, "config" | "signal">,
    trace: Readonly<Record<string, string>> = {},
  ): Record<string, string> {
    const { pluginDirs, environment } = this.#options;
    const { TRACEPARENT: _parent, TRACESTATE: _state, ...untraced } = environment ?? {};
    return {
      PATH: DEFAULT_PATH,
      // The state belongs to the trace of its own parent.
      ...(trace.TRACEPARENT === undefined ? environment : { ...untraced, ...trace }),
      ...encodeEnvironment({ ...call, path: call.path ?? searchPath(call.type, pluginDirs) }),
    };
  }

  /** Runs the commands of a built-in plugin with the `PATH` that an executable plugin would have. */
  #commandsOf(call: PluginCall): RunCommand {
    const run = runWithContainerId(this.#recordingRun(call), call.containerId);
    const { PATH = DEFAULT_PATH } = this.#options.environment ?? {};
    const withPath: RunCommand = (request) => run({ ...request, env: { PATH, LC_ALL: "C", ...request.env } });
    return runningAs(run, withPath, PATH);
  }

  #recordingRun({ containerId, verb }: PluginCall): RunCommand {
    const { running } = this.#options;
    return running?.noting(this.#run, { subject: containerId, task: verb }) ?? this.#run;
  }
}

function versionOf(config: JsonObject): SpecVersion {
  return SPEC_VERSIONS.find((version) => version === config.cniVersion) ?? "0.1.0";
}
