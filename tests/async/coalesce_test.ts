import { assertEquals, assertRejects } from "@std/assert";
import { Coalescer } from "../../lib/async/coalesce.ts";

/** A body whose runs end when a test says so. */
class Runs {
  readonly runs: PromiseWithResolvers<number>[] = [];
  atOnce = 0;
  readonly turns = new Coalescer(async () => {
    assertEquals(++this.atOnce, 1);
    const run = Promise.withResolvers<number>();
    this.runs.push(run);
    try {
      return await run.promise;
    } finally {
      this.atOnce--;
    }
  });

  /** Lets everything go on that can. */
  async settled(): Promise<number> {
    await new Promise((resolve) => setTimeout(resolve, 0));
    return this.runs.length;
  }
}

Deno.test("F29 who asks during a run gets the next one, all of them the same, and never two at once", async () => {
  const world = new Runs();
  const { runs, turns } = world;
  const settled = () => world.settled();
  const first = [turns.next(), turns.next()];
  await settled();
  assertEquals(runs.length, 1);
  const second = [turns.next(), turns.next(), turns.next()];
  await settled();
  assertEquals(runs.length, 1);
  runs[0]?.resolve(1);
  assertEquals(await Promise.all(first), [1, 1]);
  await settled();
  assertEquals(runs.length, 2);
  const third = turns.next();
  runs[1]?.resolve(2);
  assertEquals(await Promise.all(second), [2, 2, 2]);
  await settled();
  runs[2]?.resolve(3);
  assertEquals([await third, runs.length], [3, 3]);
  await turns.idle();
});

Deno.test("a run that fails is told to those who wait for it, and the next one runs", async () => {
  const world = new Runs();
  const failing = world.turns.next();
  await world.settled();
  const next = world.turns.next();
  world.runs[0]?.reject(new RangeError("no"));
  await assertRejects(() => failing, RangeError);
  await world.settled();
  world.runs[1]?.resolve(2);
  assertEquals(await next, 2);
});

Deno.test("a signal ends the waiting of one, not the run, and idle() waits for that", async () => {
  const world = new Runs();
  const stop = new AbortController();
  const [left, stays] = [world.turns.next(stop.signal), world.turns.next()];
  await world.settled();
  stop.abort(new RangeError("enough"));
  await assertRejects(() => left, RangeError, "enough");
  await assertRejects(() => world.turns.next(stop.signal), RangeError);
  let idle = false;
  const waiting = world.turns.idle().then(() => void (idle = true));
  await world.settled();
  assertEquals(idle, false);
  world.runs[0]?.resolve(1);
  assertEquals(await stays, 1);
  await waiting;
});
