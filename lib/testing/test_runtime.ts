import type { CallOptions } from "../async/call_options.ts";
import type { JsonObject } from "../cni/json.ts";
import { CURRENT_VERSION } from "../cni/version.ts";
import { call } from "../errors/call.ts";
import type { RuntimeOptions } from "../runtime/options.ts";
import { Podwire } from "../runtime/podwire.ts";
import type { DisposableSandbox } from "../sandbox/disposable.ts";
import type { SandboxRequest } from "../sandbox/request.ts";
import { FakePlugins } from "./fake_plugins.ts";

/**
 * A runtime with directories and fake plugins of its own, for tests. At its end it removes its sandboxes and its
 * directories; nothing on the machine is shared with another runtime but `/run/netns`, in which its namespaces have a prefix
 * of their own.
 *
 * Permissions: those of {@linkcode Podwire}, with `/tmp` in the place of its directories, and `--allow-run=sh`. Sandboxes
 * need root.
 *
 * @example
 * ```ts
 * import { TestRuntime } from "./test_runtime.ts";
 *
 * await using runtime = await TestRuntime.create();
 * await runtime.plugins.add("net", { ADD: { result: { ips: [{ address: "10.1.0.2/24" }] } } });
 * await runtime.network("web", [{ type: "net" }]);
 * await using sandbox = await runtime.sandbox();
 * console.log(sandbox.ips);
 * ```
 */
export class TestRuntime implements AsyncDisposable {
  /** The runtime. */
  readonly podwire: Podwire;
  /** Its plugins. */
  readonly plugins: FakePlugins;
  /** Its configuration directory. */
  readonly confDir: string;
  readonly #dir: string;

  private constructor(podwire: Podwire, plugins: FakePlugins, dir: string, confDir: string) {
    this.podwire = podwire;
    this.plugins = plugins;
    this.confDir = confDir;
    this.#dir = dir;
  }

  /**
   * Makes the directories. Without {@linkcode TestRuntime.network}, the default network is the embedded one, on the built-in
   * plugins.
   *
   * Permissions: those of {@linkcode FakePlugins}.
   *
   * @throws {CniError} if they cannot be made
   */
  static async create(
    options: Omit<RuntimeOptions, "confDir" | "pluginDirs" | "stateDir" | "cacheDir" | "runDir"> = {},
    callOptions: CallOptions = {},
  ): Promise<TestRuntime> {
    return await call(callOptions, async () => {
      const plugins = await FakePlugins.create(callOptions);
      const dir = await Deno.makeTempDir({ dir: "/tmp", prefix: "podwire-test-" });
      const confDir = `${dir}/net.d`;
      await Deno.mkdir(confDir);
      const dirs = { confDir, stateDir: `${dir}/state`, cacheDir: `${dir}/cache` };
      const podwire = new Podwire({ ...options, ...dirs, pluginDirs: [plugins.dir] });
      return new TestRuntime(podwire, plugins, dir, confDir);
    });
  }

  /**
   * Configures a network. The one whose name sorts first is the default network.
   *
   * Permissions: `--allow-write=/tmp`.
   *
   * @throws {CniError} if the file cannot be written
   */
  async network(
    name: string,
    plugins: readonly (JsonObject & { readonly type: string })[],
    options: CallOptions = {},
  ): Promise<void> {
    const list = JSON.stringify({ cniVersion: CURRENT_VERSION, name, plugins });
    await call(options, () => Deno.writeTextFile(`${this.confDir}/${name}.conflist`, list));
  }

  /**
   * Runs a sandbox, which `await using` removes at the end of the block.
   *
   * Permissions: those of the class, and root.
   *
   * @throws {CniError} with the first failure; then nothing is left
   */
  async sandbox(request: SandboxRequest = {}, options: CallOptions = {}): Promise<DisposableSandbox> {
    return await this.podwire.sandboxes.run(request, options);
  }

  /** Removes the sandboxes that are left, and the directories. */
  async [Symbol.asyncDispose](): Promise<void> {
    await using _plugins = this.plugins;
    const { sandboxes } = this.podwire;
    for (const { id } of await sandboxes.list()) await sandboxes.remove(id, { force: true });
    await this.podwire.recover();
    await Deno.remove(this.#dir, { recursive: true });
  }
}
