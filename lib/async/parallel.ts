/**
 * Calls `body` for each item, for at most so many at once, and gives what it came to in the order of the items. After
 * a failure, and once the signal has fired, nothing more is begun; what is under way is waited for.
 *
 * @throws what failed first, or the reason of the signal
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { inParallel } from "./parallel.ts";
 *
 * assertEquals(await inParallel([1, 2, 3], 2, (n) => Promise.resolve(n * n)), [1, 4, 9]);
 * ```
 */
export async function inParallel<T, U>(
  items: readonly T[],
  atOnce: number,
  body: (item: T) => Promise<U>,
  signal?: AbortSignal,
): Promise<readonly U[]> {
  if (!Number.isInteger(atOnce) || atOnce < 1) {
    throw new RangeError(`Cannot do ${atOnce} things at once: not a whole number of 1 or more`);
  }
  const results = new Array<U>(items.length);
  const failures: unknown[] = [];
  // One iterator for all workers: each item goes to whoever is free first.
  const queue = items.entries();
  const work = async () => {
    for (const [index, item] of queue) {
      if (failures.length > 0 || signal?.aborted) return;
      try {
        results[index] = await body(item);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, work));
  signal?.throwIfAborted();
  if (failures.length > 0) throw failures[0];
  return results;
}
