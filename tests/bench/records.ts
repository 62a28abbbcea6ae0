// Commands, the daemon and the set-up of a pod beside many records.
import { Pods } from "../../lib/runtime/pods.ts";
import { createNetns } from "../../lib/host/netns.ts";
import { idsFrom, multiply } from "../many_records.ts";
import { DaemonProcess } from "../root/daemon_world.ts";
import { PODWIRE_BINARY } from "../root/need.ts";
import type { Bench, Measure } from "./bench.ts";
import { emptyMemory, emptyProgram } from "./empty_program.ts";
import type { Figures } from "./goals.ts";
import { inTurn, type Rounds, type Way } from "./in_turn.ts";
import { bareStart } from "./least.ts";
import { medianDifference, medianRatio } from "./median.ts";
import { namespaces, podsWay } from "./pods_way.ts";
import { cpuMs, memoryOf } from "./process_cost.ts";
import { startWay } from "./programs.ts";
import { nothingDir, Site } from "./site.ts";

const FEW = 10;
const MANY = 10_000;
const VERY_MANY = 100_000;
/** What takes a second is measured less often than what takes a millisecond. */
const MOST_LONG = 5;
const MOST_GETS = 11;
/** The name of the sandbox that is looked for. */
const PREFIX = "pod";
const LIKE = "like";
/** So long a daemon must have used so little processor time. */
const REST_MS = 500;
const IDLE_MS = 20;
const PATIENCE_MS = 120_000;

const COMMANDS = {
  ps: ["ps"],
  attachments: ["attachments"],
  gc: ["gc", "--dry-run"],
  recover: ["recover"],
} as const;
const SERVED = ["sandboxes", "metrics", "memory"] as const;

/** Measures the rows of ten thousand records. */
export const measureTenThousand: Measure<"tenThousand"> = async (bench, wanted) => {
  const site = await filledSite(bench, MANY);
  const figures: Figures<"tenThousand"> = {};
  for (const key of ["ps", "attachments", "gc", "recover"] as const) {
    if (wanted.has(key)) figures[key] = await commandMs(bench, site, COMMANDS[key]);
  }
  if (SERVED.some((key) => wanted.has(key))) Object.assign(figures, await servedFigures(bench, site));
  if (wanted.has("beside")) figures.beside = await besideRatio(bench, site);
  return figures;
};

/** Measures the rows of a hundred thousand records. */
export const measureHundredThousand: Measure<"hundredThousand"> = async (bench, wanted) => {
  const site = await filledSite(bench, VERY_MANY);
  const figures: Figures<"hundredThousand"> = {};
  if (wanted.has("filter")) {
    figures.filter = await commandMs(bench, site, ["ps", "--filter", `name=${idsFrom(PREFIX, 2)[1]}`]);
  }
  if (wanted.has("ready")) figures.ready = await readyMs(bench, site);
  return figures;
};

/** A site with that many pods on record, half of them of the library and half of the command line. */
async function filledSite(bench: Bench, count: number): Promise<Site> {
  const start = performance.now();
  const pluginDirs = [await nothingDir(bench)];
  const site = (inMemory: boolean) =>
    Site.make(bench, { inMemory, plugins: () => [{ type: "nothing" }], pluginDirs });
  const [inMemory, onDisk] = [await site(true), await site(false)];
  const netns = `${inMemory.netnsDir}/${LIKE}`;
  await createNetns(netns);
  {
    await using pods = await Pods.open({ ...inMemory.options, watch: false });
    await podsWay(pods, () => netns).up(LIKE, 0);
  }
  // Each record is synced, which takes minutes on a disk.
  await multiply(inMemory.options, LIKE, { ids: idsFrom(PREFIX, count - 1) });
  const folders = ["state", "cache"].map((folder) => `${inMemory.dir}/${folder}`);
  await bareStart("cp", ["-a", ...folders, onDisk.dir]);
  await bareStart("sync", []);
  await bareStart("rm", ["-rf", ...folders]);
  bench.say(`${count} records: written in ${Math.round((performance.now() - start) / 1_000)} s`);
  return onDisk;
}

function longRounds({ rounds }: Bench): Rounds {
  return { rounds: Math.min(rounds, MOST_LONG), atOnce: 1, warmUp: 1 };
}

async function commandMs(bench: Bench, site: Site, args: readonly string[]): Promise<number> {
  const { command, empty } = await inTurn({
    command: startWay(PODWIRE_BINARY, [...site.flags, ...args]),
    empty: startWay(await emptyProgram(), []),
  }, longRounds(bench));
  return medianDifference(command.up, empty.up);
}

async function servedFigures(bench: Bench, site: Site): Promise<Figures<"tenThousand">> {
  await using daemon = await DaemonProcess.start(site.daemonWorld);
  const { pid } = daemon.child;
  await atRest(pid);
  const get = (target: string): Way => ({
    up: async () => {
      const { status, text } = await daemon.call("GET", target);
      if (status !== 200) throw new Error(`Cannot GET ${target}: ${status} ${text}`);
    },
    down: () => Promise.resolve(),
  });
  const rounds = Math.min(bench.rounds, MOST_GETS);
  const { sandboxes, metrics, least } = await inTurn({
    sandboxes: get("/v1/sandboxes"),
    metrics: get("/metrics"),
    least: get("/healthz"),
  }, { rounds, atOnce: 1 });
  await atRest(pid);
  const memory = await memoryOf(pid) - await emptyMemory();
  await daemon.end();
  return {
    sandboxes: medianDifference(sandboxes.up, least.up),
    metrics: medianDifference(metrics.up, least.up),
    memory,
  };
}

/** Waits until a process has nothing to do: a daemon recovers when it starts. */
async function atRest(pid: number): Promise<void> {
  for (const end = performance.now() + PATIENCE_MS; performance.now() < end;) {
    const before = await cpuMs(pid);
    await new Promise((resolve) => setTimeout(resolve, REST_MS));
    if (await cpuMs(pid) - before <= IDLE_MS) return;
  }
  throw new Error("Cannot measure the daemon: it is never at rest");
}

async function readyMs(bench: Bench, site: Site): Promise<number> {
  let started: DaemonProcess | undefined;
  const daemon: Way = {
    up: async () => {
      started = await DaemonProcess.start(site.daemonWorld);
    },
    down: async () => {
      await started?.[Symbol.asyncDispose]();
    },
  };
  const { ready, empty } = await inTurn({
    ready: daemon,
    empty: startWay(await emptyProgram(), []),
  }, longRounds(bench));
  return medianDifference(ready.up, empty.up);
}

/** Set-ups with pods that are open over many records, and over few. */
async function besideRatio(bench: Bench, site: Site): Promise<number> {
  const netns = await namespaces(bench, "records");
  await using many = await Pods.open(site.options);
  await using few = await Pods.open((await filledSite(bench, FEW)).options);
  const turns = { rounds: bench.rounds, atOnce: 1 };
  const series = await inTurn({ many: podsWay(many, netns), few: podsWay(few, netns) }, turns);
  return medianRatio(series.many.up, series.few.up);
}
