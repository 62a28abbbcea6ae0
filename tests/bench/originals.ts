// The engine with the original plugins, in a namespace that is there, against the peer and against their bare starts.
import type { JsonObject } from "../../lib/cni/json.ts";
import { Pods } from "../../lib/runtime/pods.ts";
import { CNI_1_9_1, missing } from "../root/need.ts";
import type { Measure } from "./bench.ts";
import { compareWays, type Comparison } from "./compare.ts";
import type { GOALS } from "./goals.ts";
import type { Way } from "./in_turn.ts";
import { startThroughSetsid, syncedWrite } from "./least.ts";
import { namespaces, podsWay } from "./pods_way.ts";
import { bridgePlugin, IF_NAME, NETWORK, Site } from "./site.ts";

type Name = "podwire" | "peer" | "least";

const of = (
  step: "up" | "check" | "down",
  against: Name,
) => ({ way: "podwire", against, atOnce: 8, step } as const);

const ROWS: Readonly<Record<keyof typeof GOALS.originals, Comparison<Name>>> = {
  up: of("up", "peer"),
  check: of("check", "peer"),
  down: of("down", "peer"),
  upLeast: of("up", "least"),
  checkLeast: of("check", "least"),
  downLeast: of("down", "least"),
};
const CNI_VERSION = "1.0.0";

const chain = (site: Site): readonly JsonObject[] => [
  bridgePlugin(site),
  { type: "portmap", capabilities: { portMappings: true } },
  { type: "tuning", sysctl: { "net.core.somaxconn": "500" } },
];

/** Measures the rows of the original plugins. */
export const measureOriginals: Measure<"originals"> = async (bench, wanted) => {
  if (missing(["cni-1.9.1"]).length > 0) throw new Error("the original plugins are missing on this machine");
  const netns = await namespaces(bench, "originals");
  const site = () => Site.make(bench, { plugins: chain, cniVersion: CNI_VERSION });
  await using pods = await Pods.open({ ...(await site()).options, builtinPolicy: "off" });
  const ways = {
    podwire: podsWay(pods, netns),
    least: leastWay(await site(), netns),
    ...(bench.peer === undefined ? {} : { peer: (await site()).peerWay(bench.peer, netns) }),
  };
  return await compareWays(ROWS, wanted, ways, bench.rounds);
};

/** The same starts of the same plugins, and nothing else but a synced write where an engine needs one. */
function leastWay(site: Site, netns: (place: number) => string): Way {
  const plugins = chain(site);
  const results = new Map<string, unknown>();
  const call = async (verb: string, pod: string, place: number, plugin: JsonObject, prevResult: unknown) => {
    const stdin = JSON.stringify({
      ...plugin,
      ...{ cniVersion: CNI_VERSION, name: NETWORK, prevResult },
    });
    const env = {
      ...{ CNI_COMMAND: verb, CNI_CONTAINERID: pod, CNI_NETNS: netns(place), CNI_IFNAME: IF_NAME },
      ...{ CNI_PATH: CNI_1_9_1 },
    };
    return await startThroughSetsid(`${CNI_1_9_1}/${plugin.type}`, { stdin, env });
  };
  const each = async (verb: string, pod: string, place: number, order: readonly JsonObject[]) => {
    for (const plugin of order) await call(verb, pod, place, plugin, results.get(pod));
  };
  return {
    up: async (pod, place) => {
      await syncedWrite(site.dir, pod, "{}\n");
      for (const plugin of plugins) {
        results.set(pod, JSON.parse(await call("ADD", pod, place, plugin, results.get(pod))));
      }
    },
    check: (pod, place) => each("CHECK", pod, place, plugins),
    down: async (pod, place) => {
      await each("DEL", pod, place, plugins.toReversed());
      results.delete(pod);
      await Deno.remove(`${site.dir}/${pod}`);
    },
  };
}
