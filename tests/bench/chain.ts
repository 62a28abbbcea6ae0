// Pods of a chain of plugins as nodes have it, with rules of the host and parameters of the kernel, against the peer.
import type { JsonObject } from "../../lib/cni/json.ts";
import { missing } from "../root/need.ts";
import type { Measure } from "./bench.ts";
import { compareWays, type Comparison } from "./compare.ts";
import type { GOALS } from "./goals.ts";
import { sandboxWay } from "./pods.ts";
import { bridgePlugin, Site } from "./site.ts";

type Name = "builtin" | "peer";

const up = (atOnce: number) => ({ way: "builtin", against: "peer", atOnce, step: "up" } as const);
const down = (atOnce: number) => ({ way: "builtin", against: "peer", atOnce, step: "down" } as const);

const ROWS: Readonly<Record<keyof typeof GOALS.chain, Comparison<Name>>> = {
  up1: up(1),
  up8: up(8),
  down1: down(1),
  down8: down(8),
};

const plugins = (site: Site): readonly JsonObject[] => [
  { ...bridgePlugin(site), ipMasq: true },
  { type: "portmap", capabilities: { portMappings: true } },
  { type: "firewall" },
  { type: "tuning", sysctl: { "net.core.somaxconn": "500" } },
];

/** Measures the rows of the chain. */
export const measureChain: Measure<"chain"> = async (bench, wanted) => {
  const lacking = missing(["cni-1.9.1", "iptables"]);
  if (lacking.length > 0) throw new Error(`this machine lacks ${lacking.join(" and ")}`);
  const site = () => Site.make(bench, { plugins });
  const ways = {
    builtin: await sandboxWay(await site()),
    ...(bench.peer === undefined ? {} : { peer: (await site()).peerWay(bench.peer) }),
  };
  return await compareWays(ROWS, wanted, ways, bench.rounds);
};
