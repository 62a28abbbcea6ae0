// The source that watches, with real directories and the real kernel. Polling is off unless a test sets it, so each change is
// found by an event.
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { delay } from "../../lib/async/wait.ts";
import { CniError } from "../../lib/cni/error.ts";
import { type WatchDirs, watchDirs, type WatchListener } from "../../lib/host/watch.ts";
import { CatalogWorld, conf, list } from "./world.ts";

const A = "10-a.conf a used default";

Deno.test("F16 the watch exists before the first reading", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  const order: string[] = [];
  const reader = world.reader({ now: () => (order.push("read"), new Date()) });
  const watch: WatchDirs = (dirs, listener) => {
    order.push(dirs.includes(world.confDir) ? "watch" : "something else");
    return watchDirs(dirs, listener);
  };
  await using watched = await world.watch({ reader, watch });
  assertEquals(order.slice(0, 2), ["watch", "read"]);
  await watched.becomes(A);
});

Deno.test("F16 no file that appears while the source opens is missed", async () => {
  for (let round = 0; round < 10; round++) {
    await using world = await CatalogWorld.make();
    const names = Array.from({ length: 12 }, (_, index) => `${10 + index}-n.conf`);
    const writing = (async () => {
      for (const name of names) await world.write(name, conf(`n${name.slice(0, 2)}`));
    })();
    await using watched = await world.watch();
    await writing;
    const isAll = async () => (await watched.source.current()).lists.length === names.length;
    await watched.until(isAll, "all files are read");
  }
});

Deno.test("F36 F40 F43 created, rewritten, renamed and removed files and plugin folders are noticed", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await using watched = await world.watch();
  assertEquals(await watched.now(), [A]);
  await world.write("20-b.conflist", list("b", "ptp"));
  await watched.becomes(A, "20-b.conflist b used");
  await world.write("20-b.conflist", list("c", "ptp"));
  await watched.becomes(A, "20-b.conflist c used");
  await Deno.rename(world.path("20-b.conflist"), world.path("30-b.conflist"));
  await watched.becomes(A, "30-b.conflist c used");
  const plugins = async () =>
    (await watched.source.current()).forPod("c").plugins.map(({ type }) => type).join();
  await Deno.mkdir(world.path("c"));
  await world.write("c/10.conf", '{"type": "tuning"}');
  await watched.until(async () => await plugins() === "ptp,tuning", "the plugin of the folder is there");
  await delay(300);
  await world.write("c/10.conf", '{"type": "sbr"}');
  await watched.until(async () => await plugins() === "ptp,sbr", "the plugin of the folder is another one");
  await world.remove("c");
  await watched.until(async () => await plugins() === "ptp", "the plugin of the folder is gone");
  // Not the file of the default network.
  await world.remove("30-b.conflist");
  await watched.becomes(A);
});

Deno.test("F42 a file that is written in ten steps gives one change, without the unfinished contents", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await using watched = await world.watch({ gatherMs: 4_000 });
  const text = list("b", "bridge", "portmap", "tuning");
  {
    using file = await Deno.open(world.path("20-b.conflist"), { write: true, create: true });
    const bytes = new TextEncoder().encode(text);
    const step = Math.ceil(bytes.length / 10);
    for (let at = 0; at < bytes.length; at += step) {
      await file.write(bytes.subarray(at, at + step));
      await delay(20);
    }
  }
  await watched.becomes(A, "20-b.conflist b used");
  await watched.source.reload();
  assertEquals(watched.changes.map(({ networks, plugins }) => [networks, plugins]), [[true, false]]);
  assertEquals(world.log.all, []);
});

Deno.test("F42 if events never stop, the wait for further events still ends", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await using watched = await world.watch({ gatherMs: 200 });
  let ended = false;
  const writing = (async () => {
    for (let n = 0; !ended && n < 1_000; n++) {
      await world.write("20-b.conf", conf(`b${n}`));
      await delay(40);
    }
  })();
  try {
    await watched.until(() => watched.changes.length >= 2, "two changes while the file is rewritten");
  } finally {
    ended = true;
    await writing;
  }
});

Deno.test("F28 changes at the same time come into use at the same time", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a"), "20-b.conf": conf("b") });
  await using watched = await world.watch({ gatherMs: 500 });
  // Synchronous: no reading can happen in between.
  for (const name of ["10-a.conf", "20-b.conf"]) Deno.removeSync(world.path(name));
  for (const name of ["c", "d"]) Deno.writeTextFileSync(world.path(`30-${name}.conf`), conf(name));
  await watched.becomes("30-c.conf c used default", "30-d.conf d used");
  assertEquals(watched.changes.length, 1);
});

