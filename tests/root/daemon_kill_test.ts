// `kill -9` of the daemon under load, at any moment. After its restart everything that clients know of
// exists, and what was interrupted is settled, to the last address, port, namespace, record, name and
// process. Its warm sandboxes are gone with it, and a warm sandbox that it was just giving out belongs to its
// client or is gone.
//
// PODWIRE_TEST_KILLS=20 sets the number of kills, with 32 clients; PODWIRE_TEST_SEED repeats;
// PODWIRE_TEST_FIGURES=FILE appends what the kills met.
import { assert, assertEquals } from "@std/assert";
import { UNDER_WAY } from "../../lib/gc/report.ts";
import { randomOf, SEED_VARIABLE, seedFromEnvironment } from "../cni/random.ts";
import { parseExposition, valueOf } from "../daemon/prometheus_text.ts";
import { binaryTest, type BinaryWorld, sh, until } from "./binary_world.ts";
import { type Known, type Load, LoadClient, loadNetworks, MAY_BE, RECORDED } from "./daemon_load.ts";
import { DaemonProcess, leftIn } from "./daemon_world.ts";
import { appendFigures } from "./figures.ts";
import { recordFile, recordText } from "../stores.ts";

const KILLS = Number(Deno.env.get("PODWIRE_TEST_KILLS") ?? 3);
const CLIENTS = KILLS > 3 ? 32 : 8;
const LONGEST_LOAD_MS = KILLS > 3 ? 6_000 : 3_000;
const BUILTIN = "--builtin=prefer";
const POOL_SIZE = CLIENTS / 4;
const POOL_NAMESPACE = "podwire-pool";
const PATIENCE_MS = 60_000;

const startDaemon = async (world: BinaryWorld) =>
  await DaemonProcess.start(world, [BUILTIN, `--pool=${world.network}=${POOL_SIZE}`]);
/** What the daemon does when the clients connect, and when it is killed. */
const MOMENTS = ["recovering", "ready, then at work", "handing out"] as const;

binaryTest(
  "kill -9 of the daemon under load: after a restart everything is accounted for",
  [],
  async (world) => {
    const seed = seedFromEnvironment() ?? Date.now() % 1_000_000_000;
    const random = randomOf(seed);
    const tally = new Map<string, number>();
    const started = performance.now();
    await loadNetworks(world);
    const clients = Array.from(
      { length: CLIENTS },
      (_, index) => new LoadClient(`c${index}`, world, randomOf(seed + 1 + index)),
    );
    try {
      for (let kill = 0; kill < KILLS; kill++) {
        const moment = MOMENTS[kill % MOMENTS.length] ?? "recovering";
        const afterMs = moment === "handing out" ? random.below(15) : 100 + random.below(LONGEST_LOAD_MS);
        await loadAndKill(world, clients, { moment, afterMs }, tally);
        const dead = await pooledOnDisk(world);
        add(tally, "killed in the pool", dead.length);
        await using daemon = await startDaemon(world);
        await accountedFor(world, daemon, { clients, dead }, tally);
      }
      assert((tally.get("interrupted") ?? 0) >= KILLS, "the kills met nothing");
      if (KILLS > 1) assert((tally.get("answered: hand-outs") ?? 0) > 0, "the pool served no client");
      await removeAll(world, clients);
    } catch (cause) {
      throw new Error(`${SEED_VARIABLE}=${seed}: ${cause instanceof Error ? cause.message : cause}`, {
        cause,
      });
    }
    const seconds = Math.round((performance.now() - started) / 1_000);
    await appendFigures(`${KILLS} kills of the daemon in ${seconds} s, ${SEED_VARIABLE}=${seed}`, tally);
  },
);

async function loadAndKill(
  world: BinaryWorld,
  clients: readonly LoadClient[],
  { moment, afterMs }: { moment: typeof MOMENTS[number]; afterMs: number },
  tally: Map<string, number>,
): Promise<void> {
  await using daemon = await startDaemon(world);
  const pooled = moment === "recovering" ? [] : await filled(daemon);
  const over = new AbortController();
  const load: Load = { daemon, over: over.signal, answered: new Map() };
  const failed = Promise.withResolvers<never>();
  const working = clients.map((client) => client.work(load));
  Promise.all(working).catch(failed.reject);
  const seen = async () => {
    if (moment === "ready, then at work") {
      await until("the pool serves", async () => await handedOut(world, daemon) > 0, PATIENCE_MS);
    }
    if (moment === "handing out") {
      await until("the pool serves", () => isHandedOut(world, pooled), PATIENCE_MS);
    }
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    if (moment !== "handing out") add(tally, "answered: hand-outs", await handedOut(world, daemon));
  };
  try {
    await Promise.race([seen(), failed.promise]);
  } finally {
    failed.promise.catch(() => {});
    over.abort();
    daemon.child.kill("SIGKILL");
    await Promise.allSettled(working);
  }
  await Promise.all(working);
  for (const [method, count] of load.answered) add(tally, `answered: ${method}`, count);
}

