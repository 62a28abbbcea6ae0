import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { delay } from "../../lib/async/wait.ts";
import { writeFileSynced } from "../../lib/host/file.ts";
import { type FoundPath, lookAt, realDir, watchDirs } from "../../lib/host/watch.ts";
import { inTempDir } from "../temp_dir.ts";
import { until } from "../until.ts";

Deno.test("watchDirs() reports changes until it is disposed of", () =>
  inTempDir(async (dir) => {
    const seen: string[] = [];
    const first = Promise.withResolvers<void>();
    const later = Promise.withResolvers<void>();
    const changed = (paths: readonly string[]) => {
      seen.push(...paths);
      first.resolve();
    };
    {
      using _watch = await watchDirs([dir], { changed, failed: first.reject });
      await writeFileSynced(`${dir}/a`, "x");
      await first.promise;
    }
    assert(seen.every((path) => path.startsWith(dir)));
    const count = seen.length;
    await writeFileSynced(`${dir}/b`, "x");
    // By then another watch has reported it.
    using _other = await watchDirs([dir], { changed: () => later.resolve(), failed: later.reject });
    await Deno.mkdir(`${dir}/c`);
    await later.promise;
    await delay(50);
    assertEquals(seen.length, count);
    await assertRejects(
      () => watchDirs([dir, `${dir}/absent`], { changed, failed: first.reject }),
      Deno.errors.NotFound,
    );
  }));

Deno.test("watchDirs() reports a failure once, and may be disposed of then", () =>
  inTempDir(async (dir) => {
    const failure = Promise.withResolvers<unknown>();
    const changed = () => {
      throw new RangeError("listener");
    };
    using _watch = await watchDirs([dir], { changed, failed: failure.resolve });
    await Deno.writeTextFile(`${dir}/a`, "x");
    assert(await failure.promise instanceof RangeError);
  }));

Deno.test("F41 after more events than Deno queues for a busy reader, watchDirs() reports that anything may have changed", () =>
  inTempDir(async (dir) => {
    const reported: (readonly string[])[] = [];
    const failure = Promise.withResolvers<void>();
    const changed = (paths: readonly string[]) => void reported.push(paths);
    using _watch = await watchDirs([dir], { changed, failed: failure.reject });
    // Deno 2.7 queues 16 events, 2.9 queues 1,024; each file makes three.
    for (let i = 0; i < 500; i++) Deno.writeTextFileSync(`${dir}/f${i}`, "x");
    const end = performance.now() + 100;
    while (performance.now() < end) { /* the loop of events stands still, so the kernel's fill the queue */ }
    await until(() => reported.some((paths) => paths.length === 0));
    const seen = new Set(reported.flat());
    assert(seen.size < 500, "nothing was dropped: the test no longer shows what it is for");
  }));

Deno.test("F41 an event without a path, for events that the kernel dropped, means that anything may have changed", async () => {
  const { watchFs } = Deno;
  // No directory has enough events to fill the queue of the kernel.
  const overflow = async function* () {
    yield await Promise.resolve({ kind: "other", paths: [] });
  };
  const { promise, resolve, reject } = Promise.withResolvers<readonly string[]>();
  try {
    Deno.watchFs = () => Object.assign(overflow(), { close() {} }) as unknown as Deno.FsWatcher;
    using _watch = await watchDirs(["/"], { changed: resolve, failed: reject });
    assertEquals(await promise, []);
  } finally {
    Deno.watchFs = watchFs;
  }
});

Deno.test("a few events are reported one by one, and a read is not a change", async () => {
  // Deno also reports removals elsewhere to each watcher; with those there may be too many for single reports.
  const isShown = () => inTempDir(showsFewEvents);
  assert(await isShown() || await isShown() || await isShown(), "three times there were too many events");
});

/** Returns false if there were too many events elsewhere, so that anything may have changed. */
async function showsFewEvents(dir: string): Promise<boolean> {
  const reported: (readonly string[])[] = [];
  const changed = (paths: readonly string[]) => void reported.push(paths);
  using _watch = await watchDirs([dir], { changed, failed: () => {} });
  const isReported = (name: string) => reported.some((paths) => paths.includes(`${dir}/${name}`));
  const tooMany = () => reported.some((paths) => paths.length === 0);
  await Deno.writeTextFile(`${dir}/a`, "x");
  await Deno.mkdir(`${dir}/b`);
  // Earlier events of the queue were reported before.
  await until(() => isReported("b") || tooMany());
  if (tooMany()) return false;
  assert(isReported("a"), JSON.stringify(reported));
  reported.length = 0;
  for (let i = 0; i < 3; i++) await Deno.readTextFile(`${dir}/a`);
  await Deno.mkdir(`${dir}/c`);
  await until(() => isReported("c") || tooMany());
  if (tooMany()) return false;
  assert(!isReported("a"), JSON.stringify(reported));
  return true;
}

