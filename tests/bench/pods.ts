// Pods of the built-in plugins (a namespace, a pair on a bridge, an address by host-local, a route), made by netlink and by
// programs, against the peer and against the least that such a pod needs.
import { type Cidr, type Ip, parseCidr, parseIp } from "../../lib/cni/address.ts";
import { type RunCommand, runCommand } from "../../lib/host/command.ts";
import type { RuntimeOptions } from "../../lib/runtime/options.ts";
import { Podwire } from "../../lib/runtime/podwire.ts";
import type { Measure } from "./bench.ts";
import { compareWays, type Comparison } from "./compare.ts";
import type { GOALS } from "./goals.ts";
import type { Way } from "./in_turn.ts";
import { ipBatch } from "./least.ts";
import { NetlinkLoop } from "./netlink_loop.ts";
import { bridgePlugin, IF_NAME, NETWORK, Site } from "./site.ts";

type Name = "netlink" | "programs" | "batch" | "loop" | "peer";
type Rows = Readonly<Record<keyof typeof GOALS.pods, Comparison<Name>>>;

const up = (way: Name, against: Name, atOnce: number) => ({ step: "up", way, against, atOnce } as const);
const down = (against: Name, atOnce: number) => ({ step: "down", way: "netlink", against, atOnce } as const);
const cpu = (against: Name) => ({ step: "cpu", way: "netlink", against, atOnce: 8 } as const);

const ROWS: Rows = {
  up1: up("netlink", "peer", 1),
  up8: up("netlink", "peer", 8),
  up32: up("netlink", "peer", 32),
  programs1: up("programs", "peer", 1),
  programs8: up("programs", "peer", 8),
  down1: down("peer", 1),
  down8: down("peer", 8),
  cpu8: cpu("peer"),
  upBatch1: up("netlink", "batch", 1),
  upBatch8: up("netlink", "batch", 8),
  upBatch32: up("netlink", "batch", 32),
  upLoop1: up("netlink", "loop", 1),
  upLoop8: up("netlink", "loop", 8),
  upLoop32: up("netlink", "loop", 32),
  programsBatch1: up("programs", "batch", 1),
  programsBatch8: up("programs", "batch", 8),
  downBatch1: down("batch", 1),
  downBatch8: down("batch", 8),
  downLoop1: down("loop", 1),
  downLoop8: down("loop", 8),
  cpuBatch8: cpu("batch"),
};

/** Measures the rows of pods. */
export const measurePods: Measure<"pods"> = async (bench, wanted) => {
  // What is not the default runs programs elsewhere, for all that is known, and so does not stand for netlink.
  const programs: RunCommand = (request) => runCommand(request);
  const plugins = (site: Site) => [bridgePlugin(site)];
  const site = () => Site.make(bench, { plugins });
  const ways = {
    netlink: await sandboxWay(await site()),
    programs: await sandboxWay(await site(), { run: programs }),
    batch: await batchWay(await site()),
    loop: await loopWay(await site()),
    ...(bench.peer === undefined ? {} : { peer: (await site()).peerWay(bench.peer) }),
  };
  return await compareWays(ROWS, wanted, ways, bench.rounds);
};

/** Sandboxes of podwire with its built-in plugins, on the network of a site. */
export async function sandboxWay(site: Site, more: RuntimeOptions = {}): Promise<Way> {
  const podwire = new Podwire({ ...site.options, builtinPolicy: "prefer", ...more });
  const networks = [{ name: NETWORK, ifName: IF_NAME }];
  const way: Way = {
    up: (id) => podwire.sandboxes.run({ name: id, id, networks }),
    down: async (id) => {
      for (const failure of await podwire.sandboxes.remove(id, { force: true })) throw failure;
    },
  };
  // Makes the bridge.
  await way.up("first", 0);
  await way.down("first", 0);
  return way;
}

async function bridgeOf({ bridge, subnet }: Site): Promise<void> {
  await ipBatch([`link add ${bridge} up type bridge`, `address add ${subnet}.0.1/16 dev ${bridge}`]);
}

/** An address that no other pod has which is there at the same time. */
function addresses(subnet: string): () => string {
  let last = 1;
  return () => {
    last = 2 + (last - 1) % 60_000;
    return `${subnet}.${last >> 8}.${last & 255}`;
  };
}

/** The same pod without state and checks: one process of `ip` on each side. */
async function batchWay(site: Site): Promise<Way> {
  await bridgeOf(site);
  const next = addresses(site.subnet);
  return {
    up: async (pod) => {
      const peer = `peer name eth0 netns ${pod}`;
      await ipBatch([`netns add ${pod}`, `link add ${pod} master ${site.bridge} up type veth ${peer}`]);
      await ipBatch([
        "link set lo up",
        `address add ${next()}/16 dev eth0`,
        "link set eth0 up",
        `route add default via ${site.subnet}.0.1`,
      ], pod);
    },
    down: (pod) => ipBatch([`link delete ${pod}`, `netns delete ${pod}`]),
  };
}

async function loopWay(site: Site): Promise<Way> {
  await bridgeOf(site);
  const loop = new NetlinkLoop(site.bridge);
  const next = addresses(site.subnet);
  const gateway = known(parseIp(`${site.subnet}.0.1`));
  const of = (pod: string) => ({ netns: `${site.netnsDir}/${pod}`, host: pod });
  return {
    // A pod that is made in one turn of the loop delays no other one.
    up: (pod) =>
      Promise.try(() => loop.make({ ...of(pod), address: known(parseCidr(`${next()}/16`)), gateway })),
    down: (pod) => loop.remove(of(pod)),
  };
}

function known<T extends Cidr | Ip>(address: T | undefined): T {
  if (address === undefined) throw new Error("Cannot make a pod: it has no address");
  return address;
}
