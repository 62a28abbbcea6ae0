// `kill -9` of the daemon under load, at any moment: after its restart all that clients were told of is there, and what
// was interrupted is settled, to the last address, port, namespace, record, name and process.
//
// PODWIRE_TEST_KILLS=20 kills as often, with 32 clients; PODWIRE_TEST_SEED repeats; PODWIRE_TEST_FIGURES=FILE tells there
// what the kills met.
import { assert, assertEquals } from "@std/assert";
import { UNDER_WAY } from "../../lib/network/gc_sweep.ts";
import { randomOf, SEED_VARIABLE, seedFromEnvironment } from "../spec/random.ts";
import { binaryTest, type BinaryWorld, sh, until } from "./binary_world.ts";
import { type Known, type Load, LoadClient, loadNetworks, MAY_BE, RECORDED } from "./daemon_load.ts";
import { DaemonProcess, leftIn } from "./daemon_world.ts";
import { tellFigures } from "./figures.ts";

const KILLS = Number(Deno.env.get("PODWIRE_TEST_KILLS") ?? 3);
const CLIENTS = KILLS > 3 ? 32 : 8;
const LONGEST_LOAD_MS = KILLS > 3 ? 6_000 : 3_000;
const BUILTIN = "--builtin=prefer";

binaryTest(
  "kill -9 of the daemon under load: after a restart all is accounted for",
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
        await loadAndKill(world, clients, 100 + random.below(LONGEST_LOAD_MS), tally);
        await using daemon = await DaemonProcess.start(world, [BUILTIN]);
        await accountedFor(world, daemon, clients, tally);
      }
      assert((tally.get("interrupted") ?? 0) >= KILLS, "the kills met nothing");
      await removeAll(world, clients);
    } catch (cause) {
      throw new Error(`${SEED_VARIABLE}=${seed}: ${cause instanceof Error ? cause.message : cause}`, {
        cause,
      });
    }
    const seconds = Math.round((performance.now() - started) / 1_000);
    await tellFigures(`${KILLS} kills of the daemon in ${seconds} s, ${SEED_VARIABLE}=${seed}`, tally);
  },
);

async function loadAndKill(
  world: BinaryWorld,
  clients: readonly LoadClient[],
  afterMs: number,
  tally: Map<string, number>,
): Promise<void> {
  // Not recovered yet: the clients come while it is at that.
  await using daemon = await DaemonProcess.start(world, [BUILTIN]);
  const over = new AbortController();
  const load: Load = { daemon, over: over.signal, answered: new Map() };
  const failed = Promise.withResolvers<never>();
  const working = clients.map((client) => client.work(load));
  Promise.all(working).catch(failed.reject);
  try {
    await Promise.race([new Promise((resolve) => setTimeout(resolve, afterMs)), failed.promise]);
  } finally {
    failed.promise.catch(() => {});
    over.abort();
    daemon.child.kill("SIGKILL");
    await Promise.allSettled(working);
  }
  await Promise.all(working);
  for (const [method, count] of load.answered) add(tally, `answered: ${method}`, count);
}

/** What is there is what the clients know of, whole, and nothing else is. */
async function accountedFor(
  world: BinaryWorld,
  daemon: DaemonProcess,
  clients: readonly LoadClient[],
  tally: Map<string, number>,
): Promise<void> {
  await settled(daemon);
  const listed = (await daemon.call("GET", "/v1/sandboxes")).json as readonly Shown[];
  const byId = new Map(listed.map((sandbox) => [sandbox.id, sandbox]));
  const ready: (Known & { readonly shown: Shown })[] = [];
  for (const client of clients) {
    for (const known of [...client.sandboxes]) {
      const shown = byId.get(known.id);
      const state = shown?.state ?? "gone";
      assert(
        MAY_BE[known.phase].includes(state),
        `${known.id} was ${known.phase} and is ${state}: ${shown?.reason}`,
      );
      if (known.phase.endsWith("ing")) {
        add(tally, "interrupted");
        add(tally, `interrupted: ${known.phase}, found ${state}`);
      } else add(tally, `known: ${known.phase}`);
      byId.delete(known.id);
      if (shown === undefined) client.sandboxes.splice(client.sandboxes.indexOf(known), 1);
      else known.phase = shown.state;
      if (shown?.state === "ready") ready.push({ ...known, shown });
    }
  }
  assertEquals([...byId.keys()], [], "sandboxes that nobody knows of");
  await kernelHas(world, ready);
  await until("the plugins have ended", async () => (await strangers(world, daemon)).length === 0, 30_000);
  const live = clients.flatMap(({ sandboxes }) => sandboxes.map(({ id }) => id));
  assertEquals(await unaccounted(world, live), []);
  assertEquals(await recordedUp(world), ids(ready.filter(({ networks }) => networks.includes(RECORDED))));
}

