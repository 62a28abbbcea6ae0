import { assert, assertEquals } from "@std/assert";
import { backoffMs } from "../../lib/network/backoff.ts";

Deno.test("the wait begins at one second and doubles up to five minutes", () => {
  const seconds = [1, 2, 3, 4, 9, 10, 50, 5000].map((attempts) => backoffMs(attempts, 0) / 1000);
  assertEquals(seconds, [1, 2, 4, 8, 256, 300, 300, 300]);
});

Deno.test("jitter takes up to a fifth away", () => {
  assertEquals(backoffMs(4, 0.5), 7_200);
  for (let attempts = 0; attempts < 30; attempts++) {
    const [most, ms] = [backoffMs(attempts, 0), backoffMs(attempts)];
    assert(ms <= most && ms >= 0.8 * most, `${attempts}: ${ms}`);
  }
});
