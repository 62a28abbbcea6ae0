// The sweep on the real kernel: namespaces without an owner, and what else happens at the same time.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { GcItem, GcReport } from "../../lib/gc/report.ts";
import { createNetns } from "../../lib/host/netns.ts";
import { sandboxTest, type SandboxWorld, until } from "./sandbox_world.ts";
import { putRecord, recordFile } from "../stores.ts";

const brief = (world: SandboxWorld, items: readonly GcItem[]) =>
  items.map(({ kind, containerId, why }) => world.plain(`${kind} ${containerId}: ${why}`)).sort();
const briefReport = (world: SandboxWorld, { removed, kept, failed }: GcReport) => ({
  removed: brief(world, removed),
  kept: brief(world, kept),
  failed: brief(world, failed),
});

/** A namespace with the name that podwire gives to a sandbox's namespace. */
async function lost(world: SandboxWorld, id: string): Promise<string> {
  const path = `${world.netnsDir}/podwire-${id}`;
  await createNetns(path);
  return path;
}

sandboxTest(
  "gc removes the namespaces that podwire made and no sandbox owns, and what a killed run left of one",
  async (world) => {
    await world.network("a");
    const podwire = world.podwire();
    await podwire.sandboxes.run({ name: "web", id: world.id("c1") });
    for (const id of [world.id("lost1"), world.id("lost2")]) await lost(world, id);
    await createNetns(`${world.netnsDir}/mine`);
    await createNetns(`${world.netnsDir}/podwire@other-x`);
    await Deno.writeTextFile(`${world.netnsDir}/podwire-empty`, "");
    await Deno.writeTextFile(`${world.netnsDir}/podwire-notes`, "not ours");
    const before = await world.namespaces();
    const expected = {
      removed: [
        "namespace empty: no sandbox owns it",
        "namespace lost1: no sandbox owns it",
        "namespace lost2: no sandbox owns it",
      ],
      kept: [
        "attachment c1: its sandbox is there",
        "namespace notes: is a plain file, not a network namespace",
      ],
      failed: [],
    };
    assertEquals(briefReport(world, await podwire.gc({ dryRun: true })), expected);
    assertEquals(await world.namespaces(), before);
    assertEquals(await world.locks.containers.list(), []);
    assertEquals(briefReport(world, await podwire.gc()), expected);
    assertEquals(await world.namespaces(), ["mine", "podwire-c1", "podwire-notes", "podwire@other-x"]);
    assertEquals(await world.locks.containers.list(), []);
    // Again there is nothing to do; with one network there never is.
    assertEquals((await podwire.gc()).removed, []);
    await lost(world, world.id("lost3"));
    assertEquals((await podwire.gc({ network: "a" })).removed, []);
  },
);

sandboxTest(
  "gc and recover leave alone the sandboxes of another installation that shares the directory of namespaces",
  async (world) => {
    await world.network("a");
    const podwire = world.podwire();
    await podwire.sandboxes.run({ name: "web", id: world.id("c1") });
    const dirs = { stateDir: `${world.dir}/other`, runDir: `${world.dir}/other/run` };
    const other = world.podwire(dirs);
    const why = "another installation of podwire, with another state directory, created it";
    for (const report of [await other.gc({ all: true }), await other.recover()]) {
      assertEquals({ removed: report.removed, failed: report.failed }, { removed: [], failed: [] });
      assertEquals(report.kept.filter(({ kind }) => kind === "namespace").map((item) => item.why), [why]);
    }
    assertEquals((await podwire.sandboxes.get("web")).state, "ready");
    // A state directory that was lost and made anew is the same one.
    await Deno.rename(world.stateDir, `${world.dir}/lost`);
    assertEquals((await world.podwire().gc()).removed.map(({ kind }) => kind), ["namespace"]);
    assertEquals(await world.namespaces(), []);
  },
);

