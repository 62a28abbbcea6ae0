// The source that reads when it is asked.
import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import type { CatalogChange } from "../../lib/catalog/source.ts";
import { CniError } from "../../lib/cni/error.ts";
import { briefs, CatalogWorld, conf, list } from "./world.ts";
import { delay } from "../../lib/async/wait.ts";

Deno.test("F15 F45 F46 G23 without watching, each question sees what is there by then; a start without networks recovers", async () => {
  await using world = await CatalogWorld.make();
  await Deno.remove(world.parent, { recursive: true });
  await using source = world.onDemand();
  const none = await source.current();
  assertEquals(assertThrows(() => none.default(), CniError).kind, "not-ready");
  assertEquals([none.hasNetworks, none.defaultName, none.entries], [false, undefined, []]);
  await assertRejects(() => Deno.stat(world.parent), Deno.errors.NotFound);
  await Deno.mkdir(world.confDir, { recursive: true });
  await world.write("10-a.conf", conf("a"));
  assertEquals((await source.current()).default().name, "a");
  await world.write("10-a.conf", conf("b"));
  assertEquals((await source.current()).default().name, "b");
});

Deno.test("F24 what has not changed is not parsed again, and gives the same catalogue", async () => {
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
  // Written anew with the same words.
  await world.write("10-a.conf", conf("a"));
  assert(await source.current() === second);
});

Deno.test("F24 a change right after a reading is seen, though size and time of the file may be the same", async () => {
  await using world = await CatalogWorld.make();
  await using source = world.onDemand();
  for (let n = 10; n < 60; n++) {
    await world.write("10-a.conf", conf(`n${n}`));
    assertEquals((await source.current()).default().name, `n${n}`);
  }
});

Deno.test("F24 G16 of 1,000 networks, reading again what has not changed costs a fraction of the first reading", async () => {
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

Deno.test("F27 F39 G7 G8 G9 G10 G11 G18 a directory that cannot be read leaves the former networks in force, and reload() says why", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a"), "20-b.conf": "{" });
  await using source = world.onDemand();
  await source.current();
  await Deno.remove(world.confDir, { recursive: true });
  await Deno.writeTextFile(world.confDir, "a file");
  const former = await source.current();
  assertEquals(briefs(former), ["10-a.conf a stale default", "20-b.conf - rejected"]);
  assertEquals(former.forPod("a").name, "a");
  assertStringIncludes(world.log.all.join("\n"), "what it held stays in force");
  // The kind, what it is about and the cause are there.
  const error = await assertRejects(() => source.reload(), CniError);
  assertEquals([error.kind, error.context.file], ["io", world.confDir]);
  assert(error.cause instanceof Error);
});

Deno.test("F27 another process that cannot read the directory uses what the last one that could has read", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await using first = world.onDemand();
  await first.current();
  await Deno.remove(world.confDir, { recursive: true });
  await Deno.writeTextFile(world.confDir, "a file");
  await using second = world.onDemand();
  assertEquals(briefs(await second.current()), ["10-a.conf a stale default"]);
  await using stranger = world.onDemand({ stateDir: `${world.dir}/other` });
  assertEquals((await assertRejects(() => stranger.current(), CniError)).kind, "io");
});

Deno.test("F29 a reading that was asked for after a change sees it, however many are asked for at once", async () => {
  await using world = await CatalogWorld.make();
  await using source = world.onDemand();
  const seen: Promise<void>[] = [];
  let newest = 0;
  for (let n = 1; n <= 40; n++) {
    // No reading may meet half a file: that is another test.
    await world.write("new.tmp", conf(`n${n}`));
    await Deno.rename(world.path("new.tmp"), world.path("10-a.conf"));
    for (let k = 0; k < 3; k++) {
      seen.push((async () => {
        const name = (await source.reload()).default().name;
        assert(Number(name.slice(1)) >= n, `${name} after n${n}`);
        // An older state never follows a newer one.
        assert(Number(name.slice(1)) >= newest, `${name} after n${newest}`);
        newest = Number(name.slice(1));
      })());
    }
  }
  await Promise.all(seen);
  assertEquals((await source.current()).default().name, "n40");
});

Deno.test("F19 F20 F22 F23 F136 G19 G20 G22 a file that cannot be used is skipped and told of, wherever it stands", async () => {
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

Deno.test("F21 G21 a network whose plugin is not installed keeps its place: no other one stands in for it", async () => {
  await using world = await CatalogWorld.make({
    "10-a.conf": conf("a", "not-installed"),
    "20-b.conf": conf("b"),
  });
  await using source = world.onDemand();
  assertEquals(briefs(await source.current()), ["10-a.conf a used default", "20-b.conf b used"]);
});

Deno.test("F25 G17 of two files with the same name, the one that comes first is in force, also while it is bad", async () => {
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
  // A bad one that would be shadowed anyway is only bad.
  await world.write("30-web.conf", conf("web", "three"));
  await source.current();
  await world.write("30-web.conf", "{");
  assertEquals(briefs(await source.current()), ["20-web.conf web used default", "30-web.conf - rejected"]);
});

Deno.test("F40 a file that was removed takes its network with it, the default one or any other", async () => {
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

Deno.test("a file that is gone for a moment while it is written anew has not been removed", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a"), "20-b.conf": conf("b") });
  await using source = world.onDemand();
  await source.current();
  await world.remove("10-a.conf");
  const reading = source.current();
  await delay(50);
  // Whole before the second look can begin.
  Deno.writeTextFileSync(world.path("10-a.conf"), conf("a"));
  assertEquals((await reading).default().name, "a");
  assertEquals(world.log.all, []);
});

Deno.test("changes are told of, by whoever asks first", async () => {
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

Deno.test("once closed, it reads no more, and what was reading ends", async () => {
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
