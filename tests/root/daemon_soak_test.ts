// The short form of `./denow task soak`.
import { assert, assertEquals } from "@std/assert";
import { binaryTest } from "./binary_world.ts";
import { faultsOf, type Sample, soak, soakTable, thirds } from "./daemon_soak.ts";

binaryTest(
  "many requests at once are all answered, and keep neither memory nor descriptors",
  [],
  async (world) => {
    // With so few requests the heap is still growing to the size that it keeps.
    const options = { requests: 600, clients: 8, growthMiB: 64 };
    const report = await soak(options, world);
    assertEquals(faultsOf(report, options), [], soakTable(report));
    assert(report.listeners > 0 && report.events > 0 && report.handedOut > 0, soakTable(report));
  },
);

Deno.test("a soak that leaks, or has a wrong answer, is reported", () => {
  const samples = (rssKiB: (index: number) => number, descriptors: (index: number) => number): Sample[] =>
    Array.from(
      { length: 30 },
      (_, index) => ({ requests: index, seconds: 1, rssKiB: rssKiB(index), descriptors: descriptors(index) }),
    );
  const options = { requests: 30, clients: 4 };
  const good = {
    samples: samples((index) => 100_000 + (index < 4 ? 0 : 30_000), () => 40),
    errors: [],
    counts: new Map([["GET", 30]]),
    ms: [1, 2, 3],
    listeners: 1,
    events: 1,
    handedOut: 1,
    descriptorsLeft: 0,
    left: [],
  } as const;
  assertEquals(faultsOf(good, options), []);
  assertEquals(thirds(good.samples, "rssKiB"), [130_000, 130_000]);
  const leaking = samples((index) => 100_000 + 3_000 * index, (index) => 40 + 2 * index);
  assertEquals(faultsOf({ ...good, samples: leaking }, options).map((fault) => fault.split(" ")[0]), [
    "memory",
    "descriptors",
  ]);
  assertEquals(faultsOf({ ...good, errors: ["GET /: 500"], left: ["x"], descriptorsLeft: 3 }, options), [
    "GET /: 500",
    "left: x",
    "3 descriptors are left open",
  ]);
  assertEquals(faultsOf(good, { ...options, requests: 31 }), ["only 30 requests of 31"]);
});
