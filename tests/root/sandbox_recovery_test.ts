// What a killed process or a restart of the machine left, on the real kernel.
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { CniError } from "../../lib/cni/error.ts";
import { statOf } from "../../lib/host/file.ts";
import { createNetns, netnsId } from "../../lib/host/netns.ts";
import type { RecoveryItem, RecoveryReport } from "../../lib/sandbox/recovery_report.ts";
import { FileCalls } from "../file_calls.ts";
import { type AbandonedProgram, abandonedProgram, findByEnvironment, killAll } from "../processes.ts";
import { need } from "./need.ts";
import { DEL_REFUSAL, sandboxTest, SandboxWorld, until } from "./sandbox_world.ts";
import { putRecord, recordFile, recordText } from "../stores.ts";

const NOTHING: RecoveryReport = { removed: [], kept: [], failed: [] };

/** `kind why` of each entry. */
const brief = (items: readonly RecoveryItem[]) => items.map(({ kind, why }) => `${kind} ${why}`).sort();

/** A plugin that a killed runtime left running for that container. */
function orphan({ runDir }: SandboxWorld, id: string, script = "exec sleep 600"): Promise<AbandonedProgram> {
  return abandonedProgram(runDir, { subject: id, task: "ADD" }, script, { CNI_CONTAINERID: id });
}

sandboxTest(
  "if nothing was interrupted, recovery finds nothing to do and leaves what runs alone",
  async (world) => {
    await world.network("a");
    const podwire = world.podwire();
    assertEquals(await podwire.recover(), NOTHING);
    const sandbox = await podwire.sandboxes.run({ name: "web" });
    await podwire.sandboxes.run({ name: "halted" });
    await podwire.sandboxes.stop("halted");
    const before = await world.plugins.verbs();
    const { removed, kept, failed } = await podwire.recover();
    assertEquals({ removed, failed }, { removed: [], failed: [] });
    assertEquals(brief(kept), [
      "attachment it is attached",
      "sandbox it is running",
      "sandbox it is stopped",
    ]);
    assertEquals(await podwire.sandboxes.get("web"), sandbox);
    assertEquals(await world.plugins.verbs(), before);
  },
);

sandboxTest(
  "recovery creates and removes no file for a container that is in order, and locks each other one",
  async (world) => {
    await world.network("a");
    const podwire = world.podwire();
    const effort = async () => {
      using calls = new FileCalls();
      const { removed, kept, failed } = await podwire.recover();
      assertEquals({ removed: removed.length, failed }, { removed: 0, failed: [] });
      const { open = 0, remove = 0, mkdir = 0, Command = 0 } = calls.take();
      return { kept: kept.length, open, remove, mkdir, Command };
    };
    await podwire.sandboxes.run({ name: "first" });
    await podwire.recover();
    const { kept: _, ...one } = await effort();
    for (const name of ["second", "third", "fourth"]) await podwire.sandboxes.run({ name });
    assertEquals(await effort(), { ...one, kept: 8 });
    // What a killed process left between the records goes, and makes recovery look closer at none.
    const left = `${world.stateDir}/records/.podwire-${2 ** 22 + 1}-${"0".repeat(32)}.tmp`;
    await Deno.writeTextFile(left, "");
    const more = await effort();
    // A newer Deno needs a program to see whether that process exists.
    assert(more.Command <= one.Command + 1, JSON.stringify(more));
    assertEquals({ ...more, remove: more.remove - 1, Command: one.Command }, { ...one, kept: 8 });
    assertEquals(await statOf(left), undefined);
    assertEquals(await effort(), { ...one, kept: 8 });
  },
);