/**
 * Everything that exists is known to a client, and complete, or is one that the daemon has made ready since.
 */
async function accountedFor(
  world: BinaryWorld,
  daemon: DaemonProcess,
  { clients, dead }: { readonly clients: readonly LoadClient[]; readonly dead: readonly string[] },
  tally: Map<string, number>,
): Promise<void> {
  await settled(daemon);
  const pooled = await filled(daemon);
  assertEquals(pooled.filter(({ id }) => dead.includes(id)), [], "what a dead process had kept ready");
  const listed = (await daemon.call("GET", "/v1/sandboxes?namespace=default")).json as readonly Shown[];
  const byName = new Map(listed.map((sandbox) => [sandbox.name, sandbox]));
  const ready: Ready[] = pooled.map((shown) => ({ ...shown, networks: [world.network], shown }));
  for (const client of clients) {
    for (const known of [...client.sandboxes]) {
      const shown = byName.get(known.name);
      const state = shown?.state ?? "gone";
      assert(
        MAY_BE[known.phase].includes(state),
        `${known.name} was ${known.phase} and is ${state}: ${shown?.reason}`,
      );
      if (known.phase.endsWith("ing")) {
        add(tally, "interrupted");
        const how = known.id === undefined ? ` without ID, ${await originOf(world, shown)}` : "";
        add(tally, `interrupted: ${known.phase}${how}, found ${state}`);
      } else add(tally, `known: ${known.phase}`);
      byName.delete(known.name);
      if (shown === undefined) client.sandboxes.splice(client.sandboxes.indexOf(known), 1);
      else {
        known.phase = shown.state;
        known.id ??= shown.id;
        assertEquals(shown.id, known.id);
      }
      if (shown?.state === "ready") ready.push({ networks: known.networks, shown });
    }
  }
  assertEquals([...byName.keys()], [], "sandboxes that no client knows");
  await kernelHas(world, ready);
  await until(
    "the plugins have ended",
    async () => (await strangers(world, daemon)).length === 0,
    PATIENCE_MS,
  );
  const live = clients.flatMap(({ sandboxes }) => sandboxes.map(({ id }) => id ?? ""));
  assertEquals(await unaccounted(world, [...live, ...pooled.map(({ id }) => id)]), []);
  assertEquals((await sh(`ls ${world.stateDir}/run/pools`)).trim().split("\n").length, 1, "locks of pools");
  const recorded = ready.filter(({ networks }) => networks.includes(RECORDED));
  assertEquals(await recordedUp(world), recorded.map(({ shown: { id } }) => id).sort());
}

/** Waits until the daemon has as many warm sandboxes as it must keep, and returns them. */
async function filled(daemon: DaemonProcess): Promise<readonly Shown[]> {
  let found: readonly Shown[] = [];
  await until("the pool is filled", async () => {
    found = (await daemon.call("GET", `/v1/sandboxes?namespace=${POOL_NAMESPACE}`)).json;
    return found.length === POOL_SIZE && found.every(({ state }) => state === "ready");
  }, PATIENCE_MS);
  return found;
}

/** The last record of a sandbox; empty if it has none. */
async function sandboxText(world: BinaryWorld, id: string): Promise<string> {
  return await recordText(recordFile(world.stateDir, id), "sandbox").catch(() => undefined) ?? "";
}

/** The sandboxes that belong to a pool, by their records. */
async function pooledOnDisk(world: BinaryWorld): Promise<string[]> {
  const ids = (await sh(`ls ${world.stateDir}/records`)).split("\n").flatMap((name) =>
    name.endsWith(".rec") ? [name.slice(0, -".rec".length)] : []
  );
  const texts = await Promise.all(ids.map((id) => sandboxText(world, id)));
  return ids.filter((_, index) => texts[index]?.includes('"pool":'));
}

async function handedOut(world: BinaryWorld, daemon: DaemonProcess): Promise<number> {
  const families = parseExposition((await daemon.call("GET", "/metrics")).text);
  return valueOf(families, "podwire_pool_handed_out_total", { network: world.network }) ?? 0;
}

/** Whether one of these has left the pool. */
async function isHandedOut(world: BinaryWorld, pooled: readonly Shown[]): Promise<boolean> {
  const records = pooled.map(({ id }) => sandboxText(world, id));
  return (await Promise.all(records)).some((text) => !text.includes('"pool":'));
}

/** Whether the plugins of a sandbox got the pool's name. */
async function originOf(world: BinaryWorld, shown: Shown | undefined): Promise<string> {
  if (shown === undefined) return "from wherever";
  const subject = { ifName: "eth0", network: world.network };
  const found = await recordText(recordFile(world.stateDir, shown.id), subject) ?? "";
  return found.includes(POOL_NAMESPACE) ? "from the pool" : "made for it";
}

