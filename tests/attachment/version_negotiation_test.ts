import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { parseConfigList } from "../../lib/cni/config.ts";
import { CniError } from "../../lib/cni/error.ts";
import { inVersion } from "../../lib/cni/in_version.ts";
import type { Answer } from "../recording_plugin.ts";
import { listOf, NetworkWorld, resultWith } from "./world.ts";

const failing = (act: () => unknown) => assertRejects(async () => await act(), CniError);
const supports = (...versions: string[]): Answer => ({
  stdout: JSON.stringify({ cniVersion: "1.0.0", supportedVersions: versions }),
});
const SEVERAL = { cniVersion: "0.4.0", cniVersions: ["1.1.0", "0.4.0", "1.0.0"] };

Deno.test("D76 A36 a list with several versions is used in the newest version that all of its plugins support", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a", { VERSION: supports("0.4.0", "1.0.0", "1.1.0") });
  const b = await world.plugins.install("b", {
    VERSION: supports("0.3.1", "1.0.0", "0.4.0"),
    ADD: { stdout: resultWith("10.1.0.2/24", "1.0.0") },
  });
  const list = listOf(["a", "b"], SEVERAL);
  const attachments = world.attachments();
  const result = await attachments.add(list, world.request());
  assertEquals(result.cniVersion, "1.0.0");
  await attachments.check(list, world.request());
  await attachments.del(list, world.request());
  assertEquals(await world.plugins.verbs(), [
    "a VERSION",
    "b VERSION",
    "a ADD",
    "b ADD",
    "a CHECK",
    "b CHECK",
    "b DEL",
    "a DEL",
  ]);
  for (const { verb, config } of [...await a.calls(), ...await b.calls()]) {
    if (verb !== "VERSION") {
      assertEquals({ verb, cniVersion: config.cniVersion }, { verb, cniVersion: "1.0.0" });
    }
  }
});

Deno.test("D76 A36 the plugins of a list with one version are not asked for theirs", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { VERSION: supports("0.1.0") });
  for (const versions of [{ cniVersion: "1.0.0" }, { cniVersions: ["1.0.0", "9.0.0"] }]) {
    const list = listOf(["a"], { cniVersion: undefined, ...versions });
    await world.attachments().add(list, world.request());
    await world.attachments().check(list, world.request());
    await world.attachments().del(list, world.request());
  }
  assertEquals((await world.plugins.verbs()).filter((call) => call.includes("VERSION")), []);
});

Deno.test("D76 the version of the ADD is on record, and CHECK and DEL use it whatever the plugins support now", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a", { VERSION: supports("0.4.0", "1.0.0") });
  const list = listOf(["a"], SEVERAL);
  await world.attachments().add(list, world.request());
  const [record] = await world.store.all();
  assertEquals(record?.cniVersion, "1.0.0");
  // Another process, and an updated plugin.
  await a.answer("VERSION", supports("0.4.0", "1.0.0", "1.1.0"));
  await world.attachments().check(list, world.request());
  await world.attachments().del(list, world.request());
  const calls = (await a.calls()).map(({ verb, config }) => `${verb} ${config.cniVersion}`);
  assertEquals(calls, ["VERSION 1.1.0", "ADD 1.0.0", "CHECK 1.0.0", "DEL 1.0.0"]);
});

Deno.test("D76 Y8 the configuration in the cache, for other runtimes, offers only the version of the ADD", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { VERSION: supports("0.4.0", "1.0.0") });
  const list = listOf(["a"], { ...SEVERAL, unknown: 9 });
  await world.attachments().add(list, world.request());
  const key = { containerId: "c1", network: "web", ifName: "eth0" };
  const entry = await world.cache.read(key);
  assertEquals(JSON.parse(entry?.config ?? ""), {
    cniVersion: "1.0.0",
    name: "web",
    plugins: [{ type: "a" }],
    unknown: 9,
  });
  // The record is lost: the entry has the version as well.
  await world.store.remove(key);
  await world.attachments().check(list, world.request());
  await world.attachments().del(list, world.request());
  assertEquals((await world.plugins.verbs()).filter((call) => call.includes("VERSION")).length, 1);
});

Deno.test("E14 the configuration stays byte for byte if the newest version is used", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const text = '{ "cniVersions": ["1.0.0", "1.1.0"],  "name": "web", "plugins": [ {"type": "a"} ] }';
  await world.attachments().add(parseConfigList(text), world.request());
  const [record] = await world.store.all();
  assertEquals({ config: record?.config, cniVersion: record?.cniVersion }, {
    config: text,
    cniVersion: "1.1.0",
  });
});

Deno.test("D76 without a version in common nothing runs, and each plugin is named with its versions", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { VERSION: supports("1.0.0") });
  await world.plugins.install("b", { VERSION: supports("0.4.0", "0.3.1") });
  const error = await failing(() => world.attachments().add(listOf(["a", "b"], SEVERAL), world.request()));
  assertEquals({ kind: error.kind, code: error.code, network: error.context.network }, {
    kind: "config",
    code: 1,
    network: "web",
  });
  assertStringIncludes(error.message, "none of the versions 0.4.0, 1.0.0, 1.1.0 in common");
  assertStringIncludes(error.message, '"a" supports 1.0.0; "b" supports 0.4.0, 0.3.1');
  assertEquals(await world.plugins.verbs(), ["a VERSION", "b VERSION"]);
  assertEquals(await world.files(), []);
});

Deno.test("D76 a plugin that fails VERSION fails the ADD before anything runs, named with its place", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await world.plugins.install("b", { VERSION: { code: 3, stderr: "broken" } });
  const list = listOf(["a", "b"], SEVERAL);
  const error = await failing(() => world.attachments().add(list, world.request()));
  assertEquals({ kind: error.kind, verb: error.context.verb, plugin: error.context.plugin }, {
    kind: "plugin-crash",
    verb: "VERSION",
    plugin: {
      type: "b",
      index: 1,
      count: 2,
    },
  });
  assertEquals(await world.plugins.verbs(), ["a VERSION", "b VERSION"]);
});

Deno.test("D76 a DEL without a record asks for the versions too", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a", { VERSION: supports("0.4.0") });
  await world.attachments().del(listOf(["a"], SEVERAL), world.request());
  assertEquals((await a.calls()).map(({ verb, config }) => `${verb} ${config.cniVersion}`), [
    "VERSION 1.1.0",
    "DEL 0.4.0",
  ]);
});

Deno.test("D20 D76 CHECK needs 0.4.0 in the negotiated version", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { VERSION: supports("0.3.1", "0.2.0") });
  const list = listOf(["a"], { cniVersion: "0.3.1", cniVersions: ["1.0.0"] });
  const error = await failing(() => world.attachments().check(list, world.request()));
  assertEquals({ code: error.code, msg: error.msg }, {
    code: 1,
    msg: 'configuration version "0.3.1" does not support the CHECK command',
  });
});

Deno.test("a list in one of its versions is parsed to the same list", () => {
  const list = listOf(["a", "b"], { ...SEVERAL, x: { y: 1 } });
  const chosen = inVersion(list, "0.4.0");
  const again = parseConfigList(chosen.text);
  assertEquals({ cniVersion: again.cniVersion, cniVersions: again.cniVersions, plugins: again.plugins }, {
    cniVersion: "0.4.0",
    cniVersions: ["0.4.0"],
    plugins: list.plugins,
  });
  assertEquals(again.json, chosen.json);
  assertEquals(inVersion(list, "1.1.0").text, list.text);
});