sandboxTest("a run that was killed is undone completely, its orphans first", async (world) => {
  const a = await world.network("a");
  const id = world.id("c1");
  await world.podwire().sandboxes.run({ name: "web", id });
  await world.interrupt(id, "creating", "adding");
  await using polite = await orphan(world, id);
  const deaf = `${world.dir}/deaf`;
  await using stubborn = await orphan(world, id, `trap "" TERM; : >${deaf}; while :; do sleep 1; done`);
  await using unrelated = await orphan(world, `${id}x`);
  await until(async () => await statOf(deaf) !== undefined);
  await until(async () => (await findByEnvironment(`CNI_CONTAINERID=${id}`)).length >= 2);
  const { removed, kept, failed } = await world.podwire().recover();
  assertEquals(brief(removed), ["attachment its run was interrupted", "sandbox its run was interrupted"]);
  assertEquals({ kept, failed }, { kept: [], failed: [] });
  assertEquals(await findByEnvironment(`CNI_CONTAINERID=${id}`), []);
  assertEquals([(await polite.status).signal, (await stubborn.status).signal], ["SIGTERM", "SIGKILL"]);
  assertEquals(await findByEnvironment(`CNI_CONTAINERID=${id}x`), [unrelated.pid]);
  assertEquals((await a.calls()).map(({ verb }) => verb), ["ADD", "DEL"]);
  assertEquals(await world.left(), []);
  assertEquals(await world.podwire().recover(), NOTHING);
});

sandboxTest(
  "the next run removes half-written files when nothing was on record yet",
  async (world) => {
    await world.network("a");
    const podwire = world.podwire();
    await podwire.sandboxes.run({ name: "web" });
    const { stateDir, runDir } = world;
    await Deno.writeTextFile(`${runDir}/containers/${world.id("c1")}.lock`, "");
    // No process has so large an ID.
    const name = `.podwire-4194304-${"0".repeat(32)}.tmp`;
    await Deno.mkdir(`${stateDir}/names/empty`);
    const folders = ["", "records/", "names/default/", "names/empty/"];
    const files = folders.map((folder) => `${stateDir}/${folder}${name}`);
    for (const file of files) await Deno.writeTextFile(file, "{");
    await podwire.sandboxes.run({ name: "next" });
    for (const file of files) await assertRejects(() => Deno.lstat(file), Deno.errors.NotFound);
    for (const sandbox of ["web", "next"]) await podwire.sandboxes.remove(sandbox);
    assertEquals(await world.left(), []);
  },
);

sandboxTest("the next run settles what was killed, without a request", async (world) => {
  await world.network("a");
  await world.podwire().sandboxes.run({ name: "web", id: world.id("c1") });
  await world.interrupt(world.id("c1"), "creating", "adding");
  await world.podwire().sandboxes.run({ name: "web", id: world.id("c2") });
  assertEquals(await world.calls(), ["a ADD c1 eth0", "a DEL c1 eth0", "a ADD c2 eth0"]);
  assertEquals(await world.namespaces(), ["podwire-c2"]);
  assertStringIncludes(world.log.all.join("\n"), "info recovered: its run was interrupted");
  assertEquals(await world.locks.containers.list(), []);
});

sandboxTest("a run that was killed before it had made anything is forgotten", async (world) => {
  await world.network("a");
  await world.podwire().sandboxes.run({ name: "web", id: world.id("c1") });
  const record = await world.sandboxes.read(world.id("c1"));
  await world.podwire().sandboxes.remove("web");
  // The intent alone, without a name, a namespace or an attachment.
  await world.sandboxes.write({ ...record!, phase: "creating", netns: { ...record!.netns, id: undefined } });
  await world.leaveLock(world.id("c1"));
  assertEquals(brief((await world.podwire().recover()).removed), ["sandbox its run was interrupted"]);
  assertEquals(await world.left(), []);
});

sandboxTest("a stop that was killed is finished, and so is a removal", async (world) => {
  await world.network("a");
  const { sandboxes } = world.podwire();
  await sandboxes.run({ name: "web", id: world.id("c1") });
  await sandboxes.run({ name: "db", id: world.id("c2") });
  await world.interrupt(world.id("c1"), "stopping", "deleting");
  await world.interrupt(world.id("c2"), "removing");
  const { removed, failed } = await world.podwire().recover();
  assertEquals(brief(removed), [
    "attachment its removal was interrupted",
    "attachment its stop was interrupted",
    "sandbox its removal was interrupted",
    "sandbox its stop was interrupted",
  ]);
  assertEquals(failed, []);
  assertEquals((await sandboxes.list()).map(({ name, state }) => `${name} ${state}`), ["web stopped"]);
  assertEquals(await world.namespaces(), []);
  await sandboxes.run({ name: "db" });
});

