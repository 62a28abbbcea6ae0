import { assertEquals, assertRejects } from "@std/assert";
import { Semaphore } from "../../lib/async/semaphore.ts";

Deno.test("so many have a place at the same time, and the others get theirs in turn", async () => {
  const slots = new Semaphore(2);
  const log: string[] = [];
  let inside = 0;
  await Promise.all(["a", "b", "c", "d", "e"].map(async (name) => {
    using _slot = await slots.take();
    log.push(name);
    inside++;
    assertEquals(inside <= 2, true);
    await new Promise((done) => setTimeout(done, 5));
    inside--;
  }));
  assertEquals(log, ["a", "b", "c", "d", "e"]);
});

Deno.test("who no longer waits takes nobody's place", async () => {
  const slots = new Semaphore(1);
  const first = await slots.take();
  const leaver = new AbortController();
  const left = assertRejects(() => slots.take(leaver.signal), Error, "enough");
  const last = slots.take();
  leaver.abort(new Error("enough"));
  await left;
  first[Symbol.dispose]();
  using _slot = await last;
  await assertRejects(() => slots.take(AbortSignal.abort(new Error("too late"))), Error, "too late");
});
