// Another process writes to a file beside the configuration without a pause. Polling is off.
import { assert, assertEquals } from "@std/assert";
import type { CatalogReader } from "../../lib/catalog/reader.ts";
import { CountedEvents, EndlessWriter } from "../endless_writer.ts";
import { CatalogWorld, conf } from "./world.ts";

const A = "10-a.conf a used default";

/** Counts the readings. */
function count(reader: CatalogReader): { total: number } {
  const counted = { total: 0 };
  const attempt = reader.attempt.bind(reader);
  reader.attempt = (signal) => {
    counted.total++;
    return attempt(signal);
  };
  return counted;
}

Deno.test("F43 what others write above the configuration directory causes no event and no reading", async () => {
  using events = new CountedEvents();
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  const reader = world.reader();
  const readings = count(reader);
  await using watched = await world.watch({ reader });
  const atFirst = readings.total;
  const writers = [`${world.parent}/log`, `${world.dir}/log`].map((path) => new EndlessWriter(path));
  await using _one = writers[0];
  await using _other = writers[1];
  for (const writer of writers) await writer.wrote(20_000);
  assertEquals({ events: events.byName.get("log"), readings: readings.total }, {
    events: undefined,
    readings: atFirst,
  });
  await world.write("20-b.conf", conf("b"));
  await watched.becomes(A, "20-b.conf b used");
  assertEquals(events.byName.get("log"), undefined);
});

Deno.test("F42 F43 what others write in the configuration directory without end is not read for each event, and no change is missed", async () => {
  using events = new CountedEvents();
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  const reader = world.reader();
  const readings = count(reader);
  const gatherMs = 200;
  const begin = performance.now();
  await using watched = await world.watch({ reader, gatherMs });
  await using writer = new EndlessWriter(world.path("20-b.conf.tmp"));
  await writer.wrote(20_000);
  for (const name of ["b", "c", "d"]) {
    await world.write("20-b.conf", conf(name));
    await watched.becomes(A, `20-b.conf ${name} used`);
  }
  await writer.wrote(20_000);
  const ms = performance.now() - begin;
  // The events that were waited for, and those of the opening.
  assert(readings.total <= ms / gatherMs + 5, `${readings.total} readings in ${ms} ms`);
  assert(events.total <= 96 * (ms / 150 + 2), `${events.total} events in ${ms} ms`);
});