sandboxTest("what another process works on is left alone", async (world) => {
  await world.network("a", { ADD: { script: `until [ -e "$here/go" ]; do sleep 0.02; done` } });
  const pending = world.podwire().sandboxes.run({ name: "web", id: world.id("c1") });
  await until(async () => (await world.plugins.verbs()).length === 1);
  const { removed, kept, failed } = await world.podwire().recover();
  assertEquals({ removed, failed, brief: brief(kept) }, {
    removed: [],
    failed: [],
    brief: ["sandbox an operation on it is under way"],
  });
  await Deno.writeTextFile(`${world.plugins.dir}/a.d/go`, "");
  assertEquals((await pending).state, "ready");
});

sandboxTest(
  "recovery retries what could not be detached; a run does not, so that it need not wait",
  async (world) => {
    const a = await world.network("a", {
      DEL: { stdout: '{"code": 108, "msg": "will not", "details": "since noon"}', code: 1 },
    });
    const podwire = world.podwire();
    await podwire.sandboxes.run({ name: "web", id: world.id("c1") });
    await podwire.sandboxes.remove("web", { force: true });
    await world.leaveLock(world.id("c1"));
    await podwire.sandboxes.run({ name: "web", id: world.id("c2") });
    assertEquals(await world.calls(), ["a ADD c1 eth0", "a DEL c1 eth0", "a ADD c2 eth0"]);
    const { failed } = await podwire.recover();
    assertEquals(failed.map(({ containerId, why }) => [world.plain(containerId), why]), [
      ["c1", "will not; since noon"],
    ]);
    assertEquals((await world.store.ofContainer(world.id("c1")))[0]?.attempts, 2);
    await a.answer("DEL", {});
    assertEquals(brief((await podwire.recover()).removed), ["attachment its DEL had failed"]);
    assertEquals((await podwire.sandboxes.list()).map(({ state }) => state), ["ready"]);
  },
);

sandboxTest(
  "an attachment whose sandbox is not on record is detached, one of the command line is not",
  async (world) => {
    await world.network("a");
    const podwire = world.podwire();
    await createNetns(`${world.netnsDir}/mine`);
    const request = { netns: `${world.netnsDir}/mine`, ifName: "eth0", args: [], capabilityArgs: {} };
    await podwire.add("a", { ...request, containerId: "cli-1", owner: "cli" });
    await podwire.add("a", { ...request, ifName: "eth1", containerId: "lost-1", owner: "sandbox:lost-1" });
    const { removed, kept } = await podwire.recover();
    assertEquals(removed.map(({ containerId, why }) => [containerId, why]), [[
      "lost-1",
      "its sandbox is gone",
    ]]);
    assertEquals(kept.map(({ containerId }) => containerId), ["cli-1"]);
    assertEquals(await world.namespaces(), ["mine"]);
  },
);

sandboxTest("an ADD of the command line that was killed is undone before the next", async (world) => {
  await world.network("a");
  await createNetns(`${world.netnsDir}/mine`);
  const request = {
    containerId: world.id("c1"),
    netns: `${world.netnsDir}/mine`,
    ifName: "eth0",
    args: [],
    capabilityArgs: {},
    owner: "cli",
  };
  await world.podwire().add("a", request);
  const [record] = await world.store.all();
  await world.store.write({ ...record!, state: "adding" });
  await world.leaveLock(world.id("c1"));
  await world.podwire().add("a", { ...request, containerId: world.id("c2") });
  assertEquals(await world.calls(), ["a ADD c1 eth0", "a DEL c1 eth0", "a ADD c2 eth0"]);
});

