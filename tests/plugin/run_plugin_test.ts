// A plugin in a fake process. A plugin as a real executable is in tests/root/run_plugin_test.ts.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { CURRENT_VERSION, SPEC_VERSIONS } from "../../lib/cni/version.ts";
import { runPlugin } from "../../lib/plugin/run_plugin.ts";
import type { Plugin } from "../../lib/plugin/serve.ts";
import { FakeIo } from "../cli/fake_io.ts";
import { PluginFolder } from "../recording_plugin.ts";

const CONFIG = '{"cniVersion": "1.0.0", "name": "web", "type": "mine"}';

/** Called when a CHECK begins. */
let begun = () => {};

const plugin: Plugin = {
  about: "CNI plugin mine",
  versions: SPEC_VERSIONS,
  verbs: {
    ADD: async ({ delegate, config, log }) => {
      log("adding");
      return await delegate("net", config) ?? { cniVersion: CURRENT_VERSION };
    },
    DEL: async ({ delegate, config }) => void await delegate("net", config),
    CHECK: ({ signal, log }) => {
      log("checking");
      begun();
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    },
  },
};

const envOf = (verb: string, path: string) => ({
  CNI_COMMAND: verb,
  CNI_CONTAINERID: "c1",
  CNI_NETNS: "/nowhere",
  CNI_IFNAME: "eth0",
  CNI_PATH: path,
  LANG: "C.UTF-8",
  SECRET: "hidden",
});

Deno.test("B80 B83 a plugin reads its call from the process and delegates with all of it except the verb", async () => {
  await using folder = await PluginFolder.make();
  const net = await folder.install("net", {
    ADD: { stdout: '{"ips": [{"address": "10.1.0.2/24"}]}', stderr: "hi" },
  });
  for (const verb of ["ADD", "DEL"]) {
    const io = new FakeIo([], { env: envOf(verb, folder.dir), stdin: CONFIG });
    assertEquals([verb, await runPlugin(plugin, io), io.listeners], [verb, 0, 0]);
    if (verb === "ADD") {
      assertEquals(JSON.parse(io.stdout), { cniVersion: "1.0.0", ips: [{ address: "10.1.0.2/24" }] });
    }
    assertEquals([io.stdout === "", io.stderr], verb === "ADD" ? [false, "hi\nadding\n"] : [true, ""]);
  }
  const [add] = await net.calls();
  const { PATH: _, ...env } = add?.env ?? {};
  const { SECRET: __, ...expected } = envOf("ADD", folder.dir);
  assertEquals(env, { ...expected, CNI_ARGS: "" });
});

Deno.test("B79 an error becomes the error document, and a variable that may not be read is not passed on", async () => {
  const io = new FakeIo([], { env: envOf("ADD", "/nowhere"), stdin: CONFIG });
  const env = io.env.bind(io);
  io.env = (name) => {
    if (name === "HOME") {
      throw new Deno.errors.NotCapable('Requires env access to "HOME", run again with the --allow-env flag');
    }
    return env(name);
  };
  assertEquals(await runPlugin(plugin, io), 1);
  assertStringIncludes(JSON.parse(io.stdout).msg, 'failed to find plugin "net"');
});

Deno.test("the signal of a plugin fires when the process is ended, and no listener is left", async () => {
  const io = new FakeIo([], { env: envOf("CHECK", "/nowhere"), stdin: CONFIG });
  const isUnderWay = new Promise<void>((resolve) => begun = resolve);
  const ended = runPlugin(plugin, io);
  await isUnderWay;
  io.send("SIGTERM");
  assertEquals({ ended: await ended, listeners: io.listeners }, { ended: 1, listeners: 0 });
  assertStringIncludes(io.stdout, "interrupted by SIGTERM");
});

Deno.test("a plugin that is ended before its start does not start", async () => {
  const io = new FakeIo([], { env: envOf("CHECK", "/nowhere"), stdin: CONFIG });
  const ended = runPlugin(plugin, io);
  assert(io.listeners > 0);
  io.send("SIGTERM");
  assertEquals({ ended: await ended, listeners: io.listeners, stderr: io.stderr }, {
    ended: 1,
    listeners: 0,
    stderr: "",
  });
  assertStringIncludes(io.stdout, "interrupted by SIGTERM");
});
