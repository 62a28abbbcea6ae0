// What a plugin gets with each call, recorded by a real plugin.
import { assertEquals, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { PluginRunner } from "../../lib/plugin/exec.ts";
import { VERBS } from "../../lib/plugin/invocation.ts";
import { PluginFolder } from "../recording_plugin.ts";
import { callOf } from "./plugin_call.ts";

Deno.test("B11 a plugin is searched at every call: a file that was added in an earlier directory or removed counts at once", async () => {
  await using front = await PluginFolder.make();
  await using behind = await PluginFolder.make();
  await behind.install("net");
  const runner = new PluginRunner({ pluginDirs: [front.dir, behind.dir] });
  await runner.call(callOf());
  const { path } = await front.install("net");
  await runner.call(callOf({ verb: "CHECK" }));
  await Deno.remove(path);
  await runner.call(callOf({ verb: "DEL" }));
  assertEquals([await front.verbs(), await behind.verbs()], [["net CHECK"], ["net ADD", "net DEL"]]);
  await Deno.remove(`${behind.dir}/net`);
  assertEquals((await assertRejects(() => runner.call(callOf()), CniError)).kind, "plugin-missing");
});

Deno.test("B14 B20 every variable is set once, and other CNI variables than the six only if they were given", async () => {
  await using plugins = await PluginFolder.make();
  await plugins.install("net");
  const run = async (environment: Readonly<Record<string, string>>) => {
    await new PluginRunner({ pluginDirs: [plugins.dir], environment }).call(callOf({ verb: "DEL" }));
    const calls = (await Array.fromAsync(Deno.readDir(`${plugins.dir}/net.d/calls`), ({ name }) => name))
      .sort();
    const environ = await Deno.readTextFile(`${plugins.dir}/net.d/calls/${calls.at(-1)}/environ`);
    return environ.split("\0").filter((entry) => entry !== "").sort();
  };
  const six = [
    "CNI_ARGS=",
    "CNI_COMMAND=DEL",
    "CNI_CONTAINERID=c1",
    "CNI_IFNAME=eth0",
    "CNI_NETNS=/run/netns/c1",
    `CNI_PATH=${plugins.dir}:/opt/net/bin`,
  ];
  const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  assertEquals(await run({}), [...six, PATH]);
  // The call's own six variables win against given ones; podwire never sets the switch of the plugins' namespace check.
  const given = {
    CNI_COMMAND: "ADD",
    CNI_ARGS: "A=1",
    CNI_PATH: "/evil",
    CNI_NETNS_OVERRIDE: "true",
    LANG: "C",
  };
  assertEquals(await run(given), [...six, "CNI_NETNS_OVERRIDE=true", PATH, "LANG=C"].sort());
});

Deno.test("B15 CNI_COMMAND is the verb", async () => {
  await using plugins = await PluginFolder.make();
  const net = await plugins.install("net");
  const runner = new PluginRunner({ pluginDirs: [plugins.dir] });
  for (const verb of VERBS) await runner.call(callOf({ verb }));
  assertEquals((await net.calls()).map(({ env }) => env.CNI_COMMAND), [
    "ADD",
    "CHECK",
    "DEL",
    "GC",
    "STATUS",
    "VERSION",
  ]);
});

Deno.test("B17 B18 arguments of the caller reach the plugin unchanged, and without one CNI_ARGS is empty", async () => {
  await using plugins = await PluginFolder.make();
  const net = await plugins.install("net");
  const runner = new PluginRunner({ pluginDirs: [plugins.dir] });
  const odd = { containerId: "A.b_c-9", netns: "/proc/1/ns/../ns/net ü", ifName: "e%th-0" };
  await runner.call(callOf(odd));
  await runner.call(callOf({ args: [["K8S_POD", "a=b"], ["x", ""], ["x", " 2"]] }));
  const [first, second] = await net.calls();
  const { CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS } = first?.env ?? {};
  assertEquals({ CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS }, {
    CNI_CONTAINERID: odd.containerId,
    CNI_NETNS: odd.netns,
    CNI_IFNAME: odd.ifName,
    CNI_ARGS: "",
  });
  assertEquals(second?.env.CNI_ARGS, "K8S_POD=a=b;x=;x= 2");
});
