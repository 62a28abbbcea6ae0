// The daemon's pool of warm sandboxes with the compiled program, real namespaces and the built-in plugins.
import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { parseExposition, valueOf } from "../daemon/prometheus_text.ts";
import { binaryTest, type BinaryWorld, isThere, until } from "./binary_world.ts";
import { DaemonProcess, leftIn } from "./daemon_world.ts";

const OPTIONS = ["--builtin=prefer"];

async function network(world: BinaryWorld, more = {}): Promise<void> {
  await world.list([world.bridgePlugin({ ipMasq: false, ...more })]);
}

const withPool = async (world: BinaryWorld, size: number, ...more: string[]) =>
  await DaemonProcess.start(world, [...OPTIONS, `--pool=${world.network}=${size}`, ...more]);

interface Shown {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly ips: readonly string[];
  readonly state: string;
}

const POOL = "podwire-pool";
const warmSandboxes = async (world: BinaryWorld): Promise<Shown[]> =>
  await world.json(["ps", "--namespace", POOL]);

/** Waits until the daemon has that many warm sandboxes, none of which is one of those. */
async function filled(
  world: BinaryWorld,
  daemon: DaemonProcess,
  size: number,
  but: readonly Shown[] = [],
): Promise<Shown[]> {
  let now: Shown[] = [];
  await until(`the pool has ${size}`, async () => {
    now = (await warmSandboxes(world)).filter(({ state }) => state === "ready");
    if (now.length !== size || now.some(({ id }) => but.some((old) => old.id === id))) return false;
    // It is on record a moment before the pool knows it.
    return (await counts(daemon, world))[1] === size;
  }, 60_000);
  return now;
}

async function counts(daemon: DaemonProcess, world: BinaryWorld) {
  const families = parseExposition((await daemon.call("GET", "/metrics")).text);
  const value = (name: string, labels = {}) =>
    valueOf(families, `podwire_pool_${name}`, { network: world.network, ...labels });
  return [value("handed_out_total"), value("sandboxes")];
}

binaryTest(
  "a request gets a warm sandbox of the pool, and another one is made",
  ["ip"],
  async (world) => {
    await network(world);
    await using daemon = await withPool(world, 2);
    const before = await filled(world, daemon, 2);
    const { status, json: web } = await daemon.call("POST", "/v1/sandboxes", {
      name: "web",
      labels: { app: "web" },
    });
    assertEquals({ status, name: web.name, namespace: web.namespace, state: web.state, labels: web.labels }, {
      status: 201,
      name: "web",
      namespace: "default",
      state: "ready",
      labels: {
        app: "web",
      },
    });
    assertEquals(before.find(({ id }) => id === web.id)?.ips, web.ips);
    assertEquals(await world.json(["inspect", "web"]), web);
    assertStringIncludes(await world.done(["exec", "web", "--", "ip", "addr"]), web.ips[0]);
    const after = await filled(world, daemon, 2);
    assert(!after.some(({ id }) => id === web.id));
    const taken = await daemon.call("POST", "/v1/sandboxes", { name: "web" });
    assertEquals({ status: taken.status, kind: taken.json.error.kind }, { status: 409, kind: "conflict" });
    assertEquals(await filled(world, daemon, 2), after);
    assertEquals(await counts(daemon, world), [1, 2]);

    // A request whose details the plugins would need is served in the ordinary way.
    const id = world.id("own");
    const own = await daemon.call("POST", "/v1/sandboxes", { name: "own", id });
    assertEquals({ status: own.status, id: own.json.id }, { status: 201, id });
    assertEquals(await counts(daemon, world), [1, 2]);

    // `recover`, `gc` and others leave the pool's sandboxes alone.
    await world.done(["recover"]);
    await world.done(["gc"]);
    assertEquals(await filled(world, daemon, 2), after);
    for (const name of ["web", "own"]) {
      assertEquals((await daemon.call("DELETE", `/v1/sandboxes/${name}`)).status, 204);
    }
    await daemon.end();
    assertEquals(await leftIn(world), []);
  },
);

binaryTest(
  "a sandbox that was removed, or whose network's configuration has changed, is given to no request",
  ["ip"],
  async (world) => {
    await network(world);
    await using daemon = await withPool(world, 1);
    const [first] = await filled(world, daemon, 1);
    await world.done(["stop", first!.id]);
    const one = await daemon.call("POST", "/v1/sandboxes", { name: "one" });
    assertEquals(one.status, 201);
    assertNotEquals(one.json.id, first!.id);
    const now = await filled(world, daemon, 1, [first!]);
    await network(world, { mtu: 1400 });
    await filled(world, daemon, 1, now);
    const two = await daemon.call("POST", "/v1/sandboxes", { name: "two" });
    assertStringIncludes(await world.done(["exec", "two", "--", "ip", "link", "show", "eth0"]), "mtu 1400");
    assertEquals(two.status, 201);
    for (const name of ["one", "two"]) await world.done(["rm", name]);
    await daemon.end();
    assertEquals(await leftIn(world), []);
  },
);

binaryTest("a warm sandbox that is too old is replaced", ["ip"], async (world) => {
  await network(world);
  await using daemon = await withPool(world, 1, "--pool-max-age=2s");
  const first = await filled(world, daemon, 1);
  await filled(world, daemon, 1, first);
  await daemon.end();
  assertEquals(await leftIn(world), []);
});

