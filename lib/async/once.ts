/**
 * Returns a function that calls `make` once and gives all callers its result, also callers that come while `make` runs.
 * After a failure the next call calls `make` again.
 *
 * It keeps the promise, not the value: `this.#x ??= await make()` would call `make` for each caller that comes before the
 * first value.
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
