// The daemon puts back by itself what a flush of all rules took: until its last event, and what that cost it.
import type { JsonObject } from "../../lib/cni/json.ts";
import { DaemonClient } from "../../lib/daemon/client.ts";
import { Podwire } from "../../lib/runtime/podwire.ts";
import { DaemonProcess } from "../root/daemon_world.ts";
import { EventReader } from "../root/event_reader.ts";
import { missing } from "../root/need.ts";
import type { Bench, Measure } from "./bench.ts";
import type { Figures } from "./goals.ts";
import { bareStart } from "./least.ts";
import { median } from "./median.ts";
import { cpuMs } from "./process_cost.ts";
import { bridgePlugin, NETWORK, Site } from "./site.ts";

const PORTS = 1_000;
const FIRST_PORT = 20_000;
/** More repairs in a row are delayed, because another program may remove the rules each time. */
const MOST_ROUNDS = 4;

type Backend = "iptables" | "nftables";

/** Measures the rows of the repair. */
export const measureRepair: Measure<"repair"> = async (bench, wanted) => {
  const lacking = missing(["iptables", "nft"]);
  if (lacking.length > 0) throw new Error(`this machine lacks ${lacking.join(" and ")}`);
  const figures: Figures<"repair"> = {};
  if (wanted.has("iptables") || wanted.has("cpu")) {
    const { ms, cpu } = await flushOf(bench, "iptables", { pods: 100 });
    if (wanted.has("iptables")) figures.iptables = ms;
    if (wanted.has("cpu")) figures.cpu = cpu;
  }
  if (wanted.has("nftables")) figures.nftables = (await flushOf(bench, "nftables", { pods: 100 })).ms;
  if (wanted.has("manyPods")) figures.manyPods = (await flushOf(bench, "iptables", { pods: PORTS })).ms;
  return figures;
};

const plugins = (backend: Backend) => (site: Site): readonly JsonObject[] => [
  { ...bridgePlugin(site), ipMasq: true, ipMasqBackend: backend },
  { type: "portmap", backend, capabilities: { portMappings: true } },
  { type: "firewall", backend },
];

/** The median of the milliseconds of a repair, of the clock and of the daemon's processor time. */
async function flushOf(
  bench: Bench,
  backend: Backend,
  { pods }: { readonly pods: number },
): Promise<{ readonly ms: number; readonly cpu: number }> {
  const site = await Site.make(bench, { plugins: plugins(backend) });
  const { sandboxes } = new Podwire({ ...site.options, builtinPolicy: "prefer" });
  const ids = Array.from({ length: pods }, (_, pod) => `pod${pod}`);
  for (const [pod, id] of ids.entries()) {
    await sandboxes.run({ name: id, id, networks: [{ name: NETWORK, publish: portsOf(pod, PORTS / pods) }] });
  }
  const times = { ms: [] as number[], cpu: [] as number[] };
  await using daemon = await DaemonProcess.start(site.daemonWorld, ["--builtin=prefer"]);
  using events = await EventReader.open(daemon);
  for (let round = 0; round < Math.min(bench.rounds, MOST_ROUNDS); round++) {
    const before = await cpuMs(daemon.child.pid);
    const start = performance.now();
    await bareStart("nft", ["flush", "ruleset"]);
    const left = new Set(ids);
    while (left.size > 0) {
      const { containerId } = await events.next(
        "repaired",
        ({ type, state }) => type === "drift" && state === "repaired",
      );
      left.delete(containerId);
    }
    times.ms.push(performance.now() - start);
    times.cpu.push(await cpuMs(daemon.child.pid) - before);
  }
  const client = new DaemonClient(daemon.socket);
  for (const id of ids) await client.remove(id);
  await daemon.end();
  bench.say(
    `${backend}, ${pods} pods: ${times.ms.map(Math.round)} ms, of the daemon's processor ${times.cpu} ms`,
  );
  return { ms: median(times.ms), cpu: median(times.cpu) };
}

/** Every second port, because neighbours would be one range. */
function portsOf(pod: number, count: number): string[] {
  return Array.from(
    { length: count },
    (_, port) => `${FIRST_PORT + 2 * (pod * count + port)}:${1_000 + 2 * port}`,
  );
}
