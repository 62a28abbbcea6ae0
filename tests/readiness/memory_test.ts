import { assertEquals, assertMatch } from "@std/assert";
import { conditionAfter, graceOf, type ReadyCondition } from "../../lib/readiness/condition.ts";
import { ReadinessMemory } from "../../lib/readiness/memory.ts";
import { Lines } from "../attachment/world.ts";
import { until } from "../until.ts";
import { catalogOf, network, quiet, ReadinessWorld } from "./world.ts";

const at = (seconds: number) => new Date(Date.parse("2026-03-01T12:00:00Z") + seconds * 1_000);
const READY = { ready: true, reason: undefined } as const;
const AWAY = { ready: false, reason: "plugin-not-ready" } as const;

/** A test with a state directory of its own. */
function memoryTest(name: string, fn: (dir: string, log: Lines) => Promise<void>): void {
  Deno.test(name, async () => {
    const dir = await Deno.makeTempDir({ prefix: "podwire-readiness-" });
    try {
      await fn(`${dir}/state`, new Lines());
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  });
}

const conditionsOf = (...entries: [string, ReadyCondition][]) => new Map(entries);

Deno.test("a condition holds since the answer last changed, and its last transition is when it stopped being ready", () => {
  const ready = conditionAfter(undefined, READY, at(0));
  assertEquals(ready, { ...READY, since: at(0).toISOString(), lastTransition: undefined });
  assertEquals(conditionAfter(ready, READY, at(5)) === ready, true);
  const away = conditionAfter(ready, AWAY, at(10));
  assertEquals(away, { ...AWAY, since: at(10).toISOString(), lastTransition: at(10).toISOString() });
  const late = conditionAfter(away, { ready: false, reason: "timeout" }, at(20));
  assertEquals({ since: late.since, lastTransition: late.lastTransition }, {
    since: at(20).toISOString(),
    lastTransition: at(10).toISOString(),
  });
  assertEquals(conditionAfter(late, READY, at(30)).lastTransition, undefined);
  assertEquals(conditionAfter(undefined, AWAY, at(0)).lastTransition, undefined, "it never was ready");
});

Deno.test("after a clock was set back, `since` is never in the future, and then stays", () => {
  for (
    const before of [conditionAfter(undefined, READY, at(3_600)), conditionAfter(undefined, AWAY, at(3_600))]
  ) {
    const now = conditionAfter(before, before, at(0));
    assertEquals(now, { ...before, since: at(0).toISOString() });
    assertEquals(conditionAfter(now, before, at(10)) === now, true);
  }
});

Deno.test("by the time of day a grace is over after its time, and if the clock was set back before its beginning", () => {
  const away = conditionAfter(conditionAfter(undefined, READY, at(0)), AWAY, at(10));
  assertEquals(graceOf(away, 30_000, at(10)), at(40).toISOString());
  assertEquals(graceOf(away, 30_000, at(39)), at(40).toISOString());
  assertEquals(graceOf(away, 30_000, at(40)), undefined);
  assertEquals(graceOf(away, 30_000, at(9)), undefined);
  assertEquals(graceOf(away, 0, at(10)), undefined);
  assertEquals(graceOf(conditionAfter(undefined, AWAY, at(0)), 30_000, at(0)), undefined);
});

memoryTest(
  "the next process reads what is written; a partial write keeps the rest, and a full write does not",
  async (dir, log) => {
    const web = conditionAfter(undefined, READY, at(0));
    const db = conditionAfter(web, AWAY, at(1));
    const memory = new ReadinessMemory(dir, log);
    assertEquals(await memory.write({ conditions: conditionsOf(["web", web], ["db", db]), all: true }), true);
    assertEquals(await new ReadinessMemory(dir, log).read(), conditionsOf(["web", web], ["db", db]));
    const later = conditionAfter(web, AWAY, at(5));
    await memory.write({ conditions: conditionsOf(["web", later]), all: false });
    assertEquals(await new ReadinessMemory(dir, log).read(), conditionsOf(["web", later], ["db", db]));
    await memory.write({ conditions: conditionsOf(["web", later]), all: true });
    assertEquals(await new ReadinessMemory(dir, log).read(), conditionsOf(["web", later]));
    assertEquals(log.all, []);
    const { mode } = await Deno.stat(`${dir}/readiness.json`);
    assertEquals((mode ?? 0) & 0o777, 0o600);
  },
);

memoryTest("conditions that have not changed are not written", async (dir, log) => {
  const memory = new ReadinessMemory(dir, log);
  const known = { conditions: conditionsOf(["web", conditionAfter(undefined, READY, at(0))]), all: true };
  await memory.write(known);
  const { ino } = await Deno.stat(`${dir}/readiness.json`);
  for (let n = 0; n < 3; n++) assertEquals(await memory.write(known), true);
  assertEquals((await Deno.stat(`${dir}/readiness.json`)).ino, ino);
  await Promise.all(
    ["a", "b", "c"].map((name) =>
      memory.write({ conditions: conditionsOf([name, conditionAfter(undefined, AWAY, at(2))]), all: false })
    ),
  );
  assertEquals(
    [...(await memory.read()).keys()].sort(),
    ["a", "b", "c", "web"],
    "concurrent writes lose nothing",
  );
});

memoryTest(
  "if the file cannot be written, this process remembers, and nothing but debug lines is logged",
  async (dir, log) => {
    await Deno.writeTextFile(dir, "blocks the path");
    const memory = new ReadinessMemory(dir, log);
    const web = conditionAfter(undefined, READY, at(0));
    assertEquals(await memory.write({ conditions: conditionsOf(["web", web]), all: true }), false);
    assertEquals(await memory.read(), conditionsOf(["web", web]));
    assertEquals(log.all.filter((line) => !line.startsWith("debug")), []);
    await Deno.remove(dir);
    const db = conditionAfter(undefined, AWAY, at(1));
    assertEquals(await memory.write({ conditions: conditionsOf(["db", db]), all: false }), true);
    assertEquals(await new ReadinessMemory(dir, log).read(), conditionsOf(["web", web], ["db", db]));
  },
);

memoryTest(
  "a damaged file counts as empty; only a writer that may repair it moves it aside and logs that",
  async (dir, log) => {
    const memory = new ReadinessMemory(dir, log);
    const known = { conditions: conditionsOf(["web", conditionAfter(undefined, READY, at(0))]), all: true };
    await memory.write(known);
    const file = `${dir}/readiness.json`;
    await Deno.writeTextFile(file, (await Deno.readTextFile(file)).replace("true", "false"));
    const damaged = await Deno.readTextFile(file);
    assertEquals(await memory.read(), new Map());
    assertEquals(await Deno.readTextFile(file), damaged);
    assertEquals(await memory.write(known), false);
    assertEquals(await memory.read(), known.conditions, "this process knows");
    assertEquals(await Deno.readTextFile(file), damaged);
    assertEquals(await memory.write({ ...known, repairs: true }), true);
    assertMatch(
      log.all.at(-1) ?? "",
      /^warn a record could not be read and was moved aside: its checksum does not match/,
    );
    assertEquals(await Deno.readTextFile(`${file}.bad-1`), damaged);
  },
);

memoryTest("a file of a newer version is not used and never overwritten", async (dir, log) => {
  const memory = new ReadinessMemory(dir, log);
  const known = { conditions: conditionsOf(["web", conditionAfter(undefined, READY, at(0))]), all: true };
  await memory.write(known);
  const file = `${dir}/readiness.json`;
  const newer = (await Deno.readTextFile(file)).replace("readiness.v1", "readiness.v2").replace("web", "wec");
  await Deno.writeTextFile(file, newer);
  assertEquals(await memory.read(), new Map());
  assertEquals(await memory.write({ ...known, repairs: true }), false);
  assertEquals(await Deno.readTextFile(file), newer);
});

memoryTest(
  "`since` survives the process, and the grace does not",
  async (dir, log) => {
    const memory = () => new ReadinessMemory(dir, log);
    const catalog = catalogOf([network("web"), network("db")]);
    const finished = async (world: ReadinessWorld) => {
      await world.readiness[Symbol.asyncDispose]();
      await quiet();
    };
    const first = await ReadinessWorld.start(catalog, { memory: memory() });
    await until(() => first.open.length === 2);
    await first.answer("web");
    await first.answer("db", "timeout");
    await finished(first);
    const known = await memory().read();
    assertEquals([...known].map(([name, { ready, reason }]) => [name, ready, reason]), [
      ["web", true, undefined],
      ["db", false, "timeout"],
    ]);
    const second = await ReadinessWorld.start(catalog, { memory: memory() });
    await until(() => second.open.length === 2);
    await second.clock.advance(5_000);
    await second.answer("web", "timeout");
    await second.answer("db", "timeout");
    assertEquals(second.shown, ["web not-ready timeout", "db not-ready timeout"]);
    assertEquals(
      second.readiness.statuses().map(({ since }) => since),
      [at(5), at(0)].map((date) => date.toISOString()),
    );
    await finished(second);
    assertEquals((await memory().read()).get("web")?.lastTransition, at(5).toISOString());
  },
);

memoryTest("a refresh before the memory is read keeps what is remembered", async (dir, log) => {
  const web = conditionAfter(undefined, READY, at(-60));
  await new ReadinessMemory(dir, log).write({ conditions: conditionsOf(["web", web]), all: true });
  const memory = new ReadinessMemory(dir, log);
  const slow = Promise.withResolvers<void>();
  const read = memory.read.bind(memory);
  memory.read = () => slow.promise.then(read);
  await using world = await ReadinessWorld.start(catalogOf([network("web")]), { memory });
  const fresh = world.readiness.refresh();
  await quiet();
  slow.resolve();
  await until(() => world.open.length === 1);
  await world.answer("web");
  assertEquals((await fresh).map(({ since }) => since), [web.since]);
});

Deno.test({
  name: "without the permissions for its directory, it remembers in this process only, and prompts for none",
  permissions: { read: true },
  fn: async () => {
    const log = new Lines();
    const memory = new ReadinessMemory("/var/lib/podwire", log);
    const known = conditionsOf(["web", conditionAfter(undefined, READY, at(0))]);
    assertEquals(await memory.write({ conditions: known, all: true }), false);
    assertEquals(await memory.read(), known);
    assertEquals(
      log.all.filter((line) =>
        !line.includes("the Deno permission --allow-write=/var/lib/podwire is missing")
      ),
      [],
    );
  },
});
