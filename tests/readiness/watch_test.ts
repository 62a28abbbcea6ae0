// A real configuration directory and real plugins change: the statuses follow without a request.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { delay } from "../../lib/async/wait.ts";
import { PluginRunner } from "../../lib/plugin/exec.ts";
import { VersionProbe } from "../../lib/plugin/versions.ts";
import { Readiness } from "../../lib/readiness/readiness.ts";
import { probeNetwork } from "../../lib/readiness/status.ts";
import { CatalogWorld, list } from "../catalog/world.ts";
import { PluginFolder } from "../recording_plugin.ts";
import { inShort } from "./world.ts";

const LIMIT_MS = 60_000;

Deno.test("F36-F38 F110 readiness follows the files and plugins: written late, broken, repaired, replaced, removed", async () => {
  await using plugins = await PluginFolder.make();
  await using world = await CatalogWorld.make();
  const { source } = await world.watch({ pluginDirs: [plugins.dir] });
  await using _source = source;
  const runner = new PluginRunner({ pluginDirs: [plugins.dir] });
  const facts = { runner, probe: new VersionProbe(runner), timeoutMs: 5_000 };
  await using readiness = Readiness.start({
    source,
    ask: (list, signal) => probeNetwork(list, { ...facts, signal }),
    log: world.log,
    // No timer: only changes cause a probe.
    intervalMs: 3_600_000,
  });
  const shown = () => readiness.statuses().map(inShort).join(", ");
  const becomes = async (wanted: string) => {
    for (const end = performance.now() + LIMIT_MS; shown() !== wanted && performance.now() < end;) {
      await delay(20);
    }
    assertEquals(shown(), wanted);
  };
  await becomes("- not-ready no-config");
  await world.write("10-web.conflist", list("web", "late"));
  await becomes("web not-ready plugin-missing");
  await plugins.install("late");
  await becomes("web ready");
  await world.write("10-web.conflist", "{");
  await world.write("20-db.conflist", "{");
  await becomes("web ready, - not-ready invalid-config");
  assertStringIncludes(readiness.statuses("web")[0]?.msg ?? "", "10-web.conflist:1:2: ");
  await world.remove("20-db.conflist");
  await Deno.remove(`${plugins.dir}/late`);
  await becomes("web ready plugin-missing grace");
  await world.remove("10-web.conflist");
  await becomes("- not-ready no-config");
});
