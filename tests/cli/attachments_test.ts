// `attachments`, in process: what is attached, what could not be detached, and why.
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { listOf, NetworkWorld, resultWith } from "../attachment/world.ts";
import { podwire } from "./fake_io.ts";
import { recordFile } from "../stores.ts";

/** Containers `c1` and `c2` on `web`, and `c1` on `db`, from which it could not be detached. */
async function listedWorld(): Promise<NetworkWorld> {
  const world = await NetworkWorld.make();
  const ADD = { stdout: resultWith("10.1.0.2/24") };
  await world.plugins.install("a", { ADD });
  await world.plugins.install("b", {
    ADD,
    DEL: { stdout: '{"code": 100, "msg": "the store\\nis away", "details": "since noon"}', code: 1 },
  });
  const db = [listOf(["b"], { name: "db" }), world.request({ ifName: "eth1" })] as const;
  const attachments = world.attachments();
  for (const containerId of ["c1", "c2"]) {
    await attachments.add(listOf(["a"]), world.request({ containerId }));
  }
  await attachments.add(...db);
  await assertRejects(() => attachments.del(...db), CniError);
  return world;
}

const shown = (world: NetworkWorld, ...args: string[]) =>
  podwire(["attachments", ...args, "--state-dir", world.stateDir], { uid: 1000 });
const rows = async (world: NetworkWorld, ...args: string[]) => {
  const { code, stdout, stderr } = await shown(world, ...args);
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  return stdout.trimEnd().split("\n").slice(1).map((line) => line.split(/ {2,}/));
};

Deno.test("F79 attachments shows state, age, attempts, next retry and reason of each attachment on one line", async () => {
  await using world = await listedWorld();
  const { stdout } = await shown(world);
  assertMatch(stdout, /^CONTAINER +NETWORK +INTERFACE +STATE +AGE +ATTEMPTS +NEXT TRY +REASON\n/);
  const lines = await rows(world);
  const [first, failed, last] = lines;
  assertEquals([first?.slice(0, 4), first?.slice(5)], [["c1", "web", "eth0", "attached"], ["0", "-", "-"]]);
  assertEquals([failed?.slice(0, 4), failed?.[5]], [["c1", "db", "eth1", "failed"], "1"]);
  assertMatch(failed?.[4] ?? "", /^\d+s$/);
  assertMatch(failed?.[6] ?? "", /^(in \d+s|due)$/);
  assertMatch(failed?.[7] ?? "", /^b: the store.*is away; since noon$/);
  assertEquals([lines.length, last?.slice(0, 4)], [3, ["c2", "web", "eth0", "attached"]]);
});

Deno.test("attachments can be limited to a container or a network, and shows none for an unknown one", async () => {
  await using world = await listedWorld();
  const keys = async (...args: string[]) =>
    (await rows(world, ...args)).map((row) => row.slice(0, 3).join(" "));
  assertEquals(await keys("c1"), ["c1 web eth0", "c1 db eth1"]);
  assertEquals(await keys("--network", "web"), ["c1 web eth0", "c2 web eth0"]);
  assertEquals(await keys("c1", "--network=db"), ["c1 db eth1"]);
  assertEquals([await keys("c9"), await keys("c2", "--failed")], [[], []]);
  const { code, stderr } = await shown(world, "../state");
  assertEquals(code, 2);
  assertMatch(stderr, /container ?id/i);
});

Deno.test("attachments --failed shows what could not be detached, and reads no other record", async () => {
  await using world = await listedWorld();
  // It would be shown if it were read.
  const file = recordFile(world.stateDir, "c2");
  await Deno.writeTextFile(file, "bad");
  await world.failed.add("gone");
  const records = JSON.parse((await shown(world, "--failed", "--json")).stdout);
  assertEquals(records.map((record: Record<string, unknown>) => Object.keys(record)), [[
    "containerId",
    "network",
    "ifName",
    "netns",
    "state",
    "owner",
    "since",
    "attempts",
    "nextTry",
    "error",
  ]]);
  const [{ containerId, network, state, attempts, nextTry, error }] = records;
  assertEquals({ containerId, network, state, attempts }, {
    containerId: "c1",
    network: "db",
    state: "failed",
    attempts: 1,
  });
  assert(Date.parse(nextTry) > 0);
  assertEquals({ kind: error.kind, code: error.code, msg: error.msg, plugin: error.plugin }, {
    kind: "plugin",
    code: 100,
    msg: "the store\nis away",
    plugin: "b",
  });
  assertEquals(await Deno.readTextFile(file), "bad");
});
