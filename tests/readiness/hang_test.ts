// Real plugins that hang: reading the status does not wait for them, and none of them outlives the readiness.
import { assert, assertEquals } from "@std/assert";
import { delay } from "../../lib/async/wait.ts";
import { VersionProbe } from "../../lib/plugin/versions.ts";
import { Readiness } from "../../lib/readiness/readiness.ts";
import { probeNetwork } from "../../lib/readiness/status.ts";
import { listOf, NetworkWorld } from "../attachment/world.ts";
import { until } from "../until.ts";
import { catalogOf, FakeSource } from "./world.ts";

Deno.test("F51 statuses are returned within 5 ms while ten plugins hang, and each plugin runs once", async () => {
  await using world = await NetworkWorld.make();
  const names = Array.from({ length: 10 }, (_, n) => `net${n}`);
  for (const name of names) await world.plugins.install(name, { STATUS: { hang: true } });
  const lists = names.map((name) => listOf([name], { name }));
  const { runner } = world;
  const facts = { runner, probe: new VersionProbe(runner), timeoutMs: 60_000 };
  const readiness = Readiness.start({
    source: new FakeSource(catalogOf(lists)),
    ask: (list, signal) => probeNetwork(list, { ...facts, signal }),
    intervalMs: 200,
    log: world.log,
  });
  const asked = async () => (await world.plugins.verbs()).filter((call) => call.endsWith("STATUS"));
  try {
    await until(async () => (await asked()).length >= 10);
    assertEquals((await asked()).length, 10);
    const joined = readiness.refresh("net0").catch((error) => error);
    const times: number[] = [];
    for (let n = 0; n < 100; n++) {
      const started = performance.now();
      const statuses = readiness.statuses();
      times.push(performance.now() - started);
      assertEquals([statuses.length, statuses[0]?.reason], [10, "pending"]);
      if (n % 20 === 0) await delay(60);
    }
    const median = times.sort((a, b) => a - b)[50] ?? Infinity;
    assert(median < 5, `${median} ms`);
    assertEquals((await asked()).length, 10, "after more than one interval, and with a caller that waits");
    assert((await alive(world.plugins.dir)).length >= 10);
    await readiness[Symbol.asyncDispose]();
    assertEquals((await joined).kind, "cancelled");
  } finally {
    await readiness[Symbol.asyncDispose]();
  }
  assertEquals(await alive(world.plugins.dir), [], "no plugin is left");
});

Deno.test("a plugin that hangs is a timeout for its own network, and delays no other", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("slow", { STATUS: { hang: true } });
  await world.plugins.install("quick");
  const { runner } = world;
  const facts = { runner, probe: new VersionProbe(runner, 60_000) };
  const timeoutOf = (name: string) => name === "slow" ? 8_000 : 60_000;
  await using readiness = Readiness.start({
    source: new FakeSource(
      catalogOf([listOf(["slow"], { name: "slow" }), listOf(["quick"], { name: "quick" })]),
    ),
    ask: (list, signal) => probeNetwork(list, { ...facts, timeoutMs: timeoutOf(list.name), signal }),
    log: world.log,
  });
  const [quick] = await readiness.refresh("quick");
  assertEquals({ ready: quick?.ready, reason: readiness.statuses("slow")[0]?.reason }, {
    ready: true,
    reason: "pending",
  });
  const [slow] = await readiness.refresh("slow");
  assertEquals({ ready: slow?.ready, reason: slow?.reason }, { ready: false, reason: "timeout" });
});

/** The command lines that name the folder. */
async function alive(dir: string): Promise<string[]> {
  const script = 'for file in /proc/[0-9]*/cmdline; do tr "\\0" " " <"$file"; echo; done 2>/dev/null';
  const { stdout } = await new Deno.Command("sh", { args: ["-c", script] }).output();
  return new TextDecoder().decode(stdout).split("\n").filter((line) => line.includes(dir));
}
