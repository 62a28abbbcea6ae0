import { assertEquals } from "@std/assert";
import { Debouncer, type DebouncerOptions } from "../../lib/async/debounce.ts";
import { until } from "../until.ts";
import { delay } from "../../lib/async/wait.ts";

const NEVER_MS = 3_600_000;

function scheduled(options: Partial<DebouncerOptions>) {
  const looks: boolean[] = [];
  const errors: unknown[] = [];
  const schedule: Debouncer = new Debouncer({
    gatherMs: 50,
    longestMs: NEVER_MS,
    pollMs: NEVER_MS,
    due: (byEvent) => {
      schedule.begin();
      looks.push(byEvent);
      return Promise.resolve();
    },
    failed: (error) => errors.push(error),
    ...options,
  });
  return { schedule, looks, errors };
}

Deno.test("F42 events that follow each other give one look, and one that came later another", async () => {
  const { schedule, looks } = scheduled({ gatherMs: 500 });
  using _schedule = schedule;
  for (let n = 0; n < 10; n++) {
    schedule.hurry();
    await delay(10);
  }
  assertEquals(looks, []);
  await until(() => looks.length === 1);
  schedule.hurry();
  await until(() => looks.length === 2);
  await delay(600);
  assertEquals(looks, [true, true]);
});

Deno.test("F42 where events never cease, a look comes after the longest wait", async () => {
  const { schedule, looks } = scheduled({ gatherMs: 2_000, longestMs: 200 });
  using _schedule = schedule;
  await until(() => {
    schedule.hurry();
    return looks.length >= 2;
  });
});

Deno.test("F133 F134 without events there is a look now and then, again and again, also after one that failed", async () => {
  let looks = 0;
  const { schedule, errors } = scheduled({
    pollMs: 20,
    due: (byEvent) => {
      assertEquals(byEvent, false);
      return ++looks < 3 ? Promise.reject(new RangeError("no")) : Promise.resolve();
    },
  });
  using _schedule = schedule;
  schedule.begin();
  await until(() => looks >= 6);
  assertEquals(errors.length, 2);
});

Deno.test("an event during a look gives another one after it, never two at once", async () => {
  let running = 0;
  let looks = 0;
  const { schedule } = scheduled({
    gatherMs: 10,
    due: async () => {
      schedule.begin();
      assertEquals(++running, 1);
      looks++;
      if (looks === 1) schedule.hurry();
      await delay(100);
      running--;
    },
  });
  using _schedule = schedule;
  schedule.hurry();
  await until(() => looks === 2 && running === 0);
});

Deno.test("what is to be looked at within some time is, and nothing once it is disposed of", async () => {
  const { schedule, looks } = scheduled({});
  schedule.begin();
  schedule.within(30);
  await until(() => looks.length === 1);
  schedule.within(10);
  schedule.hurry();
  schedule[Symbol.dispose]();
  schedule[Symbol.dispose]();
  schedule.hurry();
  await delay(150);
  assertEquals(looks.length, 1);
});

Deno.test("what is due at one time gives one look, however early its timer is", async () => {
  for (let ms = 1; ms <= 60; ms++) {
    const { schedule, looks } = scheduled({ due: () => Promise.resolve(looks.push(false)) });
    using _schedule = schedule;
    schedule.within(ms + Math.random());
    await until(() => looks.length > 0);
    await delay(10);
    assertEquals(looks.length, 1);
  }
});

Deno.test("a look that fails before it begins is no reason for another one at once", async () => {
  let looks = 0;
  const { schedule, errors } = scheduled({
    gatherMs: 1,
    due: () => (looks++, Promise.reject(new RangeError("no"))),
  });
  using _schedule = schedule;
  schedule.hurry();
  await until(() => errors.length > 0);
  await delay(50);
  assertEquals([looks, errors.length], [1, 1]);
});
