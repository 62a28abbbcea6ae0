/**
 * Helpers for tests of programs that use podwire: {@linkcode FakePlugins}, a directory of plugins that record their calls,
 * and {@linkcode TestRuntime}, a runtime with directories of its own whose sandboxes are removed at its end.
 *
 * ```ts
 * import { TestRuntime } from "@podwire/podwire/testing";
 *
 * await using runtime = await TestRuntime.create();
 * await runtime.plugins.add("net", { ADD: { result: { ips: [{ address: "10.1.0.2/24" }] } } });
 * await runtime.network("web", [{ type: "net" }]);
 * await using sandbox = await runtime.sandbox({ name: "test" });
 * console.log(sandbox.ips, (await runtime.plugins.calls()).map(({ verb }) => verb));
 * ```
 *
 * Importing it does nothing.
 *
 * @module
 */

export { type FakeAnswer, type FakeCall, FakePlugins } from "./lib/testing/fake_plugins.ts";
export { TestRuntime } from "./lib/testing/test_runtime.ts";
