import { assert, assertEquals } from "@std/assert";
import "../open_libc.ts";
import { compareWays } from "./compare.ts";
import { inTurn, type Way } from "./in_turn.ts";
import { cpuMs, memoryOf } from "./process_cost.ts";

const DONE = () => Promise.resolve();

/** A way that notes the order of what is done. */
function notingWay(name: string, notes: string[], more: Partial<Way> = {}): Way {
  const note = (step: string) => (pod: string) => {
    notes.push(`${name} ${step} ${pod}`);
    return Promise.resolve();
  };
  return { up: note("up"), down: note("down"), ...more };
}

Deno.test("each round measures each way once, with its pods at the same time, and none is always the first", async () => {
  const notes: string[] = [];
  const ways = { a: notingWay("a", notes), b: notingWay("b", notes) };
  const series = await inTurn(ways, { rounds: 3, atOnce: 2, warmUp: 1 });
  assertEquals(series.a.up.length, 3);
  assertEquals(notes.slice(0, 4), ["a up a0x0n2", "a up a0x1n2", "a down a0x0n2", "a down a0x1n2"]);
  const firsts = Array.from({ length: 4 }, (_, round) => notes[round * 8]?.slice(0, 1));
  assertEquals(new Set(firsts), new Set(["a", "b"]));
});

Deno.test("a way without a check has no time for it", async () => {
  const { with: checked, without } = await inTurn(
    { with: { up: DONE, check: DONE, down: DONE }, without: { up: DONE, down: DONE } },
    { rounds: 2, atOnce: 1 },
  );
  assertEquals({ checked: checked.check.length, without: without.check.length }, { checked: 2, without: 0 });
});

Deno.test("a comparison runs only the ways that the wanted rows need, and says if one of them is missing", async () => {
  const notes: string[] = [];
  const rows = {
    one: { way: "a", against: "b", atOnce: 1, step: "up" },
    two: { way: "a", against: "c", atOnce: 1, step: "down" },
  } as const;
  const ways = { a: notingWay("a", notes), b: notingWay("b", notes), c: notingWay("c", notes) };
  const figures = await compareWays(rows, new Set(["one"] as const), ways, 2);
  assertEquals(Object.keys(figures), ["one"]);
  assertEquals(new Set(notes.map((note) => note[0])), new Set(["a", "b"]));
  const { a, b } = ways;
  const reason = await compareWays(rows, new Set(["two"] as const), { a, b }, 2).catch(({ message }) =>
    message
  );
  assertEquals(reason, 'Cannot compare with "c": it is not there');
});

Deno.test("a comparison checks only for a row of the check, so that both ways do the same in their time", async () => {
  const notes: string[] = [];
  const check = () => Promise.resolve(notes.push("check"));
  const rows = {
    time: { way: "a", against: "b", atOnce: 1, step: "cpu" },
    check: { way: "b", against: "b", atOnce: 1, step: "check" },
  } as const;
  const ways = { a: notingWay("a", []), b: notingWay("b", [], { check }) };
  await compareWays(rows, new Set(["time"] as const), ways, 1);
  assertEquals(notes, []);
  await compareWays(rows, new Set(["check"] as const), ways, 1);
  assertEquals(new Set(notes), new Set(["check"]));
});

Deno.test("the time and the memory of a process are those that the kernel counts", async () => {
  assert(await memoryOf(Deno.pid) > 10);
  const before = await cpuMs(Deno.pid);
  const child = new Deno.Command("sh", {
    args: ["-c", "n=0; while [ $n -lt 200000 ]; do n=$((n + 1)); done"],
  });
  assert((await child.output()).success);
  assert(await cpuMs(Deno.pid) > before, "a child that has ended counts");
});