/** The daemon recovers beside what it serves, and leaves to one recovery what another is working on. */
async function settled(daemon: DaemonProcess): Promise<void> {
  await until("nothing is under way", async () => {
    const { status, json, text } = await daemon.call("POST", "/v1/recover");
    assertEquals([status, json?.failed], [200, []], text);
    return !json.kept.some(({ why }: { why: string }) => why === UNDER_WAY);
  }, 60_000);
}

interface Shown {
  readonly id: string;
  readonly state: "ready" | "stopped";
  readonly reason?: string;
  readonly netns: string;
  readonly ips: readonly string[];
}

/** Each has its namespace with its addresses, and its port on the bridge; there are no others. */
async function kernelHas(
  world: BinaryWorld,
  ready: readonly (Known & { readonly shown: Shown })[],
): Promise<void> {
  const mounted = (await sh(`grep -F ${world.netnsDir}/ /proc/self/mountinfo | cut -d' ' -f5 || :`)).split(
    "\n",
  );
  const wanted = ready.map(({ shown }) => shown.netns).sort();
  assertEquals(mounted.filter((path) => path !== "").sort(), wanted, "namespaces");
  const text = await sh(
    `for n in ${wanted.join(" ")}; do echo "=$n"; nsenter --net=$n ip -br addr || exit 1; done`,
  );
  const shownBy = new Map(text.split("=/").slice(1).map((part) => [`/${part.split("\n")[0]}`, part]));
  const onBridge = ready.filter(({ networks }) => networks.includes(world.network));
  for (const { id, shown: { netns, ips } } of ready) {
    for (const ip of ips) assert(shownBy.get(netns)?.includes(` ${ip}/`), `${id} lacks ${ip}`);
  }
  assertEquals(
    onBridge.filter(({ shown: { ips } }) => ips.length !== 2),
    [],
    "each has both of its addresses",
  );
  const ports = (await sh(`ip -o link show master ${world.bridge} 2>/dev/null || :`)).trim().split("\n");
  assertEquals(ports.filter((line) => line !== "").length, onBridge.length, "ports of the bridge");
  const addresses = await sh(`cd ${world.dataDir} 2>/dev/null && find . -type f -name '*[.:]*' || :`);
  const reserved = addresses.split("\n").map((path) => path.split("/").at(-1) ?? "")
    .filter((name) => name !== "" && !name.startsWith("last_reserved_ip"));
  assertEquals(reserved.sort(), onBridge.flatMap(({ shown: { ips } }) => ips).sort(), "addresses");
}

/** Files that belong to none of the sandboxes that are there. */
async function unaccounted(world: BinaryWorld, live: readonly string[]): Promise<string[]> {
  await Deno.writeTextFile(`${world.dir}/live`, live.map((id) => `${id}\n`).join(""));
  const text = await sh(
    `cd ${world.dir}; find netns addresses cache state -type f | grep -vwFf live | while read -r f; do
case "$f" in netns/*) echo "$f" ;; *) grep -qwFf live "$f" || echo "$f" ;; esac; done`,
  );
  return text.split("\n").filter((file) =>
    file !== "" &&
    !/^state\/(boot-id|catalogs\/[0-9a-f]+\.json|readiness\.json|run\/(gc|names|boot|ports)\.lock)$|^addresses\/[^/]+\/(lock|last_reserved_ip\.\d+)$/
      .test(file)
  );
}

/** Whose last call was an ADD. */
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
  for (const { id } of clients.flatMap(({ sandboxes }) => sandboxes)) {
    assertEquals((await daemon.call("DELETE", `/v1/sandboxes/${id}`)).status, 204);
  }
  await daemon.end();
  assertEquals(await leftIn(world), []);
  assertEquals(await recordedUp(world), []);
}

function add(tally: Map<string, number>, what: string, count = 1): void {
  tally.set(what, (tally.get(what) ?? 0) + count);
}

const ids = (some: readonly { readonly id: string }[]) => some.map(({ id }) => id).sort();
