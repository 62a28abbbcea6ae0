// The engine alone: a plugin that does nothing, in a namespace that is there, against the least and against the peer.
import { Pods } from "../../lib/runtime/pods.ts";
import type { Measure } from "./bench.ts";
import { compareWays, type Comparison } from "./compare.ts";
import type { GOALS } from "./goals.ts";
import type { Way } from "./in_turn.ts";
import { startThroughSetsid, syncedWrite } from "./least.ts";
import { namespaces, podsWay } from "./pods_way.ts";
import { nothingDir, Site } from "./site.ts";

type Name = "disk" | "memory" | "least" | "peerOnDisk" | "peerInMemory";

const up = (way: Name, against: Name, atOnce: number) => ({ step: "up", way, against, atOnce } as const);

const ROWS: Readonly<Record<keyof typeof GOALS.engine, Comparison<Name>>> = {
  least1: up("disk", "least", 1),
  least8: up("disk", "least", 8),
  disk1: up("disk", "peerOnDisk", 1),
  disk8: up("disk", "peerOnDisk", 8),
  memory1: up("memory", "peerInMemory", 1),
  memory8: up("memory", "peerInMemory", 8),
};

/** Measures the rows of the engine. */
export const measureEngine: Measure<"engine"> = async (bench, wanted) => {
  const netns = await namespaces(bench, "engine");
  const dir = await nothingDir(bench);
  const site = (inMemory: boolean) =>
    Site.make(bench, { inMemory, plugins: () => [{ type: "nothing" }], pluginDirs: [dir] });
  await using onDisk = await Pods.open((await site(false)).options);
  await using inMemory = await Pods.open((await site(true)).options);
  const { peer } = bench;
  const ways = {
    disk: podsWay(onDisk, netns),
    memory: podsWay(inMemory, netns),
    least: leastWay(`${dir}/nothing`, (await site(false)).dir),
    ...(peer === undefined ? {} : {
      peerOnDisk: (await site(false)).peerWay(peer, netns),
      peerInMemory: (await site(true)).peerWay(peer, netns),
    }),
  };
  return await compareWays(ROWS, wanted, ways, bench.rounds);
};

function leastWay(plugin: string, dir: string): Way {
  return {
    up: async (pod) => {
      await syncedWrite(dir, pod, "{}\n");
      await startThroughSetsid(plugin, { stdin: "{}" });
    },
    down: (pod) => Deno.remove(`${dir}/${pod}`),
  };
}
