// Faults around the daemon have a clear answer and leave nothing, and existing sandboxes go on.
import { assertEquals, assertMatch } from "@std/assert";
import { dirname } from "@std/path";
import { binaryTest, type BinaryWorld, sh, SYSTEM_PATH, until } from "./binary_world.ts";
import { type Answered, DaemonProcess, leftIn, writeAll } from "./daemon_world.ts";
import { CATATONIT, RUNC } from "./need.ts";
import { empty, fill, withDisk } from "./small_disk.ts";

const BUILTIN = "--builtin=prefer";
const PATH = `${dirname(RUNC)}:${dirname(CATATONIT)}:${SYSTEM_PATH}`;
const IDLE = 1_000;

async function start(
  world: BinaryWorld,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = { PATH },
): Promise<DaemonProcess> {
  await world.list([world.bridgePlugin({ ipMasq: false })]);
  return await DaemonProcess.start(world, [BUILTIN, ...args], env);
}

const run = (daemon: DaemonProcess, id: string, more: Readonly<Record<string, unknown>> = {}) =>
  daemon.call("POST", "/v1/sandboxes", { name: id, id, ...more });

function assertRefused(answer: Answered, status: number, kind: string, msg: RegExp): void {
  assertEquals({ status: answer.status, kind: answer.json?.error?.kind }, { status, kind }, answer.text);
  assertMatch(answer.json.error.msg, msg);
}

/** Removes what exists, ends the daemon, and checks that nothing is left. */
async function assertEnds(
  world: BinaryWorld,
  daemon: DaemonProcess,
  ...ids: readonly string[]
): Promise<void> {
  for (const id of ids) {
    const gone = await daemon.call("DELETE", `/v1/sandboxes/${id}`);
    assertEquals(gone.status, 204, gone.text);
  }
  await daemon.end();
  assertEquals(await leftIn(world), []);
}

const descriptors = async ({ child: { pid } }: DaemonProcess) =>
  Number(await sh(`ls /proc/${pid}/fd | wc -l`));

binaryTest("a thousand idle connections block no one, and are closed", [], async (world) => {
  await using daemon = await start(world);
  assertEquals((await daemon.call("GET", "/healthz")).status, 200);
  const idle = await Promise.all(Array.from({ length: IDLE }, () => daemon.connect()));
  try {
    // Half of them have begun a request.
    for (const connection of idle.slice(IDLE / 2)) await writeAll(connection, "GET /v1/sand");
    const id = world.id("a");
    const made = await run(daemon, id);
    assertEquals({ status: made.status, state: made.json.state }, { status: 201, state: "ready" }, made.text);
    await until("it has taken them all", async () => await descriptors(daemon) >= IDLE);
    assertEquals((await daemon.call("DELETE", `/v1/sandboxes/${id}`)).status, 204);
  } finally {
    for (const connection of idle) connection.close();
  }
  await until("they are let go", async () => await descriptors(daemon) < IDLE / 10);
  await assertEnds(world, daemon);
});

binaryTest(
  "a full disk is reported, leaves nothing of the run, and is over when there is space",
  [],
  async (world) => {
    await withDisk(world.stateDir, async () => {
      await using daemon = await start(world);
      const [kept, other] = [world.id("kept"), world.id("other")];
      assertEquals((await run(daemon, kept)).status, 201);
      await fill(world.stateDir);
      assertRefused(await run(daemon, other), 500, "io", /No space left on device/);
      assertEquals((await daemon.call("GET", `/v1/sandboxes/${other}`)).status, 404);
      const shown = await daemon.call("GET", "/v1/sandboxes");
      assertEquals(shown.json.map(({ id, state }: Record<string, string>) => [id, state]), [[kept, "ready"]]);
      assertEquals((await daemon.call("GET", "/healthz")).status, 200);
      await empty(world.stateDir);
      assertEquals((await run(daemon, other)).status, 201);
      await assertEnds(world, daemon, kept, other);
    });
  },
);

binaryTest("a missing OCI runtime is named", ["runc", "catatonit"], async (world) => {
  await using daemon = await start(world, [], { PATH: `${dirname(CATATONIT)}:${SYSTEM_PATH}` });
  const id = world.id("a");
  assertRefused(
    await run(daemon, id, { infra: true, runtime: "/no/such/runtime" }),
    503,
    "not-ready",
    /the OCI runtime "\/no\/such\/runtime" is not installed/,
  );
  assertRefused(await run(daemon, id, { infra: true }), 503, "not-ready", /"runc" is not installed/);
  assertEquals((await daemon.call("GET", "/v1/sandboxes")).json, []);
  await assertEnds(world, daemon);
});

binaryTest(
  "the daemon waits a bounded time for an OCI runtime that hangs, and other requests go on",
  ["runc", "catatonit"],
  async (world) => {
    const runtime = await world.plugin(
      "oci",
      `#!/bin/sh\nfor arg; do [ "$arg" != create ] || exec sleep 600; done\nexec ${RUNC} "$@"\n`,
    );
    await using daemon = await start(world, ["--timeout=ADD=10s"]);
    const [hanging, other] = [world.id("hanging"), world.id("other")];
    const late = run(daemon, hanging, { infra: true, runtime });
    assertEquals((await run(daemon, other)).status, 201);
    assertRefused(await late, 504, "timeout", /Cannot create an infra container .* within 10s/);
    assertEquals((await daemon.call("GET", `/v1/sandboxes/${hanging}`)).status, 404);
    await assertEnds(world, daemon, other);
  },
);

binaryTest(
  "a sandbox whose catatonit was killed is broken, the daemon reports it, and it can be removed",
  ["runc", "catatonit"],
  async (world) => {
    await using daemon = await start(world);
    const id = world.id("a");
    const made = await run(daemon, id, { infra: true });
    assertEquals(made.status, 201, made.text);
    Deno.kill(made.json.pid, "SIGKILL");
    const state = async () => (await daemon.call("GET", `/v1/sandboxes/${id}`)).json;
    await until("it is broken", async () => (await state()).state === "broken");
    assertMatch((await state()).reason, /^its infra container has ended/);
    assertEquals((await daemon.call("GET", "/v1/sandboxes?state=ready")).json, []);
    const recovered = await daemon.call("POST", "/v1/recover");
    assertEquals({ status: recovered.status, failed: recovered.json.failed }, { status: 200, failed: [] });
    assertEquals((await state()).state, "stopped");
    await assertEnds(world, daemon, id);
  },
);

binaryTest(
  "a namespace that was unmounted by others makes a sandbox broken, which can be stopped and removed",
  [],
  async (world) => {
    await using daemon = await start(world);
    const [stopped, removed, kept] = [world.id("stopped"), world.id("removed"), world.id("kept")];
    for (const id of [stopped, removed, kept]) {
      const made = await run(daemon, id);
      assertEquals(made.status, 201, made.text);
      if (id !== kept) await sh(`umount ${made.json.netns}`);
    }
    for (const id of [stopped, removed]) {
      const { json } = await daemon.call("GET", `/v1/sandboxes/${id}`);
      assertEquals(json.state, "broken");
      assertMatch(json.reason, /namespace/);
    }
    const ready = (await daemon.call("GET", "/v1/sandboxes?state=ready")).json;
    assertEquals(ready.map(({ id }: { id: string }) => id), [kept]);
    const stop = await daemon.call("POST", `/v1/sandboxes/${stopped}/stop`);
    assertEquals(
      { status: stop.status, state: stop.json.state },
      { status: 200, state: "stopped" },
      stop.text,
    );
    await assertEnds(world, daemon, stopped, removed, kept);
  },
);
