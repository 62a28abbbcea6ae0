// The short form of `./denow task soak:cri`.
import { assertEquals } from "@std/assert";
import { CRI_CLIENT } from "../cri/cri_world.ts";
import { binaryTest } from "./binary_world.ts";
import { stormCri, stormFaultsOf, type StormSample, stormTable } from "./cri_storm.ts";

binaryTest(
  "storms of cancelled calls leave no sandbox, no memory and no descriptor of the real runtime",
  CRI_CLIENT,
  async (world) => {
    // With so few calls the heap is still growing to the size that it keeps.
    const options = { calls: 120, clients: 16, growthMiB: 64 };
    const report = await stormCri(options, world);
    assertEquals(stormFaultsOf(report, options), [], stormTable(report));
  },
);

Deno.test("a storm of the CRI that leaks, or meets nothing, is reported", () => {
  const sample = (rssKiB: number, descriptors: number, met = 50): StormSample => ({
    ...{ rssKiB, descriptors, met },
    seconds: 1,
    codes: new Map([["CANCELLED", 100]]),
  });
  const options = { calls: 100, clients: 4 };
  const good = { storms: [sample(100_000, 40), sample(110_000, 41)], errors: [], left: [] };
  assertEquals(stormFaultsOf(good, options), []);
  const leaking = { ...good, storms: [sample(100_000, 40), sample(130_000, 43, 5)] };
  assertEquals(stormFaultsOf(leaking, options), [
    "only 5 calls were met",
    "memory grew from 100000 to 130000 KiB",
    "descriptors grew from 40 to 43",
  ]);
  assertEquals(stormFaultsOf({ ...good, errors: ["UNKNOWN: x"], left: ["y"] }, options), [
    "UNKNOWN: x",
    "left: y",
  ]);
  assertEquals(stormFaultsOf({ ...good, storms: [] }, options), ["there was no storm"]);
});
