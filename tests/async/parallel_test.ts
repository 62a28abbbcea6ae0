import { assert, assertEquals, assertRejects } from "@std/assert";
import { inParallel } from "../../lib/async/parallel.ts";

const tick = () => new Promise<void>((resolve) => setTimeout(resolve, 1));

Deno.test("at most the given number of items run at once, and the results are in the order of the items", async () => {
  let now = 0;
  let most = 0;
  const items = Array.from({ length: 20 }, (_, index) => index);
  const results = await inParallel(items, 3, async (n) => {
    most = Math.max(most, ++now);
    for (let i = 0; i < 20 - n; i++) await tick();
    now--;
    return n * 2;
  });
  assertEquals({ most, results }, { most: 3, results: items.map((n) => n * 2) });
  assertEquals(await inParallel([], 3, () => Promise.reject(new Error("never"))), []);
});

Deno.test("an item that takes long does not delay the others", async () => {
  const done: number[] = [];
  let free = () => {};
  const held = new Promise<void>((resolve) => free = resolve);
  const all = inParallel([0, 1, 2, 3, 4], 2, async (n) => {
    if (n === 0) await held;
    done.push(n);
  });
  while (done.length < 4) await tick();
  free();
  await all;
  assertEquals(done, [1, 2, 3, 4, 0]);
});

Deno.test("after a failure no item is started, running items are awaited, and the first failure is thrown", async () => {
  const ended: number[] = [];
  const body = async (n: number) => {
    if (n === 0) throw new Error("first");
    await tick();
    ended.push(n);
    if (n === 1) throw new Error("second");
  };
  await assertRejects(() => inParallel([0, 1, 2, 3, 4], 2, body), Error, "first");
  assertEquals(ended, [1]);
});

Deno.test("after the signal no item is started", async () => {
  const cut = new AbortController();
  const begun: number[] = [];
  const body = async (n: number) => {
    begun.push(n);
    if (n === 1) cut.abort("enough");
    await tick();
  };
  assertEquals(await inParallel([0, 1, 2, 3], 1, body, cut.signal).catch((error) => error), "enough");
  assertEquals(begun, [0, 1]);
  for (const atOnce of [0, -1, 1.5]) {
    const error = await inParallel([1], atOnce, body).catch((error) => error);
    assert(error instanceof RangeError);
  }
});
