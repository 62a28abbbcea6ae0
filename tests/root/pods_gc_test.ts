import { assertEquals, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { statOf } from "../../lib/host/file.ts";
import { bootedAs } from "../booted_as.ts";
import { podsTest } from "./pods_world.ts";
import { until } from "./sandbox_world.ts";

podsTest(
  "F102 F103 F104 F108 gc removes the pods that the engine no longer knows, whatever the default is now",
  async (world) => {
    const { sandbox } = world;
    await sandbox.network("b");
    await using pods = await world.open({ owner: "mine" });
    await using others = await world.open({ owner: "other" });
    const [kept, gone, foreign] = [
      await world.pod("kept"),
      await world.pod("gone"),
      await world.pod("foreign"),
    ];
    for (const pod of [kept, gone]) await pods.setUp(pod);
    await others.setUp(foreign);
    await sandbox.network("a");

    const asked = await pods.gc();
    assertEquals({ removed: asked.removed, failed: asked.failed }, { removed: [], failed: [] });
    const valid = [kept.containerId];
    const dry = await pods.gc({ validPods: valid, dryRun: true });
    const report = await pods.gc({ validPods: () => Promise.resolve(valid) });
    const entriesOf = ({ removed }: typeof report) =>
      removed.map(({ kind, containerId, network }) => [kind, sandbox.plain(containerId ?? ""), network]);
    assertEquals(entriesOf(dry), entriesOf(report));
    assertEquals(entriesOf(report), [["attachment", "gone", "b"], ["sandbox", "gone", undefined]]);
    assertEquals((await pods.podStatus(kept.containerId)).ready, true);
    assertEquals((await others.podStatus(foreign.containerId)).ready, true);
    assertEquals((await assertRejects(() => pods.podStatus(gone.containerId), CniError)).kind, "not-found");
    // A pod of another engine is not affected.
    assertEquals((await assertRejects(() => pods.tearDown(foreign.containerId), CniError)).kind, "conflict");
    assertEquals(await pods.tearDown(kept.containerId), []);
    assertEquals(await others.tearDown(foreign.containerId), []);
  },
);

podsTest(
  "gc of a network that is neither configured nor on record is an error, as on the command line",
  async (world) => {
    await world.sandbox.network("a");
    await using pods = await world.open();
    assertEquals((await assertRejects(() => pods.gc({ network: "b" }), CniError)).kind, "not-found");
    assertEquals((await pods.gc({ network: "a" })).failed, []);
  },
);

podsTest("gc repeats by itself, and asks the engine which pods exist", async (world) => {
  const { sandbox } = world;
  await sandbox.network("a");
  const there: string[] = [];
  await using pods = await world.open({ gcIntervalMs: 50, validPods: () => there });
  const pod = await world.pod("web");
  there.push(pod.containerId);
  await pods.setUp(pod);
  await until(async () => (await sandbox.calls()).filter((line) => line.startsWith("a GC")).length >= 2);
  assertEquals((await pods.podStatus(pod.containerId)).ready, true);
  there.pop();
  await until(async () => (await pods.attachments()).length === 0);
  assertEquals((await sandbox.calls()).filter((line) => line.startsWith("a DEL")), ["a DEL web eth0"]);
});

podsTest(
  "a default network that only pods of an earlier boot keep as the default gives way after the restart",
  async (world) => {
    const { sandbox } = world;
    await sandbox.network("a");
    await sandbox.network("b");
    {
      await using before = await world.open();
      const old = await world.pod("old");
      await before.setUp(old);
      await Deno.remove(`${sandbox.confDir}/a.conflist`);
      const pod = await world.pod("now");
      assertEquals((await assertRejects(() => before.setUp(pod), CniError)).kind, "not-ready");
    }
    await using after = await world.open({ run: bootedAs("another-boot") });
    const pod = await world.pod("new");
    assertEquals((await after.setUp(pod)).networks.map(({ name }) => name), ["b"]);
    assertEquals(
      (await sandbox.calls()).filter((line) => / (ADD|DEL) /.test(line)),
      ["a ADD old eth0", "a DEL old eth0", "b ADD new eth0"],
    );
    assertEquals(await after.tearDown(pod.containerId), []);
  },
);

/** A plugin call that ignores signals to end until it is killed, and marks that in the log. */
const ENDLESS = `trap "" TERM\nwhile :; do echo gc >>"$here/marks"; sleep 0.05; done`;

podsTest(
  "D66 F49 F50 when a sweep is killed while a plugin cleans up, that plugin has ended before anything is attached or swept",
  async (world) => {
    const { sandbox } = world;
    const a = await sandbox.network("a", {
      ADD: { stdout: '{"dns": {}}', script: 'echo add >>"$here/marks"' },
    });
    for (const turn of [1, 2]) await a.answer("GC", { script: ENDLESS }, turn);
    await a.answer("GC", { script: 'echo swept >>"$here/marks"' });
    const file = `${a.path}.d/marks`;
    const marks = async () => (await Deno.readTextFile(file)).trimEnd().split("\n");
    const isCollecting = async () => await statOf(`${sandbox.runDir}/gc/a.collecting`) !== undefined;
    const killInGc = async () => {
      await Deno.writeTextFile(file, "");
      await using sweeper = await world.process();
      const swept = sweeper.call("gc");
      await until(async () => (await marks()).filter((mark) => mark === "gc").length >= 3);
      await sweeper.kill();
      assertEquals({ swept: await swept, isCollecting: await isCollecting() }, {
        swept: {},
        isCollecting: true,
      });
      // It has not noticed that no process reads its output; but the recovery of any other test may have
      // ended it by now.
      const before = (await marks()).length;
      await until(async () => (await marks()).length > before || (await world.running()).length === 0);
    };
    await using pods = await world.open();
    const other = await world.process();
    const all = [await world.pod("p1"), await world.pod("p2"), await world.pod("p3")];

    await killInGc();
    const [p1, p2, p3] = all;
    await Promise.all([pods.setUp(p1!), pods.setUp(p2!), other.value("setUp", p3)]);
    assertEquals(await isCollecting(), false);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const seen = await marks();
    assertEquals(seen.slice(seen.indexOf("add")), ["add", "add", "add"]);
    await until(async () => (await world.running()).length === 0);

    await killInGc();
    assertEquals((await pods.gc()).failed, []);
    await new Promise((resolve) => setTimeout(resolve, 300));
    assertEquals((await marks()).slice(-2), ["gc", "swept"]);
    assertEquals(await isCollecting(), false);
    await until(async () => (await world.running()).length === 0);
    for (const { containerId } of all) assertEquals(await pods.tearDown(containerId), []);
  },
);