Deno.test("F44 a directory that is removed and created again, also with its parent, is watched as before", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await using watched = await world.watch();
  for (const removed of [world.confDir, world.parent]) {
    await Deno.remove(removed, { recursive: true });
    await watched.becomes();
    await Deno.mkdir(world.confDir, { recursive: true });
    await world.write("10-a.conf", conf("a"));
    await watched.becomes(A);
    await world.write("20-b.conf", conf("b"));
    await watched.becomes(A, "20-b.conf b used");
  }
});

Deno.test("F44 a directory that is replaced, and one that is moved away, are noticed", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await using watched = await world.watch();
  await Deno.mkdir(`${world.parent}/next`);
  await Deno.writeTextFile(`${world.parent}/next/10-b.conf`, conf("b"));
  await Deno.rename(world.confDir, `${world.parent}/former`);
  await Deno.rename(`${world.parent}/next`, world.confDir);
  await watched.becomes("10-b.conf b used default");
  await Deno.writeTextFile(`${world.parent}/former/20-x.conf`, conf("x"));
  await world.write("20-c.conf", conf("c"));
  await watched.becomes("10-b.conf b used default", "20-c.conf c used");
  await Deno.rename(world.parent, `${world.dir}/elsewhere`);
  await watched.becomes();
  await Deno.rename(`${world.dir}/elsewhere`, world.parent);
  await watched.becomes("10-b.conf b used default", "20-c.conf c used");
});

Deno.test("F44 a directory that becomes a link is followed, also when the link is switched or its target changes", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await using watched = await world.watch();
  for (const name of ["one", "two"]) {
    await Deno.mkdir(`${world.dir}/data/${name}`, { recursive: true });
    await Deno.writeTextFile(`${world.dir}/data/${name}/10-${name}.conf`, conf(name));
  }
  await Deno.remove(world.confDir, { recursive: true });
  await Deno.symlink("../data/one", world.confDir);
  await watched.becomes("10-one.conf one used default");
  await Deno.writeTextFile(`${world.dir}/data/one/20-b.conf`, conf("b"));
  await watched.becomes("10-one.conf one used default", "20-b.conf b used");
  await Deno.symlink("../data/two", `${world.parent}/new-link`);
  await Deno.rename(`${world.parent}/new-link`, world.confDir);
  await watched.becomes("10-two.conf two used default");
  await Deno.writeTextFile(`${world.dir}/data/two/20-c.conf`, conf("c"));
  await watched.becomes("10-two.conf two used default", "20-c.conf c used");
});

Deno.test("F44 the later removal of a replaced directory does not affect the watch of the new one", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await using watched = await world.watch();
  await Deno.mkdir(`${world.parent}/next`);
  await Deno.writeTextFile(`${world.parent}/next/10-b.conf`, conf("b"));
  await Deno.rename(world.confDir, `${world.parent}/former`);
  await Deno.rename(`${world.parent}/next`, world.confDir);
  await watched.becomes("10-b.conf b used default");
  await delay(300);
  await Deno.remove(`${world.parent}/former`, { recursive: true });
  await delay(300);
  await world.write("20-c.conf", conf("c"));
  await watched.becomes("10-b.conf b used default", "20-c.conf c used");
});

Deno.test("a file that is a link is watched at its target", async () => {
  await using world = await CatalogWorld.make();
  await Deno.writeTextFile(`${world.dir}/elsewhere.conf`, conf("a"));
  await Deno.symlink("../../elsewhere.conf", world.path("10-a.conf"));
  await using watched = await world.watch();
  assertEquals(await watched.now(), [A]);
  await Deno.writeTextFile(`${world.dir}/elsewhere.conf`, conf("other"));
  await watched.becomes("10-a.conf other used default");
});

Deno.test("F14 F124 a directory that does not exist at the start is not created, and noticed when it appears", async () => {
  await using world = await CatalogWorld.make();
  await Deno.remove(world.parent, { recursive: true });
  await using watched = await world.watch();
  assertEquals(await watched.now(), []);
  await assertRejects(async () => (await watched.source.current()).default(), CniError, "no usable network");
  await assertRejects(() => Deno.stat(world.parent), Deno.errors.NotFound);
  await Deno.mkdir(world.parent);
  await delay(300);
  await Deno.mkdir(world.confDir);
  await world.write("10-a.conf", conf("a"));
  await watched.becomes(A);
});