sandboxTest(
  "U16 after a restart everything of the last boot is torn down, without namespace, before the first ADD",
  async (world) => {
    const a = await world.network("a");
    const before = world.podwire();
    await before.sandboxes.run({ name: "web", id: world.id("c1") });
    await createNetns(`${world.netnsDir}/mine`);
    const request = { netns: `${world.netnsDir}/mine`, ifName: "eth0", args: [], capabilityArgs: {} };
    await before.add("a", { ...request, containerId: "cli-1", owner: "cli" });
    await world.sh('umount "$1" && rm "$1"', `${world.netnsDir}/podwire-${world.id("c1")}`);

    const after = world.afterRestart();
    assertEquals((await after.sandboxes.get("web")).reason, "it belongs to another boot");
    await after.sandboxes.run({ name: "new", id: world.id("c2") });
    const calls = await a.calls();
    assertEquals(calls.map(({ verb, env }) => world.plain(`${verb} ${env.CNI_CONTAINERID}`)).sort(), [
      "ADD c1",
      "ADD c2",
      "ADD cli-1",
      "DEL c1",
      "DEL cli-1",
    ]);
    assertEquals(calls.filter(({ verb }) => verb === "DEL").map(({ env }) => env.CNI_NETNS), ["", ""]);
    assertEquals(calls.at(-1)?.env.CNI_CONTAINERID, world.id("c2"));
    const states = (await after.sandboxes.list()).map(({ name, state }) => `${name} ${state}`);
    assertEquals(states, ["web stopped", "new ready"]);
    // Once.
    await after.sandboxes.run({ name: "more" });
    assertEquals((await a.calls()).length, calls.length + 1);
  },
);

sandboxTest(
  "after a restart a network that cannot be detached does not keep others from being attached",
  async (world) => {
    await world.network("a", { DEL: DEL_REFUSAL });
    await world.podwire().sandboxes.run({ name: "web", id: world.id("c1") });
    const after = world.afterRestart();
    assertEquals((await after.sandboxes.run({ name: "new" })).state, "ready");
    assertEquals((await world.store.ofContainer(world.id("c1"))).map(({ state }) => state), ["failed"]);
    assertStringIncludes(world.log.all.join("\n"), "warn not recovered");
  },
);

sandboxTest(
  "namespaces that no sandbox owns are removed by recovery, not by a run, and no others are",
  async (world) => {
    await world.network("a");
    for (const name of ["podwire-lost", "mine"]) await createNetns(`${world.netnsDir}/${name}`);
    await Deno.writeTextFile(`${world.netnsDir}/podwire-empty`, "");
    const podwire = world.podwire();
    const { netns } = await podwire.sandboxes.run({ name: "web", id: world.id("c1") });
    assert((await world.namespaces()).includes("podwire-lost"));
    const { removed } = await podwire.recover();
    assertEquals(removed.map(({ kind, netns, why }) => [kind, netns, why]), [
      ["namespace", `${world.netnsDir}/podwire-empty`, "no sandbox owns it"],
      ["namespace", `${world.netnsDir}/podwire-lost`, "no sandbox owns it"],
    ]);
    assertEquals(await world.namespaces(), ["mine", "podwire-c1"]);
    assertEquals(await netnsId(netns) === undefined, false);
  },
);

sandboxTest(
  "a sandbox whose record can no longer be read counts as up while its namespace exists, and can be repaired",
  async (world) => {
    await world.network("a");
    const podwire = world.podwire();
    await podwire.sandboxes.run({ name: "web", id: world.id("c1") });
    const path = recordFile(world.stateDir, world.id("c1"));
    await putRecord(path, "sandbox", (await recordText(path, "sandbox") ?? "").slice(0, -10));
    assertEquals((await podwire.sandboxes.list()).map(({ state }) => state), ["broken"]);
    const report = await podwire.recover();
    assertEquals({ removed: report.removed, failed: report.failed }, { removed: [], failed: [] });
    assertEquals(await world.namespaces(), ["podwire-c1"]);
    assertEquals((await podwire.sandboxes.repair()).repaired.map(({ kind }) => kind), ["sandbox"]);
    assertEquals((await podwire.sandboxes.list()).map(({ name, state }) => [name, state]), [[
      "web",
      "ready",
    ]]);
    await putRecord(path, "sandbox", "");
    await world.sh('umount "$1" && rm "$1"', `${world.netnsDir}/podwire-${world.id("c1")}`);
    assertEquals(brief((await podwire.recover()).removed), ["attachment its sandbox is gone"]);
    assertEquals(await podwire.sandboxes.list(), []);
    assertEquals((await world.left()).filter((name) => !name.includes(".bad-")), []);
    await podwire.sandboxes.run({ name: "web" });
  },
);