sandboxTest(
  "gc leaves alone a namespace with a process or an attachment in it, and reports it",
  async (world) => {
    await world.network("a");
    const podwire = world.podwire();
    const [busy, used] = [world.id("busy"), world.id("used")];
    const path = await lost(world, busy);
    const netns = await lost(world, used);
    const request = { netns, ifName: "eth0", args: [], capabilityArgs: {} };
    await podwire.add("a", { ...request, containerId: world.id("hand"), owner: "cli" });
    const child = new Deno.Command("nsenter", { args: [`--net=${path}`, "--", "sleep", "300"] }).spawn();
    try {
      await until(async () => (await podwire.gc({ dryRun: true })).removed.length === 0);
      const { removed, kept } = await podwire.gc();
      assertEquals(removed, []);
      const namespaces = kept.filter(({ kind }) => kind === "namespace");
      assertEquals(brief(world, namespaces), [
        `namespace busy: processes are in it: ${child.pid}`,
        'namespace used: the attachment of "hand" to network "a" is in it',
      ]);
      assertEquals(await world.namespaces(), ["podwire-busy", "podwire-used"]);
      // Recovery follows the same rule.
      assertEquals((await podwire.recover()).removed, []);
    } finally {
      child.kill("SIGKILL");
      await child.status;
    }
    await podwire.del("a", { ...request, containerId: world.id("hand"), owner: "cli" });
    await podwire.gc();
    assertEquals(await world.namespaces(), []);
  },
);

sandboxTest("gc does not touch the namespace that a run is just making", async (world) => {
  await world.network("a", { ADD: { script: `until [ -e "$here/go" ]; do sleep 0.02; done` } });
  const podwire = world.podwire();
  // The moment at which the namespace exists and the record does not: no one must see it, so the test makes
  // it by hand.
  const id = world.id("c1");
  const netns = await lost(world, id);
  using lock = await world.locks.containers.lock(id);
  for (const dryRun of [true, false]) {
    const { removed, kept } = await podwire.gc({ dryRun });
    assertEquals({ removed, brief: brief(world, kept) }, {
      removed: [],
      brief: ["namespace c1: an operation on it is under way"],
    });
  }
  assertEquals(await world.namespaces(), ["podwire-c1"]);
  await lock.remove();
  lock[Symbol.dispose]();
  assertEquals((await podwire.gc()).removed.map((item) => item.netns), [netns]);
  // And a real one, whose set-up is slow.
  const pending = podwire.sandboxes.run({ name: "web", id });
  await until(async () => (await world.plugins.verbs()).includes("a ADD"));
  const report = await world.podwire().gc({ all: true, waitMs: 100 });
  assertEquals(report.removed, []);
  assertEquals(brief(world, report.kept), ["attachment c1: an operation on it is under way"]);
  await Deno.writeTextFile(`${world.plugins.dir}/a.d/go`, "");
  assertEquals((await pending).state, "ready");
});

sandboxTest("F49 a GC plugin that hangs delays a set-up by no more than its timeout", async (world) => {
  await world.network("a", { GC: { hang: true } });
  await world.network("b", { GC: { hang: true } });
  await world.network("c", { GC: { hang: true } });
  await world.network("d");
  const timeouts = { GC: 6_000 };
  const sweep = world.podwire({ timeouts }).gc();
  await until(async () => (await world.plugins.verbs()).some((verb) => verb.endsWith(" GC")));
  const started = performance.now();
  await world.podwire().sandboxes.run({ name: "web", networks: [{ name: "d" }] });
  const took = performance.now() - started;
  const hung = (await world.plugins.verbs()).filter((verb) => verb.endsWith(" GC"));
  // It ran after the plugin in progress, and before the last of those that hang.
  assert(hung.length <= 2, `${took} ms: ${hung.join(", ")}`);
  const { failed } = await sweep;
  assertEquals(
    failed.map(({ plugin, error }) => [plugin, error?.kind]),
    ["a", "b", "c"].map((name) => [name, "timeout"]),
  );
});

sandboxTest("an ADD that hangs does not keep gc from removing what others left", async (world) => {
  const a = await world.network("a");
  const podwire = world.podwire();
  const gone = ["g1", "g2", "g3", "g4", "g5"].map((name) => world.id(name));
  for (const id of gone) {
    await podwire.sandboxes.run({ name: id, id });
    await putRecord(recordFile(world.stateDir, id), "sandbox", undefined);
  }
  await a.answer("ADD", { hang: true });
  const cut = new AbortController();
  const id = world.id("slow");
  const pending = podwire.sandboxes.run({ name: "slow", id }, { signal: cut.signal }).catch((error) => error);
  await until(async () => (await world.store.ofContainer(id)).length > 0);
  const { removed, failed } = await world.podwire().gc({ waitMs: 200 });
  assertEquals(removed.filter(({ kind }) => kind === "attachment").length, gone.length);
  assertEquals(removed.filter(({ kind }) => kind === "namespace").length, gone.length);
  assertEquals(failed.map(({ kind, network, error }) => [kind, network, error?.kind]), [
    ["plugin", "a", "timeout"],
  ]);
  assertStringIncludes(failed[0]?.why ?? "", "its plugins were not asked to clean up");
  assertEquals(await world.namespaces(), ["podwire-slow"]);
  cut.abort();
  assertMatch(String(await pending), /cancelled/);
});

