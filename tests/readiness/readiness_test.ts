import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { statusToJson } from "../../lib/runtime/json_view.ts";
import { catalogOf, FakeSource, network, quiet, ReadinessWorld } from "./world.ts";

const rejected = { file: "/net.d/bad.conflist", name: "bad", status: "rejected", reason: "no JSON" } as const;

Deno.test("F110 a network is pending until it answers, and then has the status of its answer", async () => {
  await using world = await ReadinessWorld.start(catalogOf([network("web"), network("db")]));
  assertEquals(world.shown, ["web not-ready pending", "db not-ready pending"]);
  await world.clock.advance(1_000);
  await world.answer("web");
  await world.answer("db", "plugin-not-ready");
  assertEquals(world.shown, ["web ready", "db not-ready plugin-not-ready"]);
  assertEquals(world.status("web"), {
    network: "web",
    ready: true,
    reason: undefined,
    msg: undefined,
    error: undefined,
    since: "2026-03-01T12:00:01.000Z",
    graceUntil: undefined,
    file: "/net.d/web.conflist",
  });
  assertEquals(world.emitted, ["web ready", "db not-ready plugin-not-ready"]);
  assertEquals(world.readiness.statuses("absent"), []);
});

Deno.test("F132 G24 until the directory can be read there is one status that says so; a later failure keeps what is known", async () => {
  const source = new FakeSource(catalogOf([network("web")]));
  source.problem = new CniError("io", "the disk is gone");
  await using world = await ReadinessWorld.start(source, { defaultNetwork: "web" });
  assertEquals(world.shown, ["web not-ready no-config"]);
  assertEquals(world.status("web").msg, "the disk is gone");
  source.problem = undefined;
  await world.clock.advance(10_000);
  assertEquals(world.shown, ["web not-ready pending"]);
  await world.answer("web");
  source.problem = new CniError("io", "the disk is gone");
  await world.clock.advance(10_000);
  assertEquals({ shown: world.shown, asked: world.asked }, { shown: ["web ready"], asked: ["web"] });
});

Deno.test("F51 known statuses are returned at once while every network hangs", async () => {
  const lists = Array.from({ length: 100 }, (_, n) => network(`net${n}`));
  await using world = await ReadinessWorld.start(catalogOf(lists));
  assert(world.open.length > 0);
  const times = Array.from({ length: 200 }, () => {
    const started = performance.now();
    assertEquals(world.readiness.statuses().length, 100);
    return performance.now() - started;
  });
  const median = times.sort((a, b) => a - b)[100] ?? Infinity;
  assert(median < 5, `${median} ms`);
});

Deno.test("callers join a probe that hangs, and no other probe starts", async () => {
  await using world = await ReadinessWorld.start();
  const asking = [world.readiness.refresh("web"), world.readiness.refresh()];
  await world.clock.advance(60_000);
  assertEquals(world.asked, ["web"]);
  await world.answer("web");
  assertEquals((await Promise.all(asking)).map(([status]) => status?.ready), [true, true]);
  const again = world.readiness.refresh("web");
  await quiet();
  assertEquals(world.asked, ["web", "web"]);
  await world.answer("web", "timeout");
  assertEquals((await again).map(({ reason }) => reason), ["timeout"]);
});

Deno.test("all networks are asked again every ten seconds, and the last answer holds meanwhile", async () => {
  await using world = await ReadinessWorld.start(catalogOf([network("web"), network("db")]));
  await world.answer("web");
  await world.clock.advance(9_999);
  assertEquals(world.asked, ["web", "db"]);
  await world.clock.advance(1);
  assertEquals(world.asked, ["web", "db", "web"], "db has not answered yet");
  assertEquals(world.shown, ["web ready", "db not-ready pending"]);
  await world.answer("db");
  await world.answer("web");
  await world.clock.advance(10_000);
  assertEquals(world.asked.slice(3), ["web", "db"]);
});

Deno.test("above a hundred networks, more networks are asked less often", async () => {
  const lists = Array.from({ length: 250 }, (_, n) => network(`net${n}`));
  await using world = await ReadinessWorld.start(catalogOf(lists));
  while (world.open.length > 0) await world.open[0]?.answer();
  await world.clock.advance(24_999);
  assertEquals(world.asked.length, 250);
  await world.clock.advance(1);
  assert(world.asked.length > 250);
});

