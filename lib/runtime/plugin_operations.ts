import type { CallOptions } from "../async/call_options.ts";
import type { JsonObject } from "../cni/json.ts";
import { call } from "../errors/call.ts";
import type { PluginVersions } from "../plugin/versions.ts";
import { type PlanContext, planSandbox, type SandboxPlan } from "../sandbox/plan.ts";
import type { SandboxRequest } from "../sandbox/request.ts";
import type { RuntimeContext } from "./context.ts";
import { NetworkOperations } from "./network_operations.ts";

/** Options of {@linkcode PluginOperations.pluginVersions} and {@linkcode PluginOperations.pluginPath}. */
export interface PluginLookupOptions extends CallOptions {
  /** The configuration of the plugin, which can ask for the built-in one. @default {{}} */
  readonly config?: JsonObject | undefined;
}

/** What a runtime can say about the plugins of the machine, beside the operations on networks. */
export class PluginOperations extends NetworkOperations {
  readonly #probe: RuntimeContext["probe"];
  readonly #runner: RuntimeContext["runner"];
  readonly #plan: PlanContext;

  /** Called by the class that has all operations. */
  constructor(context: Pick<RuntimeContext, "networks" | keyof PlanContext>) {
    super(context);
    this.#probe = context.probe;
    this.#runner = context.runner;
    this.#plan = context;
  }

  /**
   * Returns the versions that a plugin supports. Each executable is asked once, until it changes.
   *
   * Permissions: `--allow-read` for the plugin directories, `--allow-run` for the plugin.
   *
   * Source: CNI specification 1.1.0, section 2 "VERSION".
   *
   * @throws {CniError} kind `plugin-missing`, or with the failure of the plugin
   *
   * @example
   * ```ts
   * import { Podwire } from "./podwire.ts";
   *
   * console.log((await new Podwire().pluginVersions("bridge")).supportedVersions);
   * ```
   */
  async pluginVersions(
    type: string,
    { config, signal }: PluginLookupOptions = {},
  ): Promise<PluginVersions> {
    return await call({ signal }, () => this.#probe.of(type, signal, config));
  }

  /**
   * Returns the executable that runs for a plugin type; undefined if the built-in plugin of that type does.
   *
   * Permissions: `--allow-read` for the plugin directories.
   *
   * @throws {CniError} kind `plugin-missing`, or `plugin-start` for a file that other users can change
   *
   * @example
   * ```ts
   * import { Podwire } from "./podwire.ts";
   *
   * console.log(await new Podwire().pluginPath("bridge") ?? "built in");
   * ```
   */
  async pluginPath(type: string, { config, signal }: PluginLookupOptions = {}): Promise<string | undefined> {
    const source = await call({ signal }, () => this.#runner.locate(type, config));
    return source.kind === "binary" ? source.path : undefined;
  }

  /**
   * Returns what `Podwire.sandboxes.run` would do: each plugin with its path, its environment and its input, in order. All is
   * looked up and validated as in a run, and nothing is made. What looks like a secret is in it as it is.
   *
   * Permissions: those of `Podwire.sandboxes.run`.
   *
   * @throws {CniError} as a run, as far as it is known before anything is made
   *
   * @example
   * ```ts
   * import { Podwire } from "./podwire.ts";
   *
   * const { netns, calls } = await new Podwire().planSandbox({ name: "web" });
   * for (const { path, plugin, stdin } of calls) console.log(netns, path ?? plugin, stdin);
   * ```
   */
  async planSandbox(request: SandboxRequest, options: CallOptions = {}): Promise<SandboxPlan> {
    return await call(options, () => planSandbox(request, this.#plan, options));
  }
}