Deno.test("lookAt() finds another thing at a path once something else is there, whatever was replaced on the way", () =>
  inTempDir(async (dir) => {
    await Deno.mkdir(`${dir}/one/conf`, { recursive: true });
    await Deno.mkdir(`${dir}/two/conf`, { recursive: true });
    await Deno.symlink("one", `${dir}/etc`);
    const ids: (string | undefined)[] = [];
    const look = async () => void ids.push((await lookAt(`${dir}/etc/conf`))?.id);
    await look();
    await Deno.remove(`${dir}/etc`);
    await look();
    await Deno.symlink("two", `${dir}/etc`);
    await look();
    await Deno.rename(`${dir}/two/conf`, `${dir}/former`);
    await Deno.rename(`${dir}/one/conf`, `${dir}/two/conf`);
    await look();
    await Deno.writeTextFile(`${dir}/two/conf/a`, "");
    await look();
    const [one, gone, two, back, filled] = ids;
    assert(one !== undefined && two !== undefined && one !== two, ids.join());
    assertEquals({ gone, back, filled }, { gone: undefined, back: one, filled: one });
  }));

Deno.test("lookAt() finds another thing once a file has changed, also if it changes again at once", () =>
  inTempDir(async (dir) => {
    const look = async () => await lookAt(`${dir}/a`);
    await Deno.writeTextFile(`${dir}/a`, "x");
    await Deno.utime(`${dir}/a`, 1_000, 1_000.5);
    const settled = await look();
    assertEquals({ again: await look(), isDirectory: settled?.isDirectory }, {
      again: settled,
      isDirectory: false,
    });
    let first: FoundPath | undefined;
    // On a busy machine a look may come too late.
    await until(async () => {
      await Deno.writeTextFile(`${dir}/a`, "y");
      first = await look();
      return first?.id.endsWith("unsettled") ?? false;
    });
    assertNotEquals(first?.id, settled?.id);
    // As after a second change within the same tick of the clock.
    await until(async () => (await look())?.id !== first?.id);
  }));

Deno.test("lookAt() and realDir() find nothing behind files and in loops of links", () =>
  inTempDir(async (dir) => {
    await Deno.writeTextFile(`${dir}/file`, "");
    await Deno.symlink("loop", `${dir}/loop`);
    for (const path of ["absent/a", "file/a", "loop/a"].map((name) => `${dir}/${name}`)) {
      assertEquals({ there: await lookAt(path), dir: await realDir(path) }, {
        there: undefined,
        dir: undefined,
      });
    }
    await Deno.symlink("../", `${dir}/link`);
    assertEquals(await realDir(`${dir}/link`), dir.slice(0, dir.lastIndexOf("/")));
  }));

Deno.test("a removal elsewhere is reported only to listeners of that directory", () =>
  inTempDir(async (dir) => {
    await Deno.mkdir(`${dir}/one`);
    await Deno.mkdir(`${dir}/other`);
    await Deno.writeTextFile(`${dir}/other/a`, "x");
    const reported: string[] = [];
    const changed = (paths: readonly string[]) => void reported.push(...paths);
    using _one = await watchDirs([`${dir}/one/`], { changed, failed: () => {} });
    using _other = await watchDirs([`${dir}/other`], { changed: () => {}, failed: () => {} });
    await Deno.remove(`${dir}/other/a`);
    await Deno.mkdir(`${dir}/one/b`);
    await until(() => reported.includes(`${dir}/one/b`));
    assertEquals(reported.filter((path) => !path.startsWith(`${dir}/one/`)), []);
  }));

Deno.test("F44 all listeners of a directory get the events of the directory in its place, until each ends its watch", () =>
  inTempDir(async (dir) => {
    const conf = `${dir}/conf`;
    const reported: string[][] = [[], [], []];
    const watch = async (nth: number, path: string) =>
      await watchDirs([path], { changed: (paths) => void reported[nth]?.push(...paths), failed: () => {} });
    await Deno.mkdir(conf);
    using _former = await watch(0, conf);
    await Deno.remove(conf);
    await Deno.mkdir(conf);
    using _one = await watch(1, `${conf}/`);
    {
      using _other = await watch(2, `${conf}/../conf`);
      await Deno.mkdir(`${conf}/a`);
      await until(() => reported.every((paths) => paths.includes(`${conf}/a`)), JSON.stringify(reported));
    }
    await Deno.mkdir(`${conf}/b`);
    await until(
      () => reported.filter((paths) => paths.includes(`${conf}/b`)).length === 2,
      JSON.stringify(reported),
    );
    assertEquals(reported[2]?.includes(`${conf}/b`), false);
  }));

Deno.test("a listener that throws does not end other watches of its directory", () =>
  inTempDir(async (dir) => {
    const reported: string[] = [];
    const failure = Promise.withResolvers<unknown>();
    const changed = () => {
      throw new RangeError("listener");
    };
    using _bad = await watchDirs([dir], { changed, failed: failure.resolve });
    using _good = await watchDirs([dir], {
      changed: (paths) => void reported.push(...paths),
      failed: () => {},
    });
    await Deno.mkdir(`${dir}/a`);
    assert(await failure.promise instanceof RangeError);
    await Deno.mkdir(`${dir}/b`);
    await until(() => reported.includes(`${dir}/b`));
  }));
