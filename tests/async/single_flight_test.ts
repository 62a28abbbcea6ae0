import { assertEquals, assertRejects } from "@std/assert";
import { SingleFlight } from "../../lib/async/single_flight.ts";

/** Work that a test or its signal ends. */
class Work {
  readonly signals: AbortSignal[] = [];
  end = Promise.withResolvers<string>();
  readonly do = (signal: AbortSignal): Promise<string> => {
    this.signals.push(signal);
    const end = this.end = Promise.withResolvers<string>();
    signal.addEventListener("abort", () => end.reject(signal.reason), { once: true });
    return end.promise;
  };
}

Deno.test("callers at the same time share one run, and a later caller starts a new one", async () => {
  const [flights, work] = [new SingleFlight<string>(), new Work()];
  const both = [flights.join("a", work.do), flights.join("a", work.do)];
  work.end.resolve("one");
  assertEquals([await Promise.all(both), work.signals.length], [["one", "one"], 1]);
  const later = flights.join("a", work.do);
  work.end.resolve("two");
  assertEquals({ later: await later, length: work.signals.length }, { later: "two", length: 2 });
});

Deno.test("a caller stops waiting as soon as its signal fires, and the work is aborted when the last caller is gone", async () => {
  const [flights, work] = [new SingleFlight<string>(), new Work()];
  const leavers = [new AbortController(), new AbortController()];
  const all = leavers.map(({ signal }) => flights.join("a", work.do, signal));
  const first = assertRejects(() => all[0] ?? Promise.resolve(), Error, "enough");
  leavers[0]?.abort(new Error("enough"));
  await first;
  assertEquals(work.signals.map(({ aborted }) => aborted), [false]);
  const second = assertRejects(() => all[1] ?? Promise.resolve(), Error, "me too");
  leavers[1]?.abort(new Error("me too"));
  await second;
  assertEquals(work.signals.map(({ aborted }) => aborted), [true]);
});

Deno.test("callers that stop waiting at the same time abort the work, and a later caller starts new work", async () => {
  const [flights, work, leaver] = [new SingleFlight<string>(), new Work(), new AbortController()];
  const all = [1, 2, 3].map(() => flights.join("a", work.do, leaver.signal));
  const left = all.map((one) => assertRejects(() => one, Error, "enough"));
  leaver.abort(new Error("enough"));
  const anew = flights.join("a", work.do);
  await Promise.all(left);
  assertEquals(work.signals.map(({ aborted }) => aborted), [true, false]);
  work.end.resolve("new");
  assertEquals(await anew, "new");
});

Deno.test("all callers get a failure, and it is not kept", async () => {
  const [flights, work] = [new SingleFlight<string>(), new Work()];
  const failures = [1, 2].map(() => assertRejects(() => flights.join("a", work.do), Error, "broken"));
  work.end.reject(new Error("broken"));
  await Promise.all(failures);
  const next = flights.join("a", work.do);
  work.end.resolve("fine");
  assertEquals(await next, "fine");
});
