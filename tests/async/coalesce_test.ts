import { assertEquals, assertRejects } from "@std/assert";
import { Coalescer } from "../../lib/async/coalesce.ts";

/** A body whose runs a test ends. */
class Runs {
  readonly runs: PromiseWithResolvers<number>[] = [];
  atOnce = 0;
  readonly coalescer = new Coalescer(async () => {
    assertEquals(++this.atOnce, 1);
    const run = Promise.withResolvers<number>();
    this.runs.push(run);
    try {
      return await run.promise;
    } finally {
      this.atOnce--;
    }
  });

  /** Lets all other work of the event loop run. */
  async settled(): Promise<number> {
    await new Promise((resolve) => setTimeout(resolve, 0));
    return this.runs.length;
  }
}

Deno.test("F29 all calls during a run share the next run, and two runs never overlap", async () => {
  const world = new Runs();
  const { runs, coalescer } = world;
  const settled = () => world.settled();
  const first = [coalescer.next(), coalescer.next()];
  await settled();
  assertEquals(runs.length, 1);
  const second = [coalescer.next(), coalescer.next(), coalescer.next()];
  await settled();
  assertEquals(runs.length, 1);
  runs[0]?.resolve(1);
  assertEquals(await Promise.all(first), [1, 1]);
  await settled();
  assertEquals(runs.length, 2);
  const third = coalescer.next();
  runs[1]?.resolve(2);
  assertEquals(await Promise.all(second), [2, 2, 2]);
  await settled();
  runs[2]?.resolve(3);
  assertEquals({ third: await third, length: runs.length }, { third: 3, length: 3 });
  await coalescer.idle();
});

Deno.test("the callers of a run that fails get its error, and the next run starts", async () => {
  const world = new Runs();
  const failing = world.coalescer.next();
  await world.settled();
  const next = world.coalescer.next();
  world.runs[0]?.reject(new RangeError("no"));
  await assertRejects(() => failing, RangeError);
  await world.settled();
  world.runs[1]?.resolve(2);
  assertEquals(await next, 2);
});

Deno.test("a signal ends the waiting of one caller, not the run, and idle() waits for the run", async () => {
  const world = new Runs();
  const stop = new AbortController();
  const [left, stays] = [world.coalescer.next(stop.signal), world.coalescer.next()];
  await world.settled();
  stop.abort(new RangeError("enough"));
  await assertRejects(() => left, RangeError, "enough");
  await assertRejects(() => world.coalescer.next(stop.signal), RangeError);
  let idle = false;
  const waiting = world.coalescer.idle().then(() => void (idle = true));
  await world.settled();
  assertEquals(idle, false);
  world.runs[0]?.resolve(1);
  assertEquals(await stays, 1);
  await waiting;
});
