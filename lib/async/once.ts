/**
 * What `make` comes to, made once for all who ask, also for those who ask while it is being made. After a failure the next
 * who asks has it made again.
 *
 * Keep the promise, never the value: `this.#x ??= await make()` makes one for each caller that comes before the first
 * value, all at once.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { once } from "./once.ts";
 *
 * let made = 0;
 * const number = once(() => Promise.resolve(++made));
 * assertEquals(await Promise.all([number(), number()]), [1, 1]);
 * ```
 */
export function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    const current = made ??= make();
    current.catch(() => {
      if (made === current) made = undefined;
    });
    return current;
  };
}
