// The daemon over its socket, in a process of its own, against the library in this one; and its memory under load.
import { DaemonClient } from "../../lib/daemon/client.ts";
import { Podwire } from "../../lib/runtime/podwire.ts";
import { parseExposition, valueOf } from "../daemon/prometheus_text.ts";
import { BinaryWorld } from "../root/binary_world.ts";
import { faultsOf, soak, thirds } from "../root/daemon_soak.ts";
import { DaemonProcess } from "../root/daemon_world.ts";
import type { Bench, Measure } from "./bench.ts";
import { emptyMemory } from "./empty_program.ts";
import type { Figures } from "./goals.ts";
import { inTurn } from "./in_turn.ts";
import { medianDifference, medianRatio } from "./median.ts";
import { bridgePlugin, NETWORK, nothingDir, Site } from "./site.ts";

const POOL = 4;
const PATIENCE_MS = 60_000;
const LOOK_MS = 20;
const CLIENTS = 32;
/** So many requests are sent for each round that is wanted, and no more than these in all. */
const REQUESTS = 800;
const MOST_REQUESTS = 24_000;
const KIB_OF_MEGABYTE = 1_000_000 / 1_024;

/** Measures the rows of the daemon. */
export const measureDaemon: Measure<"daemon"> = async (bench, wanted) => ({
  ...(wanted.has("socket") ? { socket: await overSocket(bench) } : {}),
  ...(wanted.has("pool") ? { pool: await fromPool(bench) } : {}),
  ...(wanted.has("afterRequests") || wanted.has("growth") ? await underLoad(bench) : {}),
});

async function overSocket(bench: Bench): Promise<number> {
  const pluginDirs = [await nothingDir(bench)];
  const site = () => Site.make(bench, { plugins: () => [{ type: "nothing" }], pluginDirs });
  await using daemon = await DaemonProcess.start((await site()).daemonWorld);
  const client = new DaemonClient(daemon.socket);
  const { sandboxes } = new Podwire((await site()).options);
  const { socket, library } = await inTurn({
    socket: { up: (id) => client.run({ name: id, id }), down: (id) => client.remove(id) },
    library: {
      up: (id) => sandboxes.run({ name: id, id }),
      down: async (id) => {
        for (const failure of await sandboxes.remove(id)) throw failure;
      },
    },
  }, { rounds: bench.rounds, atOnce: 1 });
  await daemon.end();
  return medianDifference(socket.up, library.up);
}

/** A request that gives a UID never gets a warm sandbox. */
async function fromPool(bench: Bench): Promise<number> {
  const site = await Site.make(bench, { plugins: (site) => [bridgePlugin(site)] });
  const args = ["--builtin=prefer", `--pool=${NETWORK}=${POOL}`];
  await using daemon = await DaemonProcess.start(site.daemonWorld, args);
  const client = new DaemonClient(daemon.socket);
  const times = { warm: [] as number[], made: [] as number[] };
  for (let round = 0; round < bench.rounds; round++) {
    for (const [kind, more] of [["warm", {}], ["made", { uid: "given" }]] as const) {
      await filled(daemon);
      const name = `${kind}${round}`;
      const start = performance.now();
      await client.run({ name, ...more });
      times[kind].push(performance.now() - start);
      await client.remove(name);
    }
  }
  await daemon.end();
  return medianRatio(times.warm, times.made);
}

async function filled(daemon: DaemonProcess): Promise<void> {
  for (const end = performance.now() + PATIENCE_MS;;) {
    const { text } = await daemon.call("GET", "/metrics");
    if (valueOf(parseExposition(text), "podwire_pool_sandboxes", { network: NETWORK }) === POOL) return;
    if (performance.now() > end) throw new Error("Cannot measure the pool: it is not filled");
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

async function underLoad(bench: Bench): Promise<Figures<"daemon">> {
  const dir = `${bench.disk}/soak`;
  await Deno.mkdir(dir);
  const world = new BinaryWorld(dir);
  try {
    const options = { requests: Math.min(bench.rounds * REQUESTS, MOST_REQUESTS), clients: CLIENTS };
    const report = await soak(options, world);
    const problems = [...report.errors, ...report.left];
    if (problems.length > 0) throw new Error(`Cannot measure the daemon under load: ${problems[0]}`);
    for (const fault of faultsOf(report, options)) bench.say(`under load: ${fault}`);
    const [early, late] = thirds(report.samples, "rssKiB");
    bench.say(`the daemon answered ${options.requests} requests`);
    return { afterRequests: late / KIB_OF_MEGABYTE - await emptyMemory(), growth: late / early };
  } finally {
    await world.clean();
  }
}
