// The source that reads on each request.
import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { delay } from "../../lib/async/wait.ts";
import type { CatalogChange } from "../../lib/catalog/source.ts";
import { CniError } from "../../lib/cni/error.ts";
import { briefs, CatalogWorld, conf, list } from "./world.ts";

Deno.test("F15 F45 F46 G23 without a watch, each request reads the current files, also after a start without networks", async () => {
  await using world = await CatalogWorld.make();
  await Deno.remove(world.parent, { recursive: true });
  await using source = world.onDemand();
  const none = await source.current();
  assertEquals(assertThrows(() => none.default(), CniError).kind, "not-ready");
  assertEquals({ hasNetworks: none.hasNetworks, defaultName: none.defaultName, entries: none.entries }, {
    hasNetworks: false,
    defaultName: undefined,
    entries: [],
  });
  await assertRejects(() => Deno.stat(world.parent), Deno.errors.NotFound);
  await Deno.mkdir(world.confDir, { recursive: true });
  await world.write("10-a.conf", conf("a"));
  assertEquals((await source.current()).default().name, "a");
  await world.write("10-a.conf", conf("b"));
  assertEquals((await source.current()).default().name, "b");
});

Deno.test("F24 files that have not changed are not parsed again, and the catalog is the same object", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a"), "20-b.conflist": list("b", "ptp") });
  await Deno.mkdir(world.path("b"));
  await world.write("b/10.conf", '{"type": "tuning"}');
  await using source = world.onDemand();
  const first = await source.current();
  await delay(200);
  assert(await source.current() === first);
  await world.write("b/10.conf", '{"type": "sbr"}');
  const second = await source.current();
  assertEquals(second.forPod("b").plugins.map(({ type }) => type), ["ptp", "sbr"]);
  assert(second.forPod("a") === first.forPod("a"));
  // Rewritten with the same content.
  await world.write("10-a.conf", conf("a"));
  assert(await source.current() === second);
});

Deno.test("F24 a change right after a reading is found, although size and time of the file may be the same", async () => {
  await using world = await CatalogWorld.make();
  await using source = world.onDemand();
  for (let n = 10; n < 60; n++) {
    await world.write("10-a.conf", conf(`n${n}`));
    assertEquals((await source.current()).default().name, `n${n}`);
  }
});

Deno.test("F24 G16 with 1,000 networks, reading again without changes takes a fraction of the first reading", async () => {
  await using world = await CatalogWorld.make();
  for (let n = 0; n < 1_000; n++) {
    const plugins = ["bridge", "portmap", "tuning"].map((type) => ({
      type,
      capabilities: { portMappings: true },
    }));
    const text = JSON.stringify({ cniVersion: "1.1.0", name: `net-${n}`, plugins }, null, 2);
    await world.write(`${1_000 + n}.conflist`, text);
  }
  await delay(150);
  await using source = world.onDemand();
  const timed = async () => {
    const begin = performance.now();
    await source.current();
    return performance.now() - begin;
  };
  const first = await timed();
  const again = Math.min(...[await timed(), await timed(), await timed(), await timed(), await timed()]);
  assertEquals((await source.current()).lists.length, 1_000);
  assert(again * 2 < first, `${again} ms after ${first} ms`);
});

Deno.test("F27 F39 G7 G8 G9 G10 G11 G18 if the directory cannot be read, the former networks stay in use, and reload() throws why", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a"), "20-b.conf": "{" });
  await using source = world.onDemand();
  await source.current();
  await Deno.remove(world.confDir, { recursive: true });
  await Deno.writeTextFile(world.confDir, "a file");
  const former = await source.current();
  assertEquals(briefs(former), ["10-a.conf a stale default", "20-b.conf - rejected"]);
  assertEquals(former.forPod("a").name, "a");
  assertStringIncludes(world.log.all.join("\n"), "its former networks stay in use");
  // The error has its kind, its file and its cause.
  const error = await assertRejects(() => source.reload(), CniError);
  assertEquals({ kind: error.kind, file: error.context.file }, { kind: "io", file: world.confDir });
  assert(error.cause instanceof Error);
});

Deno.test("F27 a process that cannot read the directory uses what an earlier process has read", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await using first = world.onDemand();
  await first.current();
  await Deno.remove(world.confDir, { recursive: true });
  await Deno.writeTextFile(world.confDir, "a file");
  await using second = world.onDemand();
  assertEquals(briefs(await second.current()), ["10-a.conf a stale default"]);
  await using other = world.onDemand({ stateDir: `${world.dir}/other` });
  assertEquals((await assertRejects(() => other.current(), CniError)).kind, "io");
});

