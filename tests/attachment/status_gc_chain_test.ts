import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { gcChain, statusChain } from "../../lib/attachment/status_gc_chain.ts";
import { validateChain } from "../../lib/attachment/validate.ts";
import { CniError } from "../../lib/cni/error.ts";
import { SPEC_VERSIONS } from "../../lib/cni/version.ts";
import { VersionProbe } from "../../lib/plugin/versions.ts";
import type { Answer } from "../recording_plugin.ts";
import { listOf, NetworkWorld } from "./world.ts";

const failing = (act: () => unknown) => assertRejects(async () => await act(), CniError);
const { signal } = new AbortController();
const supports = (...versions: string[]): Answer => ({
  stdout: JSON.stringify({ cniVersion: "1.0.0", supportedVersions: versions }),
});
const refusal = (code: number, msg: string): Answer => ({ stdout: JSON.stringify({ code, msg }), code: 1 });

Deno.test("D50 a list below 1.1.0 is ready, and no plugin is asked", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { STATUS: refusal(50, "not yet") });
  for (const cniVersion of SPEC_VERSIONS.slice(0, -1)) {
    await statusChain(world.runner, listOf(["a", "absent"], { cniVersion }), signal);
  }
  assertEquals(await world.plugins.verbs(), []);
});

Deno.test("D51 D53 B35 STATUS asks the plugins in order, and adds only name and version", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  await world.plugins.install("b");
  const list = listOf(["a"], {
    plugins: [
      { type: "a", mtu: 9000, capabilities: { mac: true }, "cni.dev/x": 1, prevResult: {} },
      { type: "b" },
    ],
  });
  await statusChain(world.runner, list, signal);
  assertEquals(await world.plugins.verbs(), ["a STATUS", "b STATUS"]);
  const [call] = await a.calls();
  assertEquals(call?.config, { type: "a", mtu: 9000, name: "web", cniVersion: "1.1.0" });
  const { CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS, CNI_PATH } = call?.env ?? {};
  assertEquals({ CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS }, {
    CNI_CONTAINERID: "",
    CNI_NETNS: "",
    CNI_IFNAME: "",
    CNI_ARGS: "",
  });
  assertEquals(CNI_PATH, `${world.plugins.dir}:/opt/a/bin`);
  assertEquals(await world.files(), [], "nothing is read from the cache or written to it");
});

Deno.test("D51 the first plugin that is not ready ends STATUS: 50 and 51 are of kind not-ready, other errors keep their kind", async () => {
  const cases = [[50, "not-ready"], [51, "not-ready"], [7, "plugin"], [11, "plugin"]] as const;
  for (const [code, kind] of cases) {
    await using world = await NetworkWorld.make();
    await world.plugins.install("a");
    await world.plugins.install("b", { STATUS: refusal(code, "the daemon is away") });
    await world.plugins.install("c");
    const error = await failing(() => statusChain(world.runner, listOf(["a", "b", "c"]), signal));
    assertEquals({ code: error.code, kind: error.kind }, { code, kind });
    assertEquals(error.message, 'Cannot STATUS network "web", plugin "b" (2 of 3): the daemon is away');
    assertEquals(await world.plugins.verbs(), ["a STATUS", "b STATUS"]);
  }
});

Deno.test("D52 B9 a missing plugin fails STATUS before any plugin is asked", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const error = await failing(() => statusChain(world.runner, listOf(["a", "absent"]), signal));
  assertEquals({ kind: error.kind, type: error.context.plugin?.type, network: error.context.network }, {
    kind: "plugin-missing",
    type: "absent",
    network: "web",
  });
});

Deno.test("B32 D60 GC asks every plugin in order, with the attachments in use under both keys", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  const b = await world.plugins.install("b");
  const valid = [{ containerID: "c1", ifname: "eth0" }, { containerID: "c-2", ifname: "net-1" }];
  const list = listOf([], {
    plugins: [{ type: "a", x: 1, capabilities: { mac: true }, "cni.dev/valid-attachments": [] }, {
      type: "b",
    }],
  });
  assertEquals(await gcChain(world.runner, list, valid, { timeoutMs: 5_000 }), []);
  assertEquals(await world.plugins.verbs(), ["a GC", "b GC"]);
  assertEquals((await a.calls())[0]?.config, {
    type: "a",
    x: 1,
    name: "web",
    cniVersion: "1.1.0",
    "cni.dev/valid-attachments": valid,
    "cni.dev/attachments": valid,
  });
  const { CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS } = (await b.calls())[0]?.env ?? {};
  assertEquals({ CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS }, {
    CNI_CONTAINERID: "",
    CNI_NETNS: "",
    CNI_IFNAME: "",
    CNI_ARGS: "",
  });
});

