// Deno has no limit for a test. One that hangs would take the results of all others with it.

/** In minutes, set by the runner of all tests; the long form of a test may take as long as it needs. */
export const LONGEST_TEST = "PODWIRE_TEST_LONGEST";

/** Runs the body of a test, and fails when it takes longer than the runner allows a test. */
export async function bounded(
  body: () => Promise<void>,
  minutes = Number(Deno.env.get(LONGEST_TEST) ?? 0),
): Promise<void> {
  if (minutes === 0) return await body();
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`The test takes longer than ${minutes} minutes`)),
    minutes * 60_000,
  );
  try {
    await Promise.race([body(), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