Deno.test("F36 installed, executable and removed plugins are noticed, also in a new directory", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  const later = `${world.dir}/later/bin`;
  await using watched = await world.watch({ pluginDirs: [world.pluginDir, later] });
  const noticed = async (what: string) => {
    await watched.until(() => watched.changes.some(({ plugins }) => plugins), what);
    assert(watched.changes.every(({ networks }) => !networks));
    await delay(200);
    watched.changes.length = 0;
  };
  await Deno.writeTextFile(`${world.pluginDir}/bridge`, "#!/bin/sh\n", { mode: 0o644 });
  await noticed("installed");
  await Deno.chmod(`${world.pluginDir}/bridge`, 0o755);
  await noticed("made executable");
  await Deno.remove(`${world.pluginDir}/bridge`);
  await noticed("removed");
  await Deno.mkdir(later, { recursive: true });
  await Deno.writeTextFile(`${later}/ptp`, "#!/bin/sh\n", { mode: 0o755 });
  await noticed("installed where nothing was");
});

Deno.test("F37 a change that leaves the content the same emits nothing", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await using watched = await world.watch();
  const before = await watched.source.current();
  // Synchronous: no reading can find it empty.
  Deno.writeTextFileSync(world.path("10-a.conf"), conf("a"));
  await world.write("README", "nothing of ours");
  await Deno.chmod(world.path("10-a.conf"), 0o600);
  await delay(500);
  assertEquals(watched.changes, []);
  assert(await watched.source.current() === before);
});

/** A watch whose events a test causes, and which counts how often it was made. */
class FakeWatch {
  readonly made: WatchListener[] = [];
  /** How many more times making it fails. */
  refusals = 0;
  readonly watch: WatchDirs = (_dirs, listener) => {
    if (this.refusals-- > 0) return Promise.reject(new Error("no space left on device (os error 28)"));
    this.made.push(listener);
    return Promise.resolve({ [Symbol.dispose]: () => {} });
  };

  get last(): WatchListener {
    return this.made.at(-1) as WatchListener;
  }
}

Deno.test("F41 after an overflow of the event queue, which names no path, everything is read", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  const fake = new FakeWatch();
  await using watched = await world.watch({ watch: fake.watch });
  await world.write("20-b.conf", conf("b"));
  await Deno.writeTextFile(`${world.pluginDir}/bridge`, "");
  fake.last.changed([]);
  await watched.becomes(A, "20-b.conf b used");
  await watched.until(() => watched.changes.some(({ plugins }) => plugins), "the plugin is noticed");
});

Deno.test("F41 more events at once than the queue holds: no change is missed", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await using watched = await world.watch();
  for (let round = 0; round < 5; round++) {
    for (let i = 0; i < 300; i++) Deno.writeTextFileSync(world.path(`noise-${i}`), `${round}`);
    Deno.writeTextFileSync(world.path("20-b.conf"), conf(`b${round}`));
    await watched.becomes(A, `20-b.conf b${round} used`);
  }
});

Deno.test("F41 a watch that fails is made again after a while, and changes meanwhile are noticed", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  const fake = new FakeWatch();
  await using watched = await world.watch({ watch: fake.watch });
  const made = fake.made.length;
  fake.refusals = 1;
  fake.last.failed(new Error("the watcher is broken"));
  await world.write("20-b.conf", conf("b"));
  await watched.becomes(A, "20-b.conf b used");
  await watched.until(() => fake.made.length > made, "another watch");
  assertEquals(world.log.all.length, 2);
  for (const line of world.log.all) assertStringIncludes(line, "warn the configuration cannot be watched");
  // The first watch has no effect any more.
  fake.made[0]?.failed(new Error("late"));
  assertEquals(world.log.all.length, 2);
});

Deno.test("F41 if only polling finds a change, the watch is made again: it had missed the event", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  const fake = new FakeWatch();
  await using watched = await world.watch({ watch: fake.watch, pollMs: 100 });
  await delay(300);
  const made = fake.made.length;
  await world.write("20-b.conf", conf("b"));
  await watched.becomes(A, "20-b.conf b used");
  await watched.until(() => fake.made.length > made, "another watch");
});

