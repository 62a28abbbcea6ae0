import { assert, assertEquals, assertRejects } from "@std/assert";
import { Semaphore } from "../../lib/async/semaphore.ts";

Deno.test("a fixed number have a place at the same time, and the others get theirs in the order of their calls", async () => {
  const semaphore = new Semaphore(2);
  const log: string[] = [];
  let inside = 0;
  await Promise.all(["a", "b", "c", "d", "e"].map(async (name) => {
    using _place = await semaphore.acquire();
    log.push(name);
    inside++;
    assert(inside <= 2);
    await new Promise((done) => setTimeout(done, 5));
    inside--;
  }));
  assertEquals(log, ["a", "b", "c", "d", "e"]);
});

Deno.test("a caller that stops waiting takes no place", async () => {
  const semaphore = new Semaphore(1);
  const first = await semaphore.acquire();
  const leaver = new AbortController();
  const left = assertRejects(() => semaphore.acquire(leaver.signal), Error, "enough");
  const last = semaphore.acquire();
  leaver.abort(new Error("enough"));
  await left;
  first[Symbol.dispose]();
  using _place = await last;
  await assertRejects(() => semaphore.acquire(AbortSignal.abort(new Error("too late"))), Error, "too late");
});
