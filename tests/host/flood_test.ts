// Another process writes to a file of a watched directory without a pause.
import { assert } from "@std/assert";
import { watchDirs } from "../../lib/host/watch.ts";
import { CountedEvents, EndlessWriter } from "../endless_writer.ts";
import { inTempDir } from "../temp_dir.ts";
import { until } from "../until.ts";

/** How many events may be handled in this time, which is that of a pause. */
const MOST_EVENTS = 96;
const PAUSE_MS = 150;

Deno.test("of an endless flood of events watchDirs() handles a bounded number in a second, and misses no change", () =>
  inTempDir(async (dir) => {
    using events = new CountedEvents();
    const begin = performance.now();
    const names = new Set<string>();
    let changes = 0;
    const changed = (paths: readonly string[]) => {
      changes++;
      for (const path of paths) names.add(path.slice(dir.length + 1));
    };
    const failure = Promise.withResolvers<void>();
    using _watch = await watchDirs([dir], { changed, failed: failure.reject });
    {
      await using writer = new EndlessWriter(`${dir}/log`);
      await writer.wrote(20_000);
      for (let round = 0; round < 5; round++) {
        await Deno.mkdir(`${dir}/during-${round}`);
        const before = changes;
        await until(() => names.has(`during-${round}`) || changes > before);
      }
      await writer.wrote(20_000);
      const most = MOST_EVENTS * ((performance.now() - begin) / PAUSE_MS + 2);
      assert(events.total <= most, `${events.total} events, not ${most}`);
      assert(changes <= events.total + most / MOST_EVENTS, `${changes} reports`);
    }
    // Those that wait in the queue may hide the first ones.
    let after = 0;
    await until(async () => {
      await Deno.mkdir(`${dir}/after-${after++}`);
      return [...names].some((name) => name.startsWith("after-"));
    });
  }));

Deno.test("watchDirs() may be disposed of, and gets further listeners, in the middle of a flood of events", () =>
  inTempDir(async (dir) => {
    await using writer = new EndlessWriter(`${dir}/log`);
    for (let round = 0; round < 5; round++) {
      const reports = [0, 0];
      const watch = (nth: number) =>
        watchDirs([dir], {
          changed: () => void (reports[nth] = (reports[nth] ?? 0) + 1),
          failed: (error) => {
            throw error;
          },
        });
      using _one = await watch(0);
      await writer.wrote(2_000);
      using _other = await watch(1);
      const before = [...reports];
      await until(() => reports.every((count, nth) => count > (before[nth] ?? 0)));
    }
  }));

Deno.test("a directory that is removed in the middle of a flood of events is reported", () =>
  inTempDir(async (dir) => {
    const conf = `${dir}/conf`;
    await Deno.mkdir(conf);
    let changes = 0;
    const failure = Promise.withResolvers<void>();
    using _watch = await watchDirs([conf], { changed: () => void changes++, failed: failure.reject });
    {
      await using writer = new EndlessWriter(`${conf}/log`);
      await writer.wrote(20_000);
    }
    const before = changes;
    await Deno.remove(conf, { recursive: true });
    await until(() => changes > before);
  }));
