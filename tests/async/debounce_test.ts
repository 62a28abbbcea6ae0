import { assertEquals } from "@std/assert";
import { Debouncer, type DebouncerOptions } from "../../lib/async/debounce.ts";
import { delay } from "../../lib/async/wait.ts";
import { until } from "../until.ts";

const NEVER_MS = 3_600_000;

function debouncerOf(options: Partial<DebouncerOptions>) {
  const calls: boolean[] = [];
  const errors: unknown[] = [];
  const debouncer: Debouncer = new Debouncer({
    gatherMs: 50,
    longestMs: NEVER_MS,
    pollMs: NEVER_MS,
    due: (byEvent) => {
      debouncer.begin();
      calls.push(byEvent);
      return Promise.resolve();
    },
    failed: (error) => errors.push(error),
    ...options,
  });
  return { debouncer, calls, errors };
}

Deno.test("F42 events that follow each other lead to one call, and a later event to another call", async () => {
  const { debouncer, calls } = debouncerOf({ gatherMs: 500 });
  using _debouncer = debouncer;
  for (let n = 0; n < 10; n++) {
    debouncer.hurry();
    await delay(10);
  }
  assertEquals(calls, []);
  await until(() => calls.length === 1);
  debouncer.hurry();
  await until(() => calls.length === 2);
  await delay(600);
  assertEquals(calls, [true, true]);
});

Deno.test("F42 if events never stop, the call comes after the longest wait", async () => {
  const { debouncer, calls } = debouncerOf({ gatherMs: 2_000, longestMs: 200 });
  using _debouncer = debouncer;
  await until(() => {
    debouncer.hurry();
    return calls.length >= 2;
  });
});

Deno.test("F133 F134 without events the call is repeated from time to time, also after a failure", async () => {
  let calls = 0;
  const { debouncer, errors } = debouncerOf({
    pollMs: 20,
    due: (byEvent) => {
      assertEquals(byEvent, false);
      return ++calls < 3 ? Promise.reject(new RangeError("no")) : Promise.resolve();
    },
  });
  using _debouncer = debouncer;
  debouncer.begin();
  await until(() => calls >= 6);
  assertEquals(errors.length, 2);
});

Deno.test("an event during a call leads to another call after it, and two calls never overlap", async () => {
  let running = 0;
  let calls = 0;
  const { debouncer } = debouncerOf({
    gatherMs: 10,
    due: async () => {
      debouncer.begin();
      assertEquals(++running, 1);
      calls++;
      if (calls === 1) debouncer.hurry();
      await delay(100);
      running--;
    },
  });
  using _debouncer = debouncer;
  debouncer.hurry();
  await until(() => calls === 2 && running === 0);
});

Deno.test("within() makes a call due, and nothing is called after the disposal", async () => {
  const { debouncer, calls } = debouncerOf({});
  debouncer.begin();
  debouncer.within(30);
  await until(() => calls.length === 1);
  debouncer.within(10);
  debouncer.hurry();
  debouncer[Symbol.dispose]();
  debouncer[Symbol.dispose]();
  debouncer.hurry();
  await delay(150);
  assertEquals(calls.length, 1);
});

Deno.test("one due time leads to one call, however early its timer fires", async () => {
  for (let ms = 1; ms <= 60; ms++) {
    const { debouncer, calls } = debouncerOf({ due: () => Promise.resolve(calls.push(false)) });
    using _debouncer = debouncer;
    debouncer.within(ms + Math.random());
    await until(() => calls.length > 0);
    await delay(10);
    assertEquals(calls.length, 1);
  }
});

Deno.test("a call that fails before it calls begin() is not repeated at once", async () => {
  let calls = 0;
  const { debouncer, errors } = debouncerOf({
    gatherMs: 1,
    due: () => (calls++, Promise.reject(new RangeError("no"))),
  });
  using _debouncer = debouncer;
  debouncer.hurry();
  await until(() => errors.length > 0);
  await delay(50);
  assertEquals({ calls, length: errors.length }, { calls: 1, length: 1 });
});
