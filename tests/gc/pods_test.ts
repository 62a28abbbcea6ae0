// GC of an engine's pods by the engine's own list.
import { assertEquals, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { listOf, NetworkWorld } from "../attachment/world.ts";
import { attach, collector, reportToJson, valid } from "./world.ts";

Deno.test("F102 F103 F104 attachments of pods that are gone are removed from every network; those of other owners never are", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  const [web, db] = [listOf(["a"]), listOf(["a"], { name: "db" })];
  for (const id of ["here", "gone"]) {
    for (const list of [web, db]) await attach(world, list, `${id}-${list.name}`, "pods:crio");
  }
  await attach(world, web, "theirs", "pods:other");
  await attach(world, web, "hand", "cli");
  await attach(world, web, "box");
  const pods = { owner: "crio", containerIds: ["here-web", "here-db", "never-seen"] };
  const report = await collector(world, ["box"]).collect([web, db], { pods });
  assertEquals(reportToJson(report), {
    removed: ["attachment: gone-web: its pod is gone", "attachment: gone-db: its pod is gone"],
    kept: [
      'attachment: theirs: it is of a pod of "other", which only that can judge',
      "attachment: here-web: its pod is there",
      "attachment: here-db: its pod is there",
      'attachment: hand: it was made by hand (owner "cli"), which only its maker can judge',
      "attachment: box: its sandbox is there",
    ],
    failed: [],
  });
  const sent = (await a.calls()).filter(({ verb }) => verb === "GC").map(({ config }) =>
    [config.name, valid(config)] as const
  );
  assertEquals(sent.sort(), [
    ["db", ["here-db:eth0"]],
    ["web", ["box:eth0", "hand:eth0", "here-web:eth0", "theirs:eth0"]],
  ]);
});

Deno.test("F106 F107 F108 only the container decides, not the networks that exist now or the default one", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("old");
  await world.plugins.install("new");
  const old = listOf(["old"], { name: "old" });
  for (const id of ["here", "gone"]) await attach(world, old, id, "pods:crio");
  // The file of the network is gone, and another one has become the default.
  const pods = { owner: "crio", containerIds: ["here"] };
  const report = await collector(world).collect([listOf(["new"], { name: "new" })], { pods });
  assertEquals(reportToJson(report), {
    removed: ["attachment: gone: its pod is gone"],
    kept: ["attachment: here: its pod is there"],
    failed: [],
  });
  assertEquals((await world.plugins.log()).slice(2).sort(), ["new GC  ", "old DEL gone eth0", "old GC  "]);
});

Deno.test("F105 a plugin that fails stops neither the other networks nor the removals", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("bad", { GC: { code: 1 } });
  await world.plugins.install("good");
  const lists = [listOf(["bad"], { name: "bad" }), listOf(["good"], { name: "good" })];
  for (const list of lists) await attach(world, list, `gone-${list.name}`, "pods:crio");
  const report = await collector(world).collect(lists, { pods: { owner: "crio", containerIds: [] } });
  assertEquals(report.removed.length, 2);
  assertEquals(report.failed.map(({ kind, plugin }) => [kind, plugin]), [["plugin", "bad"]]);
  assertEquals((await world.plugins.verbs()).includes("good GC"), true);
});

Deno.test("F109 a list with an invalid ID is refused as a whole, before anything is removed", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await attach(world, listOf(["a"]), "gone", "pods:crio");
  const selections = [
    { owner: "crio", containerIds: ["ok", ""] },
    { owner: "crio", containerIds: () => ["../x"] },
    { owner: "crio", containerIds: () => Promise.resolve(["a b"]) },
    { owner: "", containerIds: [] },
  ];
  for (const pods of selections) {
    const error = await assertRejects(() => collector(world).collect([listOf(["a"])], { pods }), CniError);
    assertEquals((error as CniError).kind, "usage");
  }
  assertEquals(await world.plugins.verbs(), ["a ADD"]);
});

Deno.test("D66 F108 a pod that is set up while the sweep begins is kept: the engine is asked after the records are read", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const list = listOf(["a"]);
  await attach(world, list, "gone", "pods:crio");
  const containerIds = async () => {
    await attach(world, list, "late", "pods:crio");
    return [];
  };
  const report = await collector(world).collect([list], { pods: { owner: "crio", containerIds } });
  assertEquals(reportToJson(report), {
    removed: ["attachment: gone: its pod is gone"],
    kept: [],
    failed: [],
  });
  assertEquals((await world.store.all()).map(({ containerId }) => containerId), ["late"]);
});

Deno.test("a failed removal of a pod's attachment is retried although the pod exists", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await attach(world, listOf(["a"]), "here", "pods:crio");
  const [record] = await world.store.all();
  await world.store.write({ ...record!, state: "failed" });
  const pods = { owner: "crio", containerIds: ["here"] };
  const report = await collector(world).collect([listOf(["a"])], { pods });
  assertEquals(reportToJson(report).removed, ["attachment: here: its DEL had failed"]);
});
