// Measures how long set-up and tear-down of a pod take with 10, 1,000 and 10,000 pods on record, networks in the
// directory, and host ports taken. Each look-up is by name, so the number should make no difference, except
// that each file of a directory that is not watched is checked. The worlds alternate in every round,
// because the speed of the machine varies. Needs root: `./denow task bench`, or this file alone with
// the number of rounds and a word of the title.
import { runCommand } from "../../lib/host/command.ts";
import { createNetns, removeNetns } from "../../lib/host/netns.ts";
import { Pods, type PodsOptions } from "../../lib/runtime/pods.ts";
import { idsFrom, multiply } from "../many_records.ts";
import { quantile } from "./quantile.ts";

const COUNTS = [10, 1_000, 10_000];
const NETWORKS = [1, 100, 1_000];
const ROUNDS = Number(Deno.args[0] ?? 61);
const ONLY = Deno.args[1] ?? "";
const WARM_UP = 3;
/** The allowed difference between the smallest and the largest world. */
const MOST = 1.2;

/** The fastest possible plugin, so that the rest shows clearly. */
const PLUGIN = `#!/bin/sh
while read -r line; do :; done
case $CNI_COMMAND in
  ADD) echo '{"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.2/24"}]}' ;;
  VERSION) echo '{"cniVersion": "1.1.0", "supportedVersions": ["1.0.0", "1.1.0"]}' ;;
esac
`;

const PORT = { hostIP: "", hostPort: 19_999, containerPort: 80, protocol: "tcp" } as const;

/** The size of a world. */
interface Size {
  readonly records: number;
  readonly networks: number;
  /** Whether each pod has a port of the host. */
  readonly ports?: boolean;
}

/** The measured operations: with pods that stay open, and a set-up with pods that are opened for it. */
const MEASURED = ["set-up", "tear-down", "open and set-up"] as const;

async function sh(script: string, ...args: string[]): Promise<void> {
  const { code, stderr } = await runCommand({ program: "sh", args: ["-ec", script, "sh", ...args] });
  if (code !== 0) throw new Error(`${script}: ${stderr}`);
}

/** Pods that are open over directories of that size. */
class World implements AsyncDisposable {
  /** In milliseconds. */
  readonly times = { "set-up": [], "tear-down": [], "open and set-up": [] } as Record<
    typeof MEASURED[number],
    number[]
  >;
  #round = 0;

  private constructor(
    readonly dir: string,
    readonly size: Size,
    readonly options: PodsOptions,
    readonly pods: Pods,
  ) {}

  static async make(dir: string, size: Size, options: PodsOptions): Promise<World> {
    const dirs = { stateDir: `${dir}/state`, cacheDir: `${dir}/cache`, runDir: `${dir}/run` };
    await Deno.mkdir(`${dir}/conf`, { recursive: true });
    await Deno.mkdir(`${dir}/bin`);
    await Deno.writeTextFile(`${dir}/bin/quick`, PLUGIN, { mode: 0o755 });
    const plugins = [{ type: "quick", capabilities: { portMappings: true } }];
    for (const name of idsFrom("net", size.networks)) {
      const list = { cniVersion: "1.1.0", name, plugins };
      await Deno.writeTextFile(`${dir}/conf/${name}.conflist`, JSON.stringify(list));
    }
    await createNetns(`${dir}/netns/pod`);
    const all = { ...dirs, confDir: `${dir}/conf`, pluginDirs: [`${dir}/bin`], ...options };
    const pods = await Pods.open(all);
    const world = new World(dir, size, all, pods);
    await world.#setUp("like", pods);
    const firstPort = size.ports ? { firstPort: 20_000 } : {};
    // Each record is synced, which takes minutes on a disk.
    await sh('mount -t tmpfs -o mode=0700 podwire-bench "$1"', await made(`${dir}/quickly`));
    const quickly = {
      stateDir: `${dir}/quickly/state`,
      cacheDir: `${dir}/quickly/cache`,
      runDir: dirs.runDir,
    };
    await sh('cp -a "$1/state" "$1/cache" "$1/quickly"', dir);
    await multiply(quickly, "like", { ids: idsFrom("pod", size.records), ...firstPort });
    await sh('cp -a "$1/quickly/." "$1"; umount "$1/quickly"; sync', dir);
    await pods.tearDown("like");
    return world;
  }

