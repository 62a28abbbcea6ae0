// Where the program keeps its files: several installations side by side, unusable directories, and callers
// that run at the same time or interrupt twice.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { runCommand } from "../../lib/host/command.ts";
import { binaryTest, isThere, sh, until } from "./binary_world.ts";
import { PODWIRE_BINARY } from "./need.ts";
import { putRecord, recordFile } from "../stores.ts";

binaryTest(
  "an installation with another state directory leaves the namespaces of the first alone",
  [],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    // Both are in the directory of `ip netns`, as in production.
    const dirs = world.dirs.filter((dir) => !/^--(netns|state)-dir/.test(dir));
    const first = { dirs: [...dirs, `--state-dir=${world.stateDir}`] };
    const second = { dirs: [...dirs, `--state-dir=${world.dir}/state/second`] };
    const { netns } = await world.json(["run", "--id", world.id("first")], first);
    try {
      // The very first run of an installation settles what an earlier boot left; `recover` looks for lost
      // namespaces.
      const other = await world.json(["run", "--id", world.id("second")], second);
      const { removed, failed } = await world.json(["recover"], second);
      assertEquals({ removed, failed }, { removed: [], failed: [] });
      await world.done(["rm", other.id], second);
      const { state } = await world.json(["inspect", world.id("first")], first);
      assertEquals({ state, isThere: await isThere(netns) }, { state: "ready", isThere: true });
      assertEquals((await world.json(["recover"], first)).removed, []);
    } finally {
      await world.podwire(["rm", "-f", world.id("first")], first);
    }
    const catalogs = /^state\/second\/catalogs\/[0-9a-f]+\.json$/;
    const left = (await world.traces()).filter((file) => !catalogs.test(file));
    assertEquals([await isThere(netns), left].flat(), [
      false,
      "state/second/boot-id",
      "state/second/by-name/.complete",
      "state/second/format",
      "state/second/interfaces/.complete",
      "state/second/run/boot.lock",
      "state/second/run/files.lock",
      `state/second/run/gc/${world.network}.lock`,
      "state/second/run/interfaces.lock",
      "state/second/run/names.lock",
    ]);
  },
);

binaryTest("recover finds and removes a namespace without an owner", [], async (world) => {
  await world.list([world.bridgePlugin()]);
  const id = world.id("lost");
  const { netns } = await world.json(["run", "--id", id]);
  await putRecord(recordFile(world.stateDir, id), "sandbox", undefined);
  const { removed, failed } = await world.json(["recover"]);
  assertEquals(failed, []);
  assertEquals(removed.map(({ kind, why }: Record<string, string>) => [kind, why]), [
    ["attachment", "its sandbox is gone"],
    ["namespace", "no sandbox owns it"],
  ]);
  assertEquals(await isThere(netns), false);
});

binaryTest(
  "of several runs that want one name at once, one gets it and the others leave nothing",
  [],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    const outcomes = await Promise.all(
      [1, 2, 3, 4].map((n) => world.podwire(["run", "web", "--id", world.id(`c${n}`), "--json"])),
    );
    assertEquals(outcomes.map(({ code }) => code).sort(), [0, 1, 1, 1]);
    for (const { code, stderr } of outcomes) {
      if (code !== 0) assertMatch(JSON.parse(stderr).msg, /^the name "web" in namespace "default" is taken/);
    }
    assertEquals((await world.json(["ps"])).length, 1);
    assertEquals((await world.json(["attachments"])).length, 1);
    await world.done(["rm", "web"]);
    assertEquals(await world.traces(), []);
  },
);

binaryTest("rm and stop of several sandboxes go on after a missing one, and report it", [], async (world) => {
  await world.list([world.bridgePlugin()]);
  for (const name of ["one", "two"]) await world.done(["run", name, "--id", world.id(name)]);
  const stopped = await world.podwire(["stop", "one", "absent", "two"]);
  assertEquals({ code: stopped.code, stderr: stopped.stderr.split("\n")[0] }, {
    code: 3,
    stderr: 'podwire: no sandbox "absent" in namespace "default"',
  });
  assertEquals((await world.json(["ps"])).map(({ state }: { state: string }) => state), [
    "stopped",
    "stopped",
  ]);
  const removed = await world.podwire(["rm", "nope", "one", "absent", "two"]);
  assertEquals(removed.code, 3);
  assertMatch(removed.stderr, /^error: no sandbox "nope" .*\npodwire: no sandbox "absent"/);
  assertEquals(await world.json(["ps"]), []);
  assertEquals(await world.traces(), []);
});

binaryTest("an unusable directory is named, quickly, and nothing is left", [], async (world) => {
  await world.list([world.bridgePlugin()]);
  await Deno.writeTextFile(`${world.dir}/file`, "");
  const cases: readonly [string, RegExp][] = [
    [`--netns-dir=${world.dir}/file`, /file/],
    ["--netns-dir=/proc/podwire", /mkdir '\/proc\/podwire'/],
    [`--conf-dir=${world.dir}/file`, /Not a directory .*file/],
    [`--cache-dir=${world.dir}/file`, /file/],
    [`--state-dir=${world.dir}/file`, /file/],
  ];
  for (const [option, words] of cases) {
    const started = performance.now();
    const { code, stdout, stderr } = await world.podwire(["run", "--id", world.id("web"), option]);
    assertEquals({ option, code, stdout }, { option, code: 1, stdout: "" }, stderr);
    assertMatch(stderr, words);
    assert(performance.now() - started < 60_000);
    assertEquals(await world.traces(), []);
  }
});

binaryTest(
  "a second interrupt does not wait for the clean-up, which recover then does",
  [],
  async (world) => {
    await world.plugin(
      "slow",
      `#!/bin/sh\ncat >/dev/null\ntouch ${world.dir}/called-$CNI_COMMAND; [ -e ${world.dir}/mended ] || { sleep 600 & wait; }\n`,
    );
    await world.list([{ type: "slow" }]);
    const id = world.id("web");
    const child = world.start(["run", "--id", id]);
    await until("ADD runs", () => isThere(`${world.dir}/called-ADD`));
    child.kill("SIGINT");
    await until("DEL runs", () => isThere(`${world.dir}/called-DEL`));
    const started = performance.now();
    child.kill("SIGINT");
    const { success } = await child.output();
    assertEquals([success, performance.now() - started < 30_000], [false, true]);
    await Deno.writeTextFile(`${world.dir}/mended`, "");
    assertEquals((await world.json(["recover"])).failed, []);
    assertEquals(await world.traces(), []);
  },
);

binaryTest(
  "output that cannot be written ends in exit code 1; a closed output is not an error",
  [],
  async (world) => {
    const call = (words: string) =>
      runCommand({ program: "sh", args: ["-c", `exec "$0" ${words}`, PODWIRE_BINARY] });
    for (const words of ["--version >/dev/full", "--help >/dev/full"]) {
      const { code, stderr } = await call(words);
      const problem = "Cannot write the result to standard output: No space left on device (os error 28)";
      assertEquals({ code, stderr }, { code: 1, stderr: `podwire: ${problem} (code 5)\n` });
    }
    assertEquals((await call("nosuch 2>/dev/full")).code, 2);
    assertEquals(
      await sh(`${PODWIRE_BINARY} --help | head -1`),
      "podwire 0.1.0: network for pod sandboxes, through CNI\n",
    );
    assertEquals(await world.traces(), []);
  },
);
