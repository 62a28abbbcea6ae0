import { assertEquals } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { Deadline, DEFAULT_TIMEOUTS } from "../../lib/plugin/deadline.ts";
import { VERBS } from "../../lib/plugin/invocation.ts";

const fired = (signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve());
  });

Deno.test("when the time limit expires, the signal fires with an error of kind timeout that has the limit", async () => {
  const startedAt = performance.now();
  using deadline = new Deadline(30);
  assertEquals(deadline.signal.aborted, false);
  await fired(deadline.signal);
  const { reason } = deadline.signal;
  assertEquals(reason instanceof CniError && [reason.kind, reason.msg], [
    "timeout",
    "no answer within 0.03s",
  ]);
  assertEquals(performance.now() - startedAt >= 25, true);
});

Deno.test("the outer signal fires the signal too, with its own reason", async () => {
  const outer = new AbortController();
  using deadline = new Deadline(60_000, outer.signal);
  outer.abort("stop");
  await fired(deadline.signal);
  assertEquals(deadline.signal.reason, "stop");
  using late = new Deadline(60_000, AbortSignal.abort("before"));
  assertEquals({ aborted: late.signal.aborted, reason: late.signal.reason }, {
    aborted: true,
    reason: "before",
  });
});

Deno.test("a time limit beyond the longest timer does not expire at once", async () => {
  using deadline = new Deadline(90 * 24 * 3600 * 1000);
  using endless = new Deadline(Infinity);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assertEquals([deadline.signal.aborted, endless.signal.aborted], [false, false]);
});

Deno.test("B63 every verb has a time limit", () => {
  assertEquals(VERBS.map((verb) => DEFAULT_TIMEOUTS[verb] / 1000), [120, 30, 60, 60, 5, 5]);
});