Deno.test("F29 a reading that is requested after a change finds it, also with many requests at once", async () => {
  await using world = await CatalogWorld.make();
  await using source = world.onDemand();
  const readings: Promise<void>[] = [];
  let newest = 0;
  for (let n = 1; n <= 40; n++) {
    // The file is replaced as a whole: unfinished files have another test.
    await world.write("new.tmp", conf(`n${n}`));
    await Deno.rename(world.path("new.tmp"), world.path("10-a.conf"));
    for (let k = 0; k < 3; k++) {
      readings.push((async () => {
        const name = (await source.reload()).default().name;
        assert(Number(name.slice(1)) >= n, `${name} after n${n}`);
        // An older state never follows a newer one.
        assert(Number(name.slice(1)) >= newest, `${name} after n${newest}`);
        newest = Number(name.slice(1));
      })());
    }
  }
  await Promise.all(readings);
  assertEquals((await source.current()).default().name, "n40");
});

Deno.test("F19 F20 F22 F23 F136 G19 G20 G22 an unusable file is skipped and reported, at any place", async () => {
  await using world = await CatalogWorld.make({
    "05-null.conf": "null",
    "06-null.conflist": "null",
    "07-empty.conf": "",
    "08-nameless.conf": '{"cniVersion": "1.0.0", "name": "", "type": "bridge"}',
    "09-none.conflist": '{"cniVersion": "1.0.0", "name": "none", "plugins": []}',
    "10-a.conf": conf("a"),
    "99-cut.conflist": list("z", "bridge").slice(0, 20),
  });
  await using source = world.onDemand();
  const catalog = await source.current();
  assertEquals(catalog.lists.map(({ name }) => name), ["a"]);
  assertEquals(catalog.forPod("a").name, "a");
  assertEquals(catalog.entries.filter(({ status }) => status === "rejected").length, 6);
  for (const { reason, line, status } of catalog.entries.filter(({ name }) => name === undefined)) {
    assertEquals([status, typeof line], ["rejected", "number"]);
    assert(reason !== undefined && reason !== "");
  }
});

Deno.test("F21 G21 a network whose plugin is not installed stays the default: no other one replaces it", async () => {
  await using world = await CatalogWorld.make({
    "10-a.conf": conf("a", "not-installed"),
    "20-b.conf": conf("b"),
  });
  await using source = world.onDemand();
  assertEquals(briefs(await source.current()), ["10-a.conf a used default", "20-b.conf b used"]);
});

Deno.test("F25 G17 of two files with the same network name the first is used, also while it is unusable", async () => {
  await using world = await CatalogWorld.make({
    "10-web.conf": conf("web", "one"),
    "20-web.conf": conf("web", "two"),
  });
  await using source = world.onDemand();
  const plugin = async () => (await source.current()).forPod("web").plugins[0]?.type;
  assertEquals(await plugin(), "one");
  await world.write("10-web.conf", "{");
  assertEquals(await plugin(), "one");
  assertEquals(briefs(await source.current()), ["10-web.conf web stale default", "20-web.conf web shadowed"]);
  await world.remove("10-web.conf");
  assertEquals(await plugin(), "two");
  // An unusable file that would be shadowed is only rejected.
  await world.write("30-web.conf", conf("web", "three"));
  await source.current();
  await world.write("30-web.conf", "{");
  assertEquals(briefs(await source.current()), ["20-web.conf web used default", "30-web.conf - rejected"]);
});

Deno.test("F40 the network of a removed file is gone, also if it was the default", async () => {
  await using world = await CatalogWorld.make({
    "10-a.conf": conf("a"),
    "20-b.conf": conf("b"),
    "30-c.conf": conf("c"),
  });
  await using source = world.onDemand();
  await source.current();
  await world.remove("20-b.conf");
  assertEquals(briefs(await source.current()), ["10-a.conf a used default", "30-c.conf c used"]);
  await world.remove("10-a.conf");
  assertEquals(briefs(await source.current()), ["30-c.conf c used default"]);
  assertEquals(world.log.all, ['warn the default network is "c" now, it was "a"']);
});

Deno.test("a file that is missing for a moment while it is rewritten does not count as removed", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a"), "20-b.conf": conf("b") });
  await using source = world.onDemand();
  await source.current();
  await world.remove("10-a.conf");
  const reading = source.current();
  await delay(50);
  // The whole file is written before the second reading can begin.
  Deno.writeTextFileSync(world.path("10-a.conf"), conf("a"));
  assertEquals((await reading).default().name, "a");
  assertEquals(world.log.all, []);
});

Deno.test("the first request after a change emits it", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await using source = world.onDemand();
  const changes: CatalogChange[] = [];
  using _listener = source.onChange((change) => changes.push(change));
  await source.current();
  await source.reload();
  assertEquals(changes, []);
  await world.write("10-a.conf", conf("b"));
  const catalog = await source.current();
  assertEquals(changes.map(({ networks, plugins }) => [networks, plugins]), [[true, false]]);
  assert(changes[0]?.catalog === catalog);
});

Deno.test("a closed source does not read, and its reading ends", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  const source = world.onDemand();
  await source.current();
  await world.remove("10-a.conf");
  const reading = source.current();
  await source[Symbol.asyncDispose]();
  await assertRejects(() => reading);
  await source[Symbol.asyncDispose]();
  assertEquals((await assertRejects(() => source.current(), CniError)).kind, "cancelled");
});