sandboxTest("gc may be repeated and run by several at once while sandboxes come and go", async (world) => {
  await world.network("a", { GC: { sleep: 0.05 } });
  const ids = Array.from({ length: 6 }, (_, index) => world.id(`s${index}`));
  const life = async (id: string) => {
    const { sandboxes } = world.podwire();
    await sandboxes.run({ name: id, id });
    await sandboxes.remove(id);
  };
  let over = false;
  const sweeps = [1, 2].map(async () => {
    const podwire = world.podwire();
    const reports: GcReport[] = [];
    while (!over || reports.length === 0) reports.push(await podwire.gc({ all: true }));
    return reports;
  });
  await Promise.all(ids.map(life)).finally(() => over = true);
  for (const report of (await Promise.all(sweeps)).flat()) {
    assertEquals({ removed: report.removed, failed: report.failed }, { removed: [], failed: [] });
  }
  assertEquals(await world.left(), []);
  const calls = await world.calls();
  for (const id of ids.map((id) => world.plain(id))) {
    assertEquals(calls.filter((call) => call.includes(` ${id} `)).map((call) => call.split(" ")[1]), [
      "ADD",
      "DEL",
    ]);
  }
});

sandboxTest(
  "F102 the record of a pod is removed with its attachments, once its engine no longer knows it",
  async (world) => {
    await world.network("a");
    const podwire = world.podwire();
    const [here, gone, bare, other] = ["here", "gone", "bare", "other"].map((name) => world.id(name));
    for (const id of [here!, gone!, bare!, other!]) {
      const { netns } = await podwire.sandboxes.run({ name: id, id });
      const record = await world.sandboxes.read(id);
      const owner = id === other ? "pods:other" : "pods:mine";
      await world.sandboxes.write({ ...record!, owner, netns: { ...record!.netns, owned: false } });
      for (const attachment of await world.store.ofContainer(id)) {
        await world.store.write({ ...attachment, owner });
      }
      assertEquals(netns, `${world.netnsDir}/podwire-${id}`);
    }
    // The record of a pod without networks.
    for (const attachment of await world.store.ofContainer(bare!)) await world.forget(attachment);
    const pods = { owner: "mine", containerIds: () => [here!] };
    const expected = [
      "attachment gone: its pod is gone",
      "sandbox bare: its pod is gone",
      "sandbox gone: its pod is gone",
    ];
    assertEquals(brief(world, (await podwire.gc({ pods, dryRun: true })).removed), expected);
    assertEquals((await world.sandboxes.ids()).length, 4);
    assertEquals(brief(world, (await podwire.gc({ pods })).removed), expected);
    assertEquals(await world.sandboxes.ids(), [here, other].toSorted() as string[]);
    assertEquals((await world.store.containers()).toSorted(), [here, other].toSorted());
    // The list of another engine does not cover them.
    const { removed } = await podwire.gc({ pods: { owner: "third", containerIds: [] } });
    assertEquals(removed.filter(({ kind }) => kind !== "namespace"), []);
  },
);

sandboxTest("gc removes what is left of an infra container that no sandbox owns", async (world) => {
  const podwire = world.podwire();
  const id = world.id("lost");
  await Deno.mkdir(`${world.stateDir}/infra/${id}/rootfs`, { recursive: true });
  await lost(world, id);
  const expected = ["container lost: no sandbox owns it", "namespace lost: no sandbox owns it"];
  assertEquals(brief(world, (await podwire.gc({ dryRun: true })).removed), expected);
  assertEquals((await Array.fromAsync(Deno.readDir(`${world.stateDir}/infra`))).length, 1);
  assertEquals(brief(world, (await podwire.gc()).removed), expected);
  assertEquals(await Array.fromAsync(Deno.readDir(`${world.stateDir}/infra`)), []);
  assertEquals(await world.namespaces(), []);
});
