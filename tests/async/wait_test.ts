import { assertEquals, assertRejects } from "@std/assert";
import { abortable, delay, settled } from "../../lib/async/wait.ts";

Deno.test("delay() rejects when its signal fires", async () => {
  const stop = new AbortController();
  const waiting = delay(60_000, stop.signal);
  stop.abort(new Error("stop"));
  await assertRejects(() => waiting, Error, "stop");
  await assertRejects(() => delay(60_000, stop.signal), Error, "stop");
  await delay(1, new AbortController().signal);
});

Deno.test("abortable() rejects when its signal fires, and passes on the value or failure before that", async () => {
  const stop = new AbortController();
  const waiting = abortable(new Promise(() => {}), stop.signal);
  assertEquals(await abortable(Promise.resolve(7), stop.signal), 7);
  assertEquals(await abortable(Promise.resolve(7), undefined), 7);
  await assertRejects(() => abortable(Promise.reject(new RangeError("no")), stop.signal), RangeError, "no");
  stop.abort(new Error("stop"));
  await assertRejects(() => waiting, Error, "stop");
  await assertRejects(() => abortable(Promise.resolve(7), stop.signal), Error, "stop");
});

Deno.test("settled() resolves with the value, or with undefined if that takes too long", async () => {
  assertEquals(await settled(Promise.resolve(7), 60_000), 7);
  assertEquals(await settled(new Promise(() => {}), 1), undefined);
  await assertRejects(() => settled(Promise.reject(new RangeError("no")), 60_000), RangeError, "no");
});
