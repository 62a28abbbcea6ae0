// Compares a pod of the built-in plugins (a namespace, a pair on a bridge, an address, a route), made by netlink and by
// programs, with the least that it needs, below. All alternate in every round, one and eight at a time,
// because the speed of the machine varies; only the ratios say something. Needs root: `./denow task bench`, or this file
// alone with the number of rounds; `--json` prints one object.
import { type RunCommand, runCommand } from "../../lib/host/command.ts";
import { writeFileSynced } from "../../lib/host/file.ts";
import { createNetns, removeNetns } from "../../lib/host/netns.ts";
import type { Podwire } from "../../lib/runtime/podwire.ts";
import { HAS_LIBC } from "../open_libc.ts";
import { inWorld, sh, type World } from "../root/builtin_world.ts";
import { bridgeNetwork, FLAVOURS, runtimeOf } from "../root/flavours.ts";
import { quantile } from "./quantile.ts";

const AS_JSON = Deno.args.includes("--json");
const ROUNDS = Number(Deno.args.find((arg) => /^\d+$/.test(arg)) ?? 31);
const WARM_UP = 3;
const AT_ONCE = [1, 8];

/** One way to make something like a pod and to remove it. */
interface Way {
  readonly up: (id: string) => Promise<unknown>;
  readonly down: (id: string) => Promise<unknown>;
}

/** Milliseconds of each round, a pod. */
interface Times {
  readonly up: number[];
  readonly down: number[];
}

function podwireWay(podwire: Podwire): Way {
  const networks = [{ name: "one", ifName: "eth0" }];
  return {
    up: (id) => podwire.sandboxes.run({ name: id, id, networks }),
    down: async (id) => {
      for (const failure of await podwire.sandboxes.remove(id, { force: true })) throw failure;
    },
  };
}

async function ip(lines: readonly string[], netns?: string): Promise<void> {
  const [program, args] = netns === undefined
    ? ["ip", ["-batch", "-"]] as const
    : ["nsenter", [`--net=${netns}`, "--", "ip", "-batch", "-"]] as const;
  const { code, stderr } = await runCommand({
    program,
    args,
    stdin: `${lines.join("\n")}\n`,
    ownGroup: false,
  });
  if (code !== 0) throw new Error(stderr);
}

/** The same pod without state and checks: a namespace, and one process of `ip` on each side. */
function batchWay({ dir, bridge, subnet4 }: World): Way {
  let last = 1;
  const path = (id: string) => `${dir}/netns/${id}`;
  return {
    up: async (id) => {
      const address = 2 + ++last % 250;
      await createNetns(path(id));
      const host = `b${id.slice(-12)}`;
      await ip([`link add ${host} master ${bridge} up type veth peer name eth0 netns "${path(id)}"`]);
      const inside = [`address add ${subnet4}.${address}/24 dev eth0`, "link set eth0 up"];
      await ip([...inside, `route add default via ${subnet4}.1`], path(id));
    },
    down: async (id) => {
      await ip([`link delete b${id.slice(-12)}`]);
      await removeNetns(path(id));
    },
  };
}

/** One program through `setsid`, and one synced write: what an engine needs for a plugin on disk. */
function spawnWay({ dir }: World): Way {
  return {
    up: async (id) => {
      await writeFileSynced(`${dir}/state-${id}`, "{}\n");
      await runCommand({ program: "true" });
    },
    down: async (id) => {
      await runCommand({ program: "true" });
      await Deno.remove(`${dir}/state-${id}`);
    },
  };
}

async function measure(ways: Readonly<Record<string, Way>>, atOnce: number): Promise<Record<string, Times>> {
  const times = Object.fromEntries(Object.keys(ways).map((name) => [name, { up: [], down: [] } as Times]));
  const turns = Object.entries(ways);
  for (let round = 0; round < ROUNDS + WARM_UP; round++) {
    for (const [name, way] of turns) {
      const ids = Array.from({ length: atOnce }, (_, nth) => `r${round}x${nth}n${atOnce}w${name.length}`);
      const start = performance.now();
      await Promise.all(ids.map(way.up));
      const up = performance.now();
      await Promise.all(ids.map(way.down));
      if (round < WARM_UP) continue;
      times[name]?.up.push((up - start) / atOnce);
      times[name]?.down.push((performance.now() - up) / atOnce);
    }
    turns.push(...turns.splice(0, 1));
  }
  return times;
}

function report(atOnce: number, times: Readonly<Record<string, Times>>, least: string): unknown {
  const rows = Object.entries(times).map(([name, own]) => {
    const ratio = (what: keyof Times) =>
      quantile(own[what].map((ms, round) => ms / (times[least]?.[what][round] ?? NaN)), 0.5);
    return {
      name,
      up: quantile(own.up, 0.5),
      down: quantile(own.down, 0.5),
      ratio: { up: ratio("up"), down: ratio("down") },
    };
  });
  if (AS_JSON) return { atOnce, least, rows };
  console.log(`\n${atOnce} at a time, a pod: medians of ${ROUNDS} rounds, and of the ratios to "${least}"`);
  for (const { name, up, down, ratio } of rows) {
    const cell = (ms: number, x: number) => `${ms.toFixed(2).padStart(8)} ms ${x.toFixed(2).padStart(6)}`;
    console.log(`  ${name.padEnd(26)} set-up ${cell(up, ratio.up)}   tear-down ${cell(down, ratio.down)}`);
  }
  return undefined;
}

async function compare(world: World): Promise<void> {
  await Deno.mkdir(`${world.dir}/netns`);
  await bridgeNetwork(world, "one", { more: { isGateway: true, isDefaultGateway: true } });
  // What is not the default runs programs elsewhere, for all that is known, and so does not stand for netlink.
  const programs: RunCommand = (request) => runCommand(request);
  const [flavour] = FLAVOURS;
  if (flavour === undefined) throw new Error("there are no plugins");
  const netnsDir = `${world.dir}/netns`;
  const byPrograms = podwireWay(runtimeOf(world, flavour, { run: programs, netnsDir }));
  // Makes the bridge.
  await byPrograms.up("first");
  await byPrograms.down("first");
  const ways = {
    ...(HAS_LIBC ? { "podwire, netlink": podwireWay(runtimeOf(world, flavour, { netnsDir })) } : {}),
    "podwire, programs": byPrograms,
    "namespace and ip -batch": batchWay(world),
    "setsid, a synced write": spawnWay(world),
  };
  const reports: unknown[] = [];
  for (const atOnce of AT_ONCE) {
    reports.push(report(atOnce, await measure(ways, atOnce), "namespace and ip -batch"));
  }
  if (AS_JSON) console.log(JSON.stringify(reports));
  await sh(`while umount -l ${netnsDir} 2>/dev/null; do :; done`);
}

if (import.meta.main) await inWorld(compare)();