Deno.test("B33 B34 without an attachment in use the plugins get empty arrays, not null and not a missing member", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  await gcChain(world.runner, listOf(["a"]), [], { timeoutMs: 5_000 });
  const { config } = (await a.calls())[0]!;
  assertEquals([config["cni.dev/valid-attachments"], config["cni.dev/attachments"]], [[], []]);
});

Deno.test("D60 D61 a plugin that fails, hangs or is missing does not keep GC from the others, and each failure is returned", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { GC: refusal(107, "busy") });
  await world.plugins.install("b", { GC: { hang: true } });
  await world.plugins.install("d");
  const list = listOf(["a", "b", "absent", "d"]);
  const failures = await gcChain(world.runner, list, [], { timeoutMs: 5_000 });
  assertEquals(failures.map(({ kind, context }) => [kind, context.verb, context.plugin?.index]), [
    ["plugin", "GC", 0],
    ["timeout", "GC", 1],
    ["plugin-missing", "GC", 2],
  ]);
  assertEquals(await world.plugins.verbs(), ["a GC", "b GC", "d GC"]);
});

Deno.test("D67 D69 a list is valid if every plugin exists and supports its version; its capabilities have no duplicates", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { VERSION: supports("1.0.0", "0.-42.0") });
  await world.plugins.install("b");
  const list = listOf([], {
    cniVersion: "1.0.0",
    plugins: [
      { type: "b", capabilities: { portMappings: true, mac: true, ips: false } },
      { type: "a", capabilities: { mac: true, bandwidth: true } },
    ],
  });
  const probe = new VersionProbe(world.runner);
  assertEquals(await validateChain(probe, list), {
    cniVersion: "1.0.0",
    capabilities: ["bandwidth", "mac", "portMappings"],
  });
  assertEquals(await world.plugins.verbs(), ["b VERSION", "a VERSION"], "nothing but VERSION is asked");
});

Deno.test("D67 A list without a version is of 0.1.0, and versions are compared as texts", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a", { VERSION: { stdout: '{"cniVersion": "0.2.0"}' } });
  const probe = new VersionProbe(world.runner);
  const list = listOf(["a"], { cniVersion: undefined });
  assertEquals((await validateChain(probe, list)).cniVersion, "0.1.0");
  await a.answer("VERSION", supports("1.0"));
  const error = await failing(() =>
    validateChain(new VersionProbe(world.runner), listOf(["a"], { cniVersion: "1.0.0" }))
  );
  assertEquals({ code: error.code, msg: error.msg, details: error.context.details }, {
    code: 1,
    msg: 'plugin a does not support config version "1.0.0"',
    details: "it supports 1.0",
  });
});

Deno.test("D70 a single error is returned unchanged", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const error = await failing(() => validateChain(new VersionProbe(world.runner), listOf(["a", "absent"])));
  assertEquals({ kind: error.kind, type: error.context.plugin?.type, cause: error.cause }, {
    kind: "plugin-missing",
    type: "absent",
    cause: undefined,
  });
});

Deno.test("D68 all plugins are checked, and each of several errors can be read", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("old", { VERSION: supports("0.4.0") });
  await world.plugins.install("good");
  await world.plugins.install("broken", { VERSION: { code: 3, stderr: "no library" } });
  const list = listOf(["old", "absent", "good", "broken"]);
  const error = await failing(() => validateChain(new VersionProbe(world.runner), list));
  assertEquals({ kind: error.kind, code: error.code, network: error.context.network }, {
    kind: "config",
    code: 7,
    network: "web",
  });
  assertEquals(error.msg, "3 of its 4 plugins cannot be used");
  const { errors } = error.cause as AggregateError;
  assertEquals(
    errors.map(({ kind, code, context }: CniError) => [kind, code, context.plugin?.type]),
    [["config", 1, "old"], ["plugin-missing", 0, "absent"], ["plugin-crash", 0, "broken"]],
  );
  for (const words of ['plugin "old" (1 of 4)', 'plugin "absent" (2 of 4)', "no library"]) {
    assertStringIncludes(error.message, words);
  }
});

Deno.test("D76 a list of several versions is valid if its plugins have one of them in common", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { VERSION: supports("1.0.0", "0.4.0") });
  const b = await world.plugins.install("b", { VERSION: supports("0.4.0", "0.3.1") });
  const list = listOf(["a", "b"], { cniVersions: ["0.4.0", "1.0.0", "1.1.0"] });
  assertEquals((await validateChain(new VersionProbe(world.runner), list)).cniVersion, "0.4.0");
  await b.answer("VERSION", supports("1.1.0"));
  const error = await failing(() => validateChain(new VersionProbe(world.runner), list));
  assertEquals(error.code, 1);
  assertStringIncludes(error.message, '"a" supports 1.0.0, 0.4.0; "b" supports 1.1.0');
});
