// How a built-in bridge works with the plugin that it delegates addresses to, on the real kernel.
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { builtins } from "../../lib/builtin/mod.ts";
import { CniError } from "../../lib/cni/error.ts";
import type { PluginCall } from "../../lib/plugin/call.ts";
import { PluginRunner } from "../../lib/plugin/exec.ts";
import type { Verb } from "../../lib/plugin/invocation.ts";
import { PluginFolder } from "../recording_plugin.ts";
import { inWorld, sh } from "./builtin_world.ts";
import { need } from "./need.ts";

const REFUSAL = { stdout: '{"code": 107, "msg": "no address left"}', stderr: "looked everywhere\n", code: 1 };

Deno.test({
  name:
    "B87 a bridge whose delegate fails runs DEL on it and keeps nothing; every verb reaches it, and its errors come back",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    await using plugins = await PluginFolder.make();
    const ipam = await plugins.install("ipam", { ADD: REFUSAL });
    const lines: string[] = [];
    const runner = new PluginRunner({
      pluginDirs: [plugins.dir],
      builtins,
      onStderrLine: ({ plugin, line }) => lines.push(`${plugin}: ${line}`),
    });
    const netns = await world.netns("a");
    const call = (verb: Verb): PluginCall => ({
      verb,
      type: "bridge",
      config: {
        cniVersion: "1.1.0",
        name: `net-${world.tag}`,
        type: "bridge",
        bridge: world.bridge,
        ipam: { type: "ipam" },
        ...(verb === "GC" ? { "cni.dev/valid-attachments": [] } : {}),
      },
      containerId: verb === "GC" || verb === "STATUS" ? "" : `c-${world.tag}`,
      netns: verb === "GC" || verb === "STATUS" ? "" : netns,
      ifName: "eth0",
      args: [],
      signal: AbortSignal.timeout(120_000),
    });
    const failing = (verb: Verb): Promise<CniError> => assertRejects(() => runner.call(call(verb)), CniError);

    const error = await failing("ADD");
    assertEquals({ code: error.code, msg: error.msg }, { code: 107, msg: "no address left" });
    assertEquals(await plugins.verbs(), ["ipam ADD", "ipam DEL"]);
    assertEquals((await sh("ip -o link", netns)).includes("eth0"), false, "the interface went with it");
    assertStringIncludes(lines.join("\n"), "ipam: looked everywhere");

    for (const verb of ["CHECK", "DEL", "GC", "STATUS"] as const) {
      await ipam.answer(verb, REFUSAL);
      assertEquals((await failing(verb)).msg, "no address left", verb);
    }
    assertEquals((await plugins.verbs()).slice(2), ["ipam CHECK", "ipam DEL", "ipam GC", "ipam STATUS"]);
    const calls = await ipam.calls();
    assertEquals(new Set(calls.map(({ config }) => config.ipam.type)), new Set(["ipam"]));
  }),
});
