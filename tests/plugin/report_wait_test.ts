// Reports about a plugin that does not answer yet.
import { assert, assertEquals, assertThrows } from "@std/assert";
import { delay } from "../../lib/async/wait.ts";
import { SPEC_VERSIONS } from "../../lib/cni/version.ts";
import { PluginRunner } from "../../lib/plugin/exec.ts";
import { type PluginWait, reportWait } from "../../lib/plugin/report_wait.ts";
import type { BuiltinTable, Plugin } from "../../lib/plugin/serve.ts";
import { PluginFolder } from "../recording_plugin.ts";
import { deadlineOnce, until } from "../until.ts";
import { callOf, failing } from "./plugin_call.ts";

const PACE = { firstMs: 200, everyMs: 400 };

/** A runner that collects its reports. */
function waitingRunner(pluginDir: string, builtins: BuiltinTable = {}, onReport = (_: PluginWait) => {}) {
  const waits: PluginWait[] = [];
  const onWait = (wait: PluginWait) => {
    waits.push(wait);
    onReport(wait);
  };
  const runner = new PluginRunner({ pluginDirs: [pluginDir], builtins, onWait, waitPace: PACE });
  return { runner, waits };
}

/** Checks that no report came too early. */
function assertPaced(waits: readonly { readonly ms: number }[]): void {
  for (const [index, { ms }] of waits.entries()) {
    assert(
      ms >= PACE.firstMs + index * PACE.everyMs - index - 1,
      `${ms} is too early for the ${index + 1}th`,
    );
  }
}

Deno.test("a body that runs is reported again and again, and one that has ended is not", async () => {
  const reports: { ms: number }[] = [];
  const report = (ms: number) => void reports.push({ ms });
  const twice = async () => {
    await until(() => reports.length >= 2);
    return "done";
  };
  {
    using _reports = reportWait(report, PACE);
    assertEquals(await twice(), "done");
  }
  assertPaced(reports);
  const before = reports.length;
  {
    using _reports = reportWait(report, { firstMs: 50, everyMs: 50 });
    await Promise.resolve("at once");
  }
  assertThrows(
    () => {
      using _reports = reportWait(report, { firstMs: 50, everyMs: 50 });
      throw new Error("no");
    },
    Error,
    "no",
  );
  await delay(200);
  assertEquals(reports.length, before);
});

Deno.test("B52 a plugin that hangs or says try again later is reported while the runtime waits for it", async () => {
  await using plugins = await PluginFolder.make();
  const net = await plugins.install("net", { DEL: { hang: true } });
  const { runner, waits } = waitingRunner(plugins.dir);
  const wait = { plugin: "net", verb: "DEL", network: "web", containerId: "c1" } as const;
  const call = (isEnough: () => boolean) => callOf({ verb: "DEL", signal: deadlineOnce(isEnough, 50) });
  assertEquals((await failing(() => runner.call(call(() => waits.length >= 2)))).kind, "timeout");
  assertPaced(waits);
  for (const { ms, ...report } of waits.splice(0)) {
    assertEquals({ report, isLate: ms > 0 }, { report: wait, isLate: true });
  }

  await net.answer("DEL", { stdout: '{"code": 11, "msg": "the daemon starts"}', code: 1 });
  const answered = () => waits.filter(({ answer }) => answer !== undefined);
  assertEquals((await failing(() => runner.call(call(() => answered().length >= 2)))).kind, "timeout");
  // The first report may come before the first answer.
  for (const { ms: _, ...report } of waits.slice(waits.findIndex(({ answer }) => answer !== undefined))) {
    assertEquals(report, { ...wait, answer: "the daemon starts" });
  }
});

Deno.test("plugins that answer are not reported, and neither are calls of STATUS", async () => {
  await using plugins = await PluginFolder.make();
  await plugins.install("net", { STATUS: { sleep: 1 } });
  const { runner, waits } = waitingRunner(plugins.dir);
  await runner.call(callOf({ verb: "STATUS" }));
  const waitPace = { firstMs: 60_000, everyMs: 1 };
  const patient = new PluginRunner({
    pluginDirs: [plugins.dir],
    onWait: (wait) => void waits.push(wait),
    waitPace,
  });
  await patient.call(callOf({ verb: "DEL" }));
  assertEquals(waits, []);
});

Deno.test("a plugin that waits for another one is reported, the other one is not", async () => {
  await using plugins = await PluginFolder.make();
  await plugins.install("ipam", { ADD: { script: `until [ -e "$here/go" ]; do sleep 0.02; done` } });
  const outer: Plugin = {
    about: "CNI plugin outer",
    versions: SPEC_VERSIONS,
    verbs: {
      ADD: async ({ config, delegate }) => {
        const { ips } = await delegate("ipam", config) ?? {};
        return { cniVersion: "1.1.0", ...(ips && { ips }) };
      },
      DEL: () => Promise.resolve(),
    },
  };
  const goOn = () => Deno.writeTextFileSync(`${plugins.dir}/ipam.d/go`, "");
  const { runner, waits } = waitingRunner(plugins.dir, { outer }, goOn);
  await runner.call(callOf({ type: "outer" }));
  assert(waits.length >= 1);
  assertEquals(new Set(waits.map(({ plugin }) => plugin)), new Set(["outer"]));
});