/** The daemon recovers while it serves, and a recovery leaves alone what another one works on. */
async function settled(daemon: DaemonProcess): Promise<void> {
  await until("nothing is under way", async () => {
    const { status, json, text } = await daemon.call("POST", "/v1/recover");
    assertEquals({ status, failed: json?.failed }, { status: 200, failed: [] }, text);
    return !json.kept.some(({ why }: { why: string }) => why === UNDER_WAY);
  }, 60_000);
}

interface Shown {
  readonly id: string;
  readonly name: string;
  readonly state: "ready" | "stopped";
  readonly reason?: string;
  readonly netns: string;
  readonly ips: readonly string[];
}

/** A sandbox that is up. */
interface Ready extends Pick<Known, "networks"> {
  readonly shown: Shown;
}

/** Each has its namespace with its addresses, and its port on the bridge; there are no others. */
async function kernelHas(world: BinaryWorld, ready: readonly Ready[]): Promise<void> {
  const mounted = (await sh(`grep -F ${world.netnsDir}/ /proc/self/mountinfo | cut -d' ' -f5 || :`)).split(
    "\n",
  );
  const wanted = ready.map(({ shown }) => shown.netns).sort();
  assertEquals(mounted.filter((path) => path !== "").sort(), wanted, "namespaces");
  const text = await sh(
    `for n in ${wanted.join(" ")}; do echo "=$n"; nsenter --net=$n ip -br addr || exit 1; done`,
  );
  const linesBy = new Map(text.split("=/").slice(1).map((part) => [`/${part.split("\n")[0]}`, part]));
  const onBridge = ready.filter(({ networks }) => networks.includes(world.network));
  for (const { shown: { id, netns, ips } } of ready) {
    for (const ip of ips) assert(linesBy.get(netns)?.includes(` ${ip}/`), `${id} lacks ${ip}`);
  }
  assertEquals(
    onBridge.filter(({ shown: { ips } }) => ips.length !== 2),
    [],
    "each has both of its addresses",
  );
  const ports = (await sh(`ip -o link show master ${world.bridge} 2>/dev/null || :`)).trim().split("\n");
  assertEquals(ports.filter((line) => line !== "").length, onBridge.length, "ports of the bridge");
  const addresses = await sh(
    `cd ${world.dataDir} 2>/dev/null && find . -name .podwire -prune -o -type f -name '*[.:]*' -print || :`,
  );
  const reserved = addresses.split("\n").map((path) => path.split("/").at(-1) ?? "")
    .filter((name) => name !== "" && !name.startsWith("last_reserved_ip"));
  assertEquals(reserved.sort(), onBridge.flatMap(({ shown: { ips } }) => ips).sort(), "addresses");
}

/** Files that belong to none of the existing sandboxes. */
async function unaccounted(world: BinaryWorld, live: readonly string[]): Promise<string[]> {
  await Deno.writeTextFile(`${world.dir}/live`, live.map((id) => `${id}\n`).join(""));
  const text = await sh(
    `cd ${world.dir}; find netns addresses cache state -type f | grep -vwFf live | while read -r f; do
case "$f" in netns/*) echo "$f" ;; *) grep -qwFf live "$f" || echo "$f" ;; esac; done`,
  );
  return text.split("\n").filter((file) =>
    file !== "" &&
    !/^state\/(boot-id|format|(interfaces|by-name)\/\.complete|catalogs\/[0-9a-f]+\.json|readiness\.json|run\/(gc\/[^/]+\.(lock|mark)|((names|boot|ports|interfaces|files)|pools\/[^/]+)\.lock))$|^addresses\/[^/]+\/(lock|last_reserved_ip\.\d+)$/
      .test(file)
  );
}

/** Those whose last call was an ADD. */
async function recordedUp(world: BinaryWorld): Promise<string[]> {
  const text = await Deno.readTextFile(`${world.dir}/calls`).catch(() => "");
  const last = new Map(text.trim().split("\n").map((line) => line.split(" ").reverse() as [string, string]));
  return [...last].filter(([, verb]) => verb === "ADD").map(([id]) => id).sort();
}

async function strangers(world: BinaryWorld, { child: { pid } }: DaemonProcess): Promise<string[]> {
  return (await world.processes()).filter((line) => !line.startsWith(`/proc/${pid}/`));
}

async function removeAll(world: BinaryWorld, clients: readonly LoadClient[]): Promise<void> {
  await using daemon = await DaemonProcess.start(world, [BUILTIN]);
  await settled(daemon);
  for (const { name } of clients.flatMap(({ sandboxes }) => sandboxes)) {
    assertEquals((await daemon.call("DELETE", `/v1/sandboxes/${name}`)).status, 204);
  }
  await daemon.end();
  assertEquals(await leftIn(world), []);
  assertEquals(await recordedUp(world), []);
}

function add(tally: Map<string, number>, what: string, count = 1): void {
  tally.set(what, (tally.get(what) ?? 0) + count);
}
