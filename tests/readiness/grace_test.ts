import { assertEquals, assertNotEquals } from "@std/assert";
import { catalogOf, network, ReadinessWorld } from "./world.ts";

/** A world in which `web` is ready, at 12:00:10. */
async function readyWorld(graceMs?: number): Promise<ReadinessWorld> {
  const world = await ReadinessWorld.start(
    catalogOf([network("web")]),
    graceMs === undefined ? {} : { graceMs },
  );
  await world.answer("web");
  await world.clock.advance(10_000);
  return world;
}

Deno.test("a network that was ready counts as ready for 30 s when it fails, saying why and until when", async () => {
  await using world = await readyWorld();
  await world.answer("web", "plugin-missing");
  const { ready, reason, msg, since, graceUntil } = world.status("web");
  assertEquals({ ready, reason, msg }, {
    ready: true,
    reason: "plugin-missing",
    msg: "it is plugin-missing",
  });
  assertEquals({ since, graceUntil }, {
    since: "2026-03-01T12:00:10.000Z",
    graceUntil: "2026-03-01T12:00:40.000Z",
  });
  await world.clock.advance(29_999);
  assertEquals(world.shown, ["web ready plugin-missing grace"]);
  await world.clock.advance(1);
  assertEquals(world.shown, ["web not-ready plugin-missing"]);
  assertEquals(world.status("web").since, "2026-03-01T12:00:10.000Z", "it has failed since then");
  assertEquals(world.emitted, [
    "web ready",
    "web ready plugin-missing grace",
    "web not-ready plugin-missing",
  ]);
});

Deno.test("a plugin that is replaced within the grace never makes the network unready", async () => {
  await using world = await readyWorld();
  await world.answer("web", "plugin-missing");
  await world.clock.advance(20_000);
  await world.answer("web");
  await world.clock.advance(60_000);
  assertEquals(world.shown, ["web ready"]);
  assertEquals(world.status("web").since, "2026-03-01T12:00:30.000Z");
  assertEquals(world.emitted, ["web ready", "web ready plugin-missing grace", "web ready"]);
  await world.answer("web", "timeout");
  assertEquals(world.shown, ["web ready timeout grace"], "each failure has a grace of its own");
});

Deno.test("another reason starts no new grace, and a grace that is over does not come back", async () => {
  await using world = await readyWorld();
  await world.answer("web", "timeout");
  await world.clock.advance(20_000);
  await world.answer("web", "plugin-not-ready");
  assertEquals(world.shown, ["web ready plugin-not-ready grace"]);
  assertEquals(world.status("web").since, "2026-03-01T12:00:30.000Z");
  assertEquals(world.status("web").graceUntil, "2026-03-01T12:00:40.000Z");
  await world.clock.advance(10_000);
  assertEquals(world.shown, ["web not-ready plugin-not-ready"]);
  await world.answer("web", "timeout");
  assertEquals(world.shown, ["web not-ready timeout"]);
});

Deno.test("a network that was never ready has no grace", async () => {
  await using world = await ReadinessWorld.start();
  await world.answer("web", "timeout");
  assertEquals(world.shown, ["web not-ready timeout"]);
  await world.clock.advance(10_000);
  await world.answer("web", "plugin-not-ready");
  assertEquals(world.shown, ["web not-ready plugin-not-ready"]);
});

Deno.test("a grace is as long as the options say, also 0", async () => {
  await using short = await readyWorld(1_000);
  await short.answer("web", "timeout");
  await short.clock.advance(1_000);
  assertEquals(short.shown, ["web not-ready timeout"]);
  await using none = await readyWorld(0);
  await none.answer("web", "timeout");
  assertEquals(none.shown, ["web not-ready timeout"]);
});

Deno.test("a clock that is set changes no grace", async () => {
  for (const shift of [-3_600_000, 3_600_000]) {
    await using world = await readyWorld();
    await world.answer("web", "timeout");
    world.clock.shift = shift;
    await world.clock.advance(29_999);
    assertEquals(world.shown, ["web ready timeout grace"]);
    await world.clock.advance(1);
    assertEquals(world.shown, ["web not-ready timeout"]);
  }
});

Deno.test("the grace of a network survives a change of its file, but not the removal", async () => {
  await using world = await readyWorld();
  await world.answer("web", "timeout");
  await world.source.change(catalogOf([network("web", { mtu: 9000 })]));
  await world.answer("web", "plugin-missing");
  assertEquals(world.shown, ["web ready plugin-missing grace"]);
  await world.source.change(catalogOf([]));
  assertNotEquals(world.shown[0]?.split(" ")[0], "web");
  await world.source.change(catalogOf([network("web")]));
  await world.answer("web", "timeout");
  assertEquals(world.shown, ["web not-ready timeout"]);
});