  async #setUp(containerId: string, pods: Pods): Promise<void> {
    const publish = this.size.ports && containerId !== "like" ? [PORT] : [];
    const { dir } = this;
    await pods.setUp({
      containerId,
      name: containerId,
      namespace: "bench",
      uid: containerId,
      netns: `${dir}/netns/pod`,
      publish,
    });
  }

  /** Sets up and tears down one pod, and with `opens` another one in pods that are opened for it alone. */
  async round(opens: boolean): Promise<void> {
    const containerId = `round${this.#round++}`;
    const start = performance.now();
    await this.#setUp(containerId, this.pods);
    const up = performance.now();
    await this.#tearDown(containerId);
    const down = performance.now();
    // The first pods fill caches.
    const counts = this.#round > WARM_UP;
    if (counts) {
      this.times["set-up"].push(up - start);
      this.times["tear-down"].push(down - up);
    }
    if (!opens) return;
    const closed = performance.now();
    await using own = await Pods.open({ ...this.options, watch: false });
    await this.#setUp(containerId, own);
    if (counts) this.times["open and set-up"].push(performance.now() - closed);
    await this.#tearDown(containerId);
  }

  async #tearDown(containerId: string): Promise<void> {
    for (const failure of await this.pods.tearDown(containerId)) throw failure;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pods[Symbol.asyncDispose]();
    await removeNetns(`${this.dir}/netns/pod`);
    await sh('while umount -l "$1/netns" 2>/dev/null; do :; done', this.dir);
  }
}

async function made(dir: string): Promise<string> {
  await Deno.mkdir(dir, { recursive: true });
  return dir;
}

/** Options of the comparison of worlds. */
interface Comparison {
  readonly options?: PodsOptions;
  /** How much longer a pod may take in the last world than in the first. Such worlds are opened for each pod, too. */
  readonly most?: number;
}

/** Compares worlds of these sizes. */
async function compare(
  title: string,
  dir: string,
  sizes: Readonly<Record<string, Size>>,
  { options = {}, most }: Comparison = {},
): Promise<void> {
  if (!title.includes(ONLY)) return;
  await using stack = new AsyncDisposableStack();
  const worlds = new Map<string, World>();
  for (const [name, size] of Object.entries(sizes)) {
    const world = await World.make(await made(`${dir}/${crypto.randomUUID()}`), size, options);
    worlds.set(name, stack.use(world));
  }
  const turns = [...worlds.values()];
  for (let round = 0; round < ROUNDS + WARM_UP; round++) {
    for (const world of turns) await world.round(most !== undefined);
    // Each world follows each other one equally often.
    if (round % 2 === 0) turns.reverse();
    else turns.push(...turns.splice(0, 1));
  }
  report(title, worlds, most);
}

function report(title: string, worlds: ReadonlyMap<string, World>, most: number | undefined): void {
  console.log(`\n${title}: ms, medians of ${ROUNDS} (10 % to 90 %)`);
  for (const what of MEASURED) {
    if ([...worlds.values()].some(({ times }) => times[what].length === 0)) continue;
    for (const [name, { times }] of worlds) {
      const [low, median, high] = [0.1, 0.5, 0.9].map((part) => quantile(times[what], part).toFixed(1));
      console.log(`  ${what.padEnd(15)} ${name.padEnd(16)} ${median?.padStart(7)}  (${low} to ${high})`);
    }
    const all = [...worlds.values()].map(({ times }) => times[what]);
    const [smallest = [], largest = []] = [all.at(0), all.at(-1)];
    // A disturbance in a round affects all its worlds, and a real difference shows in each round.
    const ratios = {
      "in the middle round": quantile(largest.map((ms, round) => ms / (smallest[round] ?? NaN)), 0.5),
      "of the medians": quantile(largest, 0.5) / quantile(smallest, 0.5),
      "of the quartiles": quantile(largest, 0.25) / quantile(smallest, 0.25),
    };
    const shown = Object.entries(ratios).map(([how, ratio]) => `${ratio.toFixed(2)} ${how}`).join(", ");
    const isMore = most !== undefined && Math.min(...Object.values(ratios)) >= most;
    console.log(
      `  ${what.padEnd(15)} largest / smallest ${shown}${isMore ? `: MORE THAN ${most}` : ""}`,
    );
  }
}

const named = (counts: readonly number[], what: string, size: (count: number) => Size) =>
  Object.fromEntries(counts.map((count) => [`${count.toLocaleString("en")} ${what}`, size(count)]));

async function main(): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "podwire-bench-" });
  try {
    await sh('mount -t tmpfs -o mode=0700 podwire-bench "$1"', await made(`${dir}/memory`));
    const records = named(COUNTS, "records", (records) => ({ records, networks: 1 }));
    await compare("records, on the disk", `${dir}/disk`, records, { most: MOST });
    await compare("records, in memory", `${dir}/memory`, records, { most: MOST });
    const ports = named(COUNTS, "ports", (records) => ({ records, networks: 1, ports: true }));
    await compare("records with a host port each, in memory", `${dir}/memory`, ports, { most: MOST });
    const networks = named(NETWORKS, "networks", (networks) => ({ records: 10, networks }));
    await compare("networks, in memory", `${dir}/memory`, networks);
    await compare("networks, in memory, nothing watched", `${dir}/memory`, networks, {
      options: { watch: false },
    });
  } finally {
    // Unmounts also what a failure left mounted, the innermost first.
    await sh('grep -o " $1[^ ]*" /proc/mounts | sort -r | xargs -r umount -l; rm -rf "$1"', dir);
  }
}

if (import.meta.main) await main();