Deno.test("a probe that fails keeps the answer before it, and its callers get the error", async () => {
  await using world = await ReadinessWorld.start(catalogOf([network("web"), network("db")]));
  await world.answer("web");
  await world.clock.advance(10_000);
  const denied = new CniError("permission", "the Deno permission --allow-run is missing");
  const waiting = assertRejects(() => world.readiness.refresh("web"), CniError, "--allow-run");
  await quiet();
  for (const probe of [...world.open]) await probe.fail(denied);
  await waiting;
  assertEquals(world.shown, ["web ready", "db not-ready pending"]);
  assertMatch(world.status("db").msg ?? "", /^it has not been asked yet: .*--allow-run is missing$/);
});

Deno.test("F36 after a change of a plugin directory all networks are asked, also those with a probe in progress", async () => {
  await using world = await ReadinessWorld.start(catalogOf([network("web"), network("db")]));
  await world.answer("web");
  await world.source.change(undefined, true);
  assertEquals(world.asked, ["web", "db", "web"]);
  await world.answer("db", "plugin-missing");
  assertEquals(world.asked, ["web", "db", "web", "db"], "the answer may be from before the change");
  await world.answer("db");
  await world.answer("web");
  assertEquals(world.shown, ["web ready", "db ready"]);
});

Deno.test("F24 F36 after a change of the directory only the networks that changed are asked", async () => {
  const [web, db] = [network("web"), network("db")];
  await using world = await ReadinessWorld.start(catalogOf([web, db]));
  await world.answer("web");
  await world.answer("db");
  await world.source.change(catalogOf([web, network("db", { mtu: 9000 }), network("new")]));
  assertEquals(world.asked.slice(2), ["db", "new"]);
  assertEquals(world.shown, ["web ready", "db ready", "new not-ready pending"]);
});

Deno.test("a network that changes during its probe is asked again, and later callers wait for that answer", async () => {
  await using world = await ReadinessWorld.start();
  await world.source.change(catalogOf([network("web", { mtu: 9000 })]));
  const asking = world.readiness.refresh("web");
  await quiet();
  assertEquals(world.asked, ["web"]);
  await world.answer("web", "timeout");
  assertEquals([world.shown, world.asked.length], [["web not-ready timeout"], 2]);
  assertEquals(world.open.map(({ list }) => list.plugins[0]?.json.mtu !== undefined), [true]);
  await world.answer("web");
  assertEquals((await asking).map(({ ready }) => ready), [true]);
});

Deno.test("F37 F38 a network whose file is removed is gone at once, and listeners learn of it; its probe ends", async () => {
  const [web, db] = [network("web"), network("db")];
  await using world = await ReadinessWorld.start(catalogOf([web, db]));
  await world.answer("web");
  await world.clock.advance(10_000);
  const [probe] = world.open.filter(({ list }) => list === web);
  await world.source.change(catalogOf([db]));
  assertEquals({ shown: world.shown, aborted: probe?.signal?.aborted }, {
    shown: ["db not-ready pending"],
    aborted: true,
  });
  assertEquals(world.emitted.slice(1), ["web not-ready no-config"]);
  await world.source.change(catalogOf([web, db]));
  assertEquals(world.shown[0], "web not-ready pending");
  await world.answer("web", "timeout");
  assertEquals(world.shown[0], "web not-ready timeout", "it has no grace from before the removal");
});

Deno.test("unusable files and a missing default network have a status, and no plugin is asked", async () => {
  const missing = new CniError("not-ready", "it was removed while containers are attached", {
    network: "main",
  });
  const web = network("web");
  const stale = {
    file: "/net.d/w.conflist",
    name: "web",
    status: "stale",
    reason: "no JSON",
    line: 3,
    column: 1,
  };
  const catalog = catalogOf([web], [stale as never, rejected], missing);
  await using world = await ReadinessWorld.start(catalog);
  await world.answer("web");
  assertEquals(world.shown, ["web ready", "bad not-ready invalid-config", "main not-ready no-config"]);
  const [first, second, third] = world.readiness.statuses();
  assertEquals(
    first?.msg,
    "/net.d/w.conflist:3:1: no JSON",
  );
  assertEquals({ msg: second?.msg, file: second?.file }, {
    msg: "/net.d/bad.conflist: no JSON",
    file: "/net.d/bad.conflist",
  });
  assertMatch(third?.msg ?? "", /it was removed while containers are attached$/);
  assertEquals(world.asked, ["web"]);
  await world.clock.advance(5_000);
  await world.source.change(catalogOf([web], [stale as never]));
  assertEquals(world.shown, ["web ready"]);
});