Deno.test("F41 F133 F134 without any watch, polling finds each change", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  const fake = new FakeWatch();
  fake.refusals = Infinity;
  await using watched = await world.watch({ watch: fake.watch, pollMs: 50 });
  for (const name of ["b", "c", "d", "e"]) {
    await world.write("20-b.conf", conf(name));
    await watched.becomes(A, `20-b.conf ${name} used`);
  }
});

Deno.test("F39 F27 F133 if the directory cannot be read, its networks stay in use, a warning is logged, and watching goes on", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await using watched = await world.watch();
  await Deno.remove(world.confDir, { recursive: true });
  await Deno.writeTextFile(world.confDir, "a file");
  // A reading may happen between the removal and the writing.
  await watched.until(
    async () => (await watched.source.current()).problem !== undefined,
    "the problem is noticed",
  );
  await watched.becomes("10-a.conf a stale default");
  const catalog = await watched.source.current();
  assertEquals(catalog.default().name, "a");
  assertEquals(catalog.problem?.kind, "io");
  assertStringIncludes(catalog.entries[0]?.reason ?? "", "Not a directory");
  assertStringIncludes(world.log.all.join("\n"), "warn the configuration directory cannot be read");
  const error = await assertRejects(() => watched.source.reload(), CniError);
  assertEquals(error.context.file, world.confDir);
  await Deno.remove(world.confDir);
  await Deno.mkdir(world.confDir);
  await world.write("10-b.conf", conf("b"));
  await watched.becomes("10-b.conf b used default");
});

Deno.test("F13 a directory that cannot be read at the start is not an error, but its default network is not ready", async () => {
  await using world = await CatalogWorld.make();
  await Deno.remove(world.confDir);
  await Deno.writeTextFile(world.confDir, "a file");
  await using watched = await world.watch();
  const error = await assertRejects(async () => (await watched.source.current()).default(), CniError);
  assertEquals(error.kind, "not-ready");
  assertStringIncludes(error.context.details ?? "", "Not a directory");
  await Deno.remove(world.confDir);
  await Deno.mkdir(world.confDir);
  await world.write("10-a.conf", conf("a"));
  await watched.becomes(A);
});

Deno.test("a listener that throws has no effect, and a disposed listener is not called", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await using watched = await world.watch();
  let calls = 0;
  const gone = watched.source.onChange(() => void calls++);
  watched.source.onChange(() => {
    throw new RangeError("of a listener");
  });
  await world.write("10-a.conf", conf("b"));
  await watched.becomes("10-a.conf b used default");
  gone[Symbol.dispose]();
  gone[Symbol.dispose]();
  await world.write("10-a.conf", conf("c"));
  await watched.becomes("10-a.conf c used default");
  assertEquals([calls, watched.changes.length], [1, 2]);
  assertEquals(world.log.all.filter((line) => line.includes("of a listener")).length, 2);
});

Deno.test("F112 F113 F114 disposing waits for the reading, works twice, and keeps the catalog", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  const watched = await world.watch();
  const { source } = watched;
  await world.remove("10-a.conf");
  const reading = source.reload();
  // The missing file is read a second time: the reading is still in progress.
  const closing = [source[Symbol.asyncDispose](), source[Symbol.asyncDispose]()];
  await assertRejects(() => reading);
  await Promise.all(closing);
  await source[Symbol.asyncDispose]();
  assertEquals((await source.current()).default().name, "a");
  assertEquals((await assertRejects(() => source.reload(), CniError)).kind, "cancelled");
  await world.write("10-b.conf", conf("b"));
  await delay(200);
  assertEquals(watched.changes, []);
});

Deno.test("F114 disposing right after the start leaves nothing behind", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  for (let round = 0; round < 20; round++) await (await world.watch())[Symbol.asyncDispose]();
});

Deno.test("a caller's signal ends its wait, not the reading", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await using watched = await world.watch();
  const { source } = watched;
  await world.remove("10-a.conf");
  const stop = new AbortController();
  const [left, stays] = [source.reload(stop.signal), source.reload()];
  stop.abort(new RangeError("enough"));
  await assertRejects(() => left, RangeError, "enough");
  assertEquals((await stays).entries, []);
  await assertRejects(() => source.current(stop.signal), RangeError);
  await assertRejects(() => source.reload(stop.signal), RangeError);
});
