/**
 * Resolves with the values of all promises, in order. Unlike `Promise.all` it waits for every promise before it throws, so
 * that nothing still runs while the caller undoes the rest.
 *
 * @throws The first error; an AggregateError if there are several.
 */
export async function all<T extends readonly unknown[]>(
  promises: readonly [...{ [K in keyof T]: Promise<T[K]> }],
): Promise<T> {
  const settled = await Promise.allSettled(promises);
  const errors = settled.flatMap((one) => one.status === "rejected" ? [one.reason] : []);
  if (errors.length === 1) throw errors[0];
  if (errors.length > 1) {
    throw new AggregateError(
      errors,
      errors.map((error) => String(error?.message ?? error)).join("; "),
    );
  }
  return settled.flatMap((one) => one.status === "fulfilled" ? [one.value] : []) as unknown as T;
}