Deno.test("many networks are asked a few at a time, and a network that a caller names is asked at once", async () => {
  const lists = Array.from({ length: 40 }, (_, n) => network(`net${n}`));
  await using world = await ReadinessWorld.start(catalogOf(lists.slice(0, 39)));
  const atOnce = world.open.length;
  assert(atOnce >= 10 && atOnce < 39, `${atOnce}`);
  await world.answer("net0");
  assertEquals([world.open.length, world.asked.length], [atOnce, atOnce + 1]);
  while (world.open.length > 0) await world.open[0]?.answer();
  assertEquals(world.asked.length, 39);
  await world.clock.advance(10_000);
  await world.answer("net0");
  assertEquals(world.open.length, atOnce, "all slots are taken");
  const urgent = world.readiness.refresh("net0");
  await quiet();
  await world.answer("net0", "timeout");
  assertEquals((await urgent).map(({ reason }) => reason), ["timeout"]);
});

Deno.test("refresh rejects for an unknown network, and ends with its signal", async () => {
  await using world = await ReadinessWorld.start();
  const error = await assertRejects(() => world.readiness.refresh("absent"), CniError);
  assertEquals(error.kind, "not-found");
  const cancel = new AbortController();
  const left = assertRejects(() => world.readiness.refresh("web", cancel.signal), Error, "enough");
  cancel.abort(new Error("enough"));
  await left;
  assertEquals(world.open.map(({ signal }) => signal?.aborted), [false], "other callers may wait for it");
});

Deno.test("F112 F113 disposing works once, ends the probes and keeps what is known", async () => {
  await using world = await ReadinessWorld.start(catalogOf([network("web"), network("db")]));
  await world.answer("web");
  const waiting = assertRejects(() => world.readiness.refresh("db"), CniError, "not watched any more");
  await quiet();
  const signals = world.open.map(({ signal }) => signal);
  await Promise.all([world.readiness[Symbol.asyncDispose](), world.readiness[Symbol.asyncDispose]()]);
  await waiting;
  await world.readiness[Symbol.asyncDispose]();
  assertEquals(signals.map((signal) => signal?.aborted), [true]);
  assertEquals({ timers: world.clock.timers, size: world.source.listeners.size }, { timers: 0, size: 0 });
  assertEquals(world.shown, ["web ready", "db not-ready pending"]);
  await world.clock.advance(60_000);
  assertEquals(world.asked, ["web", "db"]);
  await assertRejects(() => world.readiness.refresh(), CniError, "not watched any more");
});

Deno.test("F112 F114 disposing right after the start leaves nothing behind, and does not wait for a plugin", async () => {
  const world = await ReadinessWorld.start(catalogOf([network("web")]), {
    ask: () => new Promise<never>(() => {}),
  });
  const started = performance.now();
  await world.readiness[Symbol.asyncDispose]();
  assert(performance.now() - started < 20_000);
  assertEquals(world.clock.timers, 0);
});

Deno.test("a listener that throws does not affect the others, and a disposed listener is not called", async () => {
  await using world = await ReadinessWorld.start();
  const heard: boolean[] = [];
  {
    using _bad = world.readiness.onChange(() => {
      throw new Error("no ears");
    });
    using _good = world.readiness.onChange(({ ready }) => void heard.push(ready));
    await world.answer("web");
  }
  await world.clock.advance(10_000);
  await world.answer("web", "timeout");
  assertEquals(heard, [true]);
  assertEquals(world.log.all, ["error a listener of network statuses failed: no ears"]);
});

Deno.test("a warning is part of the status, and a listener gets the status when the warnings change", async () => {
  const warnings = [[], ["narrow"], ["narrow"], ["narrow", "taken"], []];
  await using world = await ReadinessWorld.start(catalogOf([network("web")]), {
    ask: () =>
      Promise.resolve({
        ready: true,
        reason: undefined,
        msg: "m",
        error: undefined,
        warnings: warnings.shift(),
      }),
  });
  const heard: unknown[] = [];
  using _listener = world.readiness.onChange((status) => void heard.push(statusToJson(status).warnings));
  for (let round = 0; round < 4; round++) await world.clock.advance(10_000);
  assertEquals(heard, [["narrow"], ["narrow", "taken"], undefined]);
  assertEquals(world.status("web").ready, true);
});
