/**
 * Calls `body` for each item, for at most `atOnce` items at the same time, and returns the results in the order of the
 * items. After a failure, and once the signal has fired, no further item is started; running calls are awaited.
 *
 * @throws the first failure, or the reason of the signal
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
    throw new RangeError(
      `Cannot do ${atOnce} things at once: the number must be a whole number of 1 or more`,
    );
  }
  const results = new Array<U>(items.length);
  const failures: unknown[] = [];
  // One iterator for all workers: each item goes to the worker that is free first.
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
