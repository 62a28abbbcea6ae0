import { assertEquals } from "@std/assert";
import { isAbsurd, isSameLimit, rateLimit, uncutLimit } from "../../lib/builtin/bandwidth_limit.ts";

const ENGINES = 2 ** 31 - 1;

Deno.test("U50 a rate in bits is one in bytes, and what may wait is the burst and what the latency allows", () => {
  const bandwidth = { rate: 8_000_000, burst: 800_000 };
  assertEquals(rateLimit(bandwidth, 25, 1500), { rate: 1_000_000, burst: 100_000, limit: 125_000 });
  assertEquals(rateLimit(bandwidth, 100, 1500).limit, 200_000);
  assertEquals(rateLimit({ rate: 15, burst: 17 }, 25, 1500), { rate: 1, burst: 2, limit: 2 });
});

Deno.test("only a burst that cannot have been meant is cut, and never below two packets", () => {
  for (
    const [rate, burst, cut] of [
      [1_000_000, 8_000_000, false],
      [1_000_000, ENGINES, true],
      [1_000, ENGINES, true],
      // Less than a second of the rate.
      [10_000_000_000, ENGINES, false],
      // More than the kernel can count.
      [8_000, 8_000 * 300, true],
      [8_000, 8_000 * 270, false],
    ] as const
  ) {
    assertEquals(isAbsurd({ rate, burst }), cut, `${rate} ${burst}`);
    const { burst: used } = rateLimit({ rate, burst }, 25, 1500);
    assertEquals(used, cut ? Math.max(rate / 8, 3_000) : Math.floor(burst / 8));
    assertEquals(uncutLimit({ rate, burst }, 25).burst, Math.floor(burst / 8));
  }
});

Deno.test("a burst that the kernel has rounded is the same, and a number that was changed is not", () => {
  const wanted = rateLimit({ rate: 8_000_000, burst: 800_000 }, 25, 1500);
  assertEquals(isSameLimit({ ...wanted, burst: wanted.burst - 1 }, wanted), true);
  for (
    const other of [undefined, { ...wanted, burst: 99_000 }, { ...wanted, rate: 999_999 }, {
      ...wanted,
      limit: 1,
    }]
  ) {
    assertEquals(isSameLimit(other, wanted), false);
  }
});
