// The memory of the last usable content of each file. Each source here stands for another process.
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { dirname } from "@std/path/posix";
import { CniError } from "../../lib/cni/error.ts";
import { briefs, CatalogWorld, conf, list } from "./world.ts";

async function once(world: CatalogWorld, ...options: Parameters<CatalogWorld["onDemand"]>) {
  await using source = world.onDemand(...options);
  return await source.current();
}

Deno.test("F42 the last usable content of a file that becomes unusable stays in use, in this process and in later ones", async () => {
  await using world = await CatalogWorld.make({ "10-web.conflist": list("web", "bridge", "portmap") });
  await Deno.mkdir(world.path("web"));
  await world.write("web/10.conf", '{"type": "tuning"}');
  const types = ["bridge", "portmap", "tuning"];
  const good = await once(world);
  const [since] = good.entries.map((entry) => entry.since);
  assertMatch(since ?? "", /^\d{4}-.*Z$/);
  const bad = ["", "{", "null", list("web", "bridge").slice(0, -3), '{"cniVersion": "1.0.0", "name": 7}'];
  for (const text of bad) {
    await world.write("10-web.conflist", text);
    const catalog = await once(world);
    assertEquals(briefs(catalog), ["10-web.conflist web stale default"]);
    assertEquals(catalog.default().plugins.map(({ type }) => type), types);
    const [entry] = catalog.entries;
    assertEquals([entry?.since, typeof entry?.badSince, typeof entry?.line], [since, "string", "number"]);
    assertStringIncludes(entry?.reason ?? "", `in use is what it said since ${since}`);
  }
  assertEquals(world.log.all.length, bad.length);
  for (const line of world.log.all) {
    assertStringIncludes(line, "warn a configuration file cannot be used, its content since");
  }
  await world.write("10-web.conflist", list("web", "ptp"));
  const mended = await once(world);
  assertEquals(briefs(mended), ["10-web.conflist web used default"]);
  assertEquals({ badSince: mended.entries[0]?.badSince, reason: mended.entries[0]?.reason }, {
    badSince: undefined,
    reason: undefined,
  });
  await world.write("10-web.conflist", "");
  assertEquals((await once(world)).default().plugins.map(({ type }) => type), ["ptp", "tuning"]);
});

Deno.test("F43 if a plugin of the folder becomes unusable, the whole former list stays in use", async () => {
  await using world = await CatalogWorld.make({ "10-web.conflist": list("web", "bridge") });
  await Deno.mkdir(world.path("web"));
  await world.write("web/10.conf", '{"type": "tuning"}');
  await once(world);
  await world.write("web/10.conf", '{"type": ');
  const catalog = await once(world);
  assertEquals(catalog.entries.map(({ file, status, line }) => [file, status, line]), [
    [world.path("web/10.conf"), "stale", 1],
  ]);
  assertEquals(catalog.default().plugins.map(({ type }) => type), ["bridge", "tuning"]);
});

Deno.test("the time since when a file is unusable stays, and ends when the file is usable again", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  let hour = 0;
  const now = () => new Date(Date.UTC(2026, 0, 1, hour++));
  const at = (n: number) => new Date(Date.UTC(2026, 0, 1, n)).toISOString();
  const times = async () =>
    (await once(world, { now })).entries.map(({ since, badSince }) => [since, badSince])[0];
  assertEquals(await times(), [at(0), undefined]);
  assertEquals(await times(), [at(0), undefined]);
  await world.write("10-a.conf", "{");
  assertEquals(await times(), [at(0), at(2)]);
  await world.write("10-a.conf", "[");
  assertEquals(await times(), [at(0), at(2)]);
  await world.write("10-a.conf", conf("a"));
  assertEquals(await times(), [at(0), undefined]);
  await world.write("10-a.conf", conf("b"));
  assertEquals(await times(), [at(5), undefined]);
});

Deno.test("a removed file is forgotten: a new unusable file of its name is rejected", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a"), "20-b.conf": conf("b") });
  await once(world);
  await world.remove("10-a.conf");
  await once(world);
  await world.write("10-a.conf", "{");
  assertEquals(briefs(await once(world)), ["10-a.conf - rejected", "20-b.conf b used"]);
});

Deno.test("a file that was never usable is not used, and does not hide others", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": "{" });
  const catalog = await once(world);
  assertEquals(briefs(catalog), ["10-a.conf - rejected"]);
  assertEquals(assertThrows(() => catalog.default(), CniError).kind, "not-ready");
});