binaryTest(
  "many requests at once get a sandbox each, whether the pool lasts or not",
  ["ip"],
  async (world) => {
    await network(world);
    await using daemon = await withPool(world, 4);
    await filled(world, daemon, 4);
    const names = Array.from({ length: 10 }, (_, index) => `web${index}`);
    const answers = await Promise.all(names.map((name) => daemon.call("POST", "/v1/sandboxes", { name })));
    assertEquals(answers.map(({ status, json }) => [status, json.name]), names.map((name) => [201, name]));
    assertEquals(new Set(answers.map(({ json }) => json.id)).size, 10);
    assertEquals(new Set(answers.map(({ json }) => json.ips[0])).size, 10);
    await filled(world, daemon, 4);
    const [handedOut] = await counts(daemon, world);
    assert(handedOut! >= 4, String(handedOut));
    for (const name of names) await daemon.call("DELETE", `/v1/sandboxes/${name}`);
    await daemon.end();
    assertEquals(await leftIn(world), []);
  },
);

binaryTest(
  "a daemon that is killed while it gives out sandboxes loses none, and gives none to two clients",
  ["ip"],
  async (world) => {
    await network(world);
    const asked: string[] = [];
    const created = new Map<string, string>();
    for (let round = 0; round < 5; round++) {
      await using daemon = await withPool(world, 4);
      await filled(world, daemon, 4);
      const names = Array.from({ length: 6 }, (_, index) => `web-${round}-${index}`);
      asked.push(...names);
      const answers = names.map(async (name) => {
        const { status, json } = await daemon.call("POST", "/v1/sandboxes", { name });
        if (status === 201) created.set(name, json.id);
      });
      const answered = Promise.allSettled(answers);
      await new Promise((resolve) => setTimeout(resolve, 5 + round * 12));
      daemon.child.kill("SIGKILL");
      await answered;
    }
    await world.done(["recover", "--builtin=prefer"]);
    assertEquals(await warmSandboxes(world), []);
    const left: Shown[] = await world.json(["ps"]);
    for (const [name, id] of created) assertEquals(left.find((sandbox) => sandbox.name === name)?.id, id);
    for (const { name, state, ips } of left) {
      assertEquals({ includes: asked.includes(name), state, ipsCount: ips.length }, {
        includes: true,
        state: "ready",
        ipsCount: 2,
      }, name);
      assertStringIncludes(await world.done(["exec", name, "--", "ip", "addr"]), ips[0] ?? "none");
    }
    assertEquals(new Set(left.flatMap(({ ips }) => ips)).size, 2 * left.length);
    for (const { name } of left) await world.done(["rm", name, "--builtin=prefer"]);
    await using daemon = await withPool(world, 1);
    await filled(world, daemon, 1);
    await daemon.end();
    assertEquals(await leftIn(world), []);
  },
);

binaryTest(
  "run --socket gets a sandbox of the pool, prints it as run does, and is refused as run is",
  ["ip"],
  async (world) => {
    await network(world);
    await using daemon = await withPool(world, 1);
    const before = await filled(world, daemon, 1);
    const through = { dirs: [] };
    const args = ["--socket", daemon.socket];
    const web = await world.json(["run", "web", "--label", "app=web", ...args], through);
    assertEquals({ id: web.id, name: web.name, labels: web.labels }, {
      id: before[0]?.id,
      name: "web",
      labels: { app: "web" },
    });
    assertEquals(await world.json(["inspect", "web"]), web);
    await filled(world, daemon, 1, before);
    assertEquals(await counts(daemon, world), [1, 1]);
    const printed = await world.done(["run", "db", ...args], through);
    assertEquals(printed, await world.done(["inspect", "db"]));

    const conflict = await world.refused(1, ["run", "web", ...args], through);
    const ordinary = await world.refused(1, ["run", "web"]);
    assertEquals(conflict, ordinary);
    const missing = ["run", "x", "--network", "missing"];
    assertEquals(await world.refused(3, [...missing, ...args], through), await world.refused(3, missing));
    assertEquals((await world.refused(2, ["run", "x", ...args])).kind, "usage");

    for (const name of ["web", "db"]) await world.done(["rm", name]);
    await daemon.end();
    const unserved = await world.refused(6, ["run", "web", ...args], through);
    assertEquals({ kind: unserved.kind, msg: unserved.msg }, {
      kind: "not-ready",
      msg: `no daemon serves at ${daemon.socket}`,
    });
    assertEquals(await leftIn(world), []);
  },
);

binaryTest(
  "run --socket that is interrupted leaves no sandbox: the daemon undoes it",
  ["ip"],
  async (world) => {
    await world.list([{ type: "slow" }]);
    await world.plugin("slow", SLOW(world.dir));
    await using daemon = await DaemonProcess.start(world, OPTIONS);
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      await Deno.remove(`${world.dir}/adding`).catch(() => {});
      const child = world.start(["run", "web", "--json", "--socket", daemon.socket], { dirs: [] });
      await until("its plugin runs", () => isThere(`${world.dir}/adding`), 60_000);
      child.kill(signal);
      const { code, stdout, stderr } = await child.output();
      const error = JSON.parse(new TextDecoder().decode(stderr));
      assertEquals({ code, stdoutCount: stdout.length, kind: error.kind, msg: error.msg }, {
        code: 130,
        stdoutCount: 0,
        kind: "cancelled",
        msg: `interrupted by ${signal}`,
      });
      await until("it is undone", async () => (await world.json(["ps"])).length === 0, 60_000);
    }
    const late = await world.refused(5, ["run", "web", "--timeout=2s", "--socket", daemon.socket], {
      dirs: [],
    });
    assertEquals(late.kind, "timeout");
    await until("it is undone", async () => (await world.json(["ps"])).length === 0, 60_000);
    await daemon.end();
    assertEquals(await leftIn(world), []);
  },
);

/** Prints that it has begun, and does not end by itself. */
const SLOW = (dir: string) =>
  `#!/bin/sh
cat >/dev/null
case "$CNI_COMMAND" in
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}' ;;
ADD) : >${dir}/adding; exec sleep 100 ;;
esac
`;