sandboxTest("cancelling ends recovery, and the rest waits", async (world) => {
  await world.network("a");
  const podwire = world.podwire();
  await podwire.sandboxes.run({ name: "web", id: world.id("c1") });
  await world.interrupt(world.id("c1"), "removing");
  const error = await assertRejects(() => podwire.recover({ signal: AbortSignal.abort() }), CniError);
  assertEquals(error.kind, "cancelled");
  assertEquals(await world.plugins.verbs(), ["a ADD"]);
  await podwire.recover();
  assertEquals(await world.left(), []);
});

/** A process that makes a sandbox, with its process ID. */
async function spawnRun(world: SandboxWorld, request: Record<string, unknown>) {
  const denow = fromFileUrl(new URL("../../denow", import.meta.url));
  const script = fromFileUrl(new URL("sandbox_process.ts", import.meta.url));
  const args = ["run", "-q", "-A", script, JSON.stringify(world.options), JSON.stringify(request)];
  const child = new Deno.Command(denow, { args, stdin: "null", stdout: "piped", stderr: "inherit" }).spawn();
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const line = async (number: number) => {
    while (text.split("\n").length <= number) {
      const { value, done } = await lines.read();
      if (done) break;
      text += value;
    }
    return text.split("\n")[number - 1] ?? "";
  };
  return { child, pid: Number(await line(1)), ending: () => line(2), close: () => lines.cancel() };
}

sandboxTest(
  "KILL in the middle of an ADD: the plugin is ended, everything is undone, and the name is free",
  async (world) => {
    const id = `c-${crypto.randomUUID()}`;
    const a = await world.network("a");
    await world.network("b", { ADD: { script: "trap '' TERM HUP", stdout: "", hang: true } });
    const networks = [{ name: "a" }, { name: "b" }];
    const { child, pid, close } = await spawnRun(world, { name: "web", id, networks });
    try {
      await until(async () => (await world.plugins.verbs()).length === 2);
      Deno.kill(pid, "SIGKILL");
      await child.status;
      assert((await findByEnvironment(`CNI_CONTAINERID=${id}`)).length > 0);
      assertEquals((await world.store.all()).map(({ network, state }) => `${network} ${state}`), [
        "a attached",
        "b adding",
      ]);
      const sandbox = await world.podwire().sandboxes.run({ name: "web", networks: [{ name: "a" }] });
      assertEquals(await findByEnvironment(`CNI_CONTAINERID=${id}`), []);
      assertEquals(await world.plugins.verbs(), ["a ADD", "b ADD", "b DEL", "a DEL", "a ADD"]);
      assertEquals((await a.calls())[1]?.config.prevResult?.ips?.[0]?.address, "10.1.0.2/24");
      assertEquals(await world.namespaces(), [`podwire-${sandbox.id}`]);
    } finally {
      await close();
      await killAll(await findByEnvironment(`CNI_CONTAINERID=${id}`));
    }
  },
);

Deno.test({
  name: "of two processes that want one name, exactly one gets it, and the other leaves nothing",
  ...need("root", "ip"),
  fn: async () => {
    await using world = await SandboxWorld.make();
    await world.network("a");
    const runs = await Promise.all(
      ["c1", "c2"].map((id) => spawnRun(world, { name: "web", id: world.id(id) })),
    );
    const endings = await Promise.all(runs.map(({ ending }) => ending()));
    for (const { child, close } of runs) {
      await child.status;
      await close();
    }
    const [winner] = endings.filter((ending) => ending.startsWith("ready "));
    assertEquals(endings.filter((ending) => ending !== winner), ["conflict"]);
    const id = winner?.slice("ready ".length);
    assertEquals(await world.namespaces(), [world.plain(`podwire-${id}`)]);
    assertEquals((await world.podwire().sandboxes.list()).map((sandbox) => sandbox.id), [id]);
    assertEquals(await world.locks.containers.list(), []);
  },
});