Deno.test("two directories, and two state directories, do not affect each other", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await once(world);
  await Deno.mkdir(`${world.dir}/other`);
  await Deno.writeTextFile(`${world.dir}/other/10-a.conf`, "{");
  assertEquals(briefs(await once(world, { confDir: `${world.dir}/other` })), ["10-a.conf - rejected"]);
  await world.write("10-a.conf", "{");
  assertEquals(briefs(await once(world, { stateDir: `${world.dir}/empty` })), ["10-a.conf - rejected"]);
  assertEquals(briefs(await once(world)), ["10-a.conf a stale default"]);
});

Deno.test("the memory is written only if something has changed, with mode 0600", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await once(world);
  const file = await world.memoryFile();
  const before = await Deno.stat(file);
  assertEquals((before.mode ?? 0) & 0o777, 0o600);
  await once(world);
  await once(world);
  assertEquals((await Deno.stat(file)).ino, before.ino);
  await world.write("10-a.conf", conf("b"));
  await once(world);
  assert((await Deno.stat(file)).ino !== before.ino);
});

Deno.test("the next process that writes removes the unfinished file of a killed process", async () => {
  await using world = await CatalogWorld.make({ "10-web.conflist": list("web", "bridge") });
  await once(world);
  const dir = dirname(await world.memoryFile());
  await Deno.writeTextFile(`${dir}/.podwire-4194304-${"0".repeat(32)}.tmp`, "{");
  await world.write("10-web.conflist", list("web", "ptp"));
  await once(world);
  const names = Array.from(Deno.readDirSync(dir), ({ name }) => name);
  assertEquals(names.filter((name) => name.endsWith(".tmp")), []);
});

Deno.test("if the memory cannot be written, it lasts as long as the process, and one warning is logged", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await Deno.writeTextFile(`${world.dir}/file`, "");
  const stateDir = `${world.dir}/file`;
  await using source = world.onDemand({ stateDir });
  await source.current();
  await world.write("10-a.conf", "{");
  assertEquals(briefs(await source.current()), ["10-a.conf a stale default"]);
  await source.current();
  const warnings = world.log.all.filter((line) => line.includes("the memory of the configuration"));
  assertEquals(warnings.length, 1, warnings.join("\n"));
  // The state directory can be written again.
  await Deno.remove(stateDir);
  await source.current();
  assertEquals(briefs(await once(world, { stateDir })), ["10-a.conf a stale default"]);
});

Deno.test("a damaged memory is moved aside and logged, and the files are read as before", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await once(world);
  const file = await world.memoryFile();
  const whole = await Deno.readTextFile(file);
  for (const [n, text] of ["", "{}", whole.slice(0, 80), whole.replace('"a\\', '"b\\'), "\0\0"].entries()) {
    await Deno.writeTextFile(file, text);
    assertEquals(briefs(await once(world)), ["10-a.conf a used default"]);
    assertEquals(await Deno.readTextFile(`${file}.bad-${n + 1}`), text);
    const warnings = world.log.all.slice(2 * n);
    assertStringIncludes(warnings[0] ?? "", "warn a record cannot be read, and is left as it is");
    assertStringIncludes(warnings[1] ?? "", "warn a record could not be read and was moved aside");
  }
  assertEquals(world.log.all.length, 10);
});

Deno.test("the memory of a newer version is not used and never overwritten", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await once(world);
  const file = await world.memoryFile();
  const newer = (await Deno.readTextFile(file)).replace("catalog.v1", "catalog.v2").replace("confDir", "dir");
  await Deno.writeTextFile(file, newer);
  for (const name of ["a", "c"]) {
    await world.write("10-a.conf", conf(name));
    assertEquals(briefs(await once(world)), [`10-a.conf ${name} used default`]);
    assertEquals(await Deno.readTextFile(file), newer);
  }
});

Deno.test("two processes at once remember what either of them has read", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await using one = world.onDemand();
  await using two = world.onDemand();
  for (let round = 0; round < 10; round++) {
    await world.write("10-a.conf", conf(`a${round}`));
    await Promise.all([one.current(), two.current()]);
    const reader = round % 2 === 0 ? one : two;
    await world.write("20-b.conf", conf(`b${round}`));
    await reader.current();
    await world.write("20-b.conf", "{");
    const [ofOne, ofTwo] = await Promise.all([one.current(), two.current()]);
    assertEquals(briefs(ofOne), [`10-a.conf a${round} used default`, `20-b.conf b${round} stale`]);
    assertEquals(briefs(ofTwo), briefs(ofOne));
  }
  assertEquals(world.log.all.filter((line) => line.includes("moved aside")), []);
});
