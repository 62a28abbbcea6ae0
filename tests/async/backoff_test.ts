import { assert, assertEquals } from "@std/assert";
import { backoffMs, isDue, LONGEST_BACKOFF_MS } from "../../lib/async/backoff.ts";

Deno.test("the wait begins at one second and doubles up to five minutes", () => {
  const seconds = [1, 2, 3, 4, 9, 10, 50, 5000].map((attempts) => backoffMs(attempts, 0) / 1000);
  assertEquals(seconds, [1, 2, 4, 8, 256, 300, 300, 300]);
});

Deno.test("jitter shortens the wait by up to a fifth", () => {
  assertEquals(backoffMs(4, 0.5), 7_200);
  for (let attempts = 0; attempts < 30; attempts++) {
    const [most, ms] = [backoffMs(attempts, 0), backoffMs(attempts)];
    assert(ms <= most && ms >= 0.8 * most, `${attempts}: ${ms}`);
  }
});

Deno.test("a try is due when its time has come, when its time cannot be read, and when the clock was set back", () => {
  const now = new Date("2026-03-01T12:00:00Z");
  const after = (ms: number) => new Date(now.getTime() + ms).toISOString();
  assertEquals([-1, 0, 1, LONGEST_BACKOFF_MS, LONGEST_BACKOFF_MS + 1].map((ms) => isDue(after(ms), now)), [
    true,
    true,
    false,
    false,
    true,
  ]);
  assertEquals([isDue(undefined, now), isDue("soon", now)], [true, true]);
});
