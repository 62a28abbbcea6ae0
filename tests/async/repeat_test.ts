import { assert, assertEquals } from "@std/assert";
import { repeat } from "../../lib/async/repeat.ts";

Deno.test("F134 a repetition goes on until it is disposed, whatever its body throws", async () => {
  const failures: string[] = [];
  const thrice = Promise.withResolvers<void>();
  let runs = 0;
  await using _ticks = repeat(1, () => {
    if (++runs === 3) thrice.resolve();
    return Promise.reject(new Error(`failure ${runs}`));
  }, (error) => void failures.push((error as Error).message));
  await thrice.promise;
  assertEquals(failures.slice(0, 2), ["failure 1", "failure 2"]);
});

Deno.test("disposing a repetition fires the signal of the running body and waits for it, and can be done twice", async () => {
  const begun = Promise.withResolvers<void>();
  let ended = false;
  const failures: unknown[] = [];
  const ticks = repeat(1, async (signal) => {
    begun.resolve();
    const aborted = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => aborted.resolve());
    await aborted.promise;
    ended = true;
    signal.throwIfAborted();
  }, (error) => failures.push(error));
  await begun.promise;
  await ticks[Symbol.asyncDispose]();
  assert(ended);
  await ticks[Symbol.asyncDispose]();
  assertEquals(failures, []);
});
