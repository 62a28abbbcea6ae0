/**
 * Storms of calls of the CRI that their client cancels, against the compiled program and the kernel, while memory and descriptors
 * of the daemon are measured: `./denow task soak:cri [CALLS [CLIENTS]]`, 5,000 calls in each of three storms and 48 clients by
 * default. Needs root.
 */
import { fromFileUrl } from "@std/path";
import { podConfig, startCri, worldWithNetwork } from "../cri/cri_world.ts";
import { GrpcClient } from "../cri/grpc_client.ts";
import { parseExposition } from "../daemon/prometheus_text.ts";
import { BinaryWorld, until } from "./binary_world.ts";
import { type Sample, settledDescriptors, usage } from "./daemon_soak.ts";
import { type DaemonProcess, leftIn } from "./daemon_world.ts";

/** The storms, and their options. */
export interface StormOptions {
  /** Of each storm. */
  readonly calls: number;
  readonly clients: number;
  /** By how much more than a tenth of itself the memory may grow after the first storm. @default {16} */
  readonly growthMiB?: number;
}

/** The daemon after a storm, at rest. */
export interface StormSample extends Pick<Sample, "seconds" | "rssKiB" | "descriptors"> {
  /** How often each status reached the client. */
  readonly codes: ReadonlyMap<string, number>;
  /** How many calls the daemon has seen. */
  readonly met: number;
}

/** The result of the storms. */
export interface StormReport {
  readonly storms: readonly StormSample[];
  readonly errors: readonly string[];
  readonly left: readonly string[];
}

const STORMS = 3;
/** The cancels are spread over the time that a sandbox takes: before it arrives, while it is made, and when it is ready. */
const STEP = (Math.sqrt(5) - 1) / 2;
/** The server may end a connection with too many resets, and its other calls with it; and it has a limit of calls at once. */
const ENDED = ["OK", "CANCELLED", "UNAVAILABLE", "INTERNAL", "RESOURCE_EXHAUSTED"];
/** The share of the calls that the daemon must see at least: the others were cancelled before they were sent. */
const LEAST_MET = 0.3;
const PATIENCE_MS = 300_000;

/** Starts a daemon, cancels that many calls of each storm, and ends it. */
export async function stormCri(options: StormOptions, world: BinaryWorld): Promise<StormReport> {
  await worldWithNetwork(world);
  await using cri = await startCri(world);
  const { client, daemon, socket } = cri;
  await settledDescriptors(daemon);
  const latestMs = await longestRun(client, options.clients);
  const errors: string[] = [];
  const storms: StormSample[] = [];
  for (let storm = 0; storm < STORMS; storm++) {
    const [started, before] = [performance.now(), await callsOf(daemon)];
    const codes = await oneStorm(socket, storm, { ...options, latestMs }, errors);
    const seconds = (performance.now() - started) / 1_000;
    await until("all is undone", () => isAtRest(world, client), PATIENCE_MS).catch(async (error) => {
      throw new Error(`${error.message}: ${(await leftIn(world)).slice(0, 10).join("; ")}`);
    });
    const met = await callsOf(daemon) - before;
    const { descriptors: most = Infinity } = storms[0] ?? {};
    const descriptors = await settledDescriptors(daemon, most === Infinity ? 0 : most);
    storms.push({ codes, met, seconds, descriptors, rssKiB: (await usage(daemon)).rssKiB });
  }
  const lines = await daemon.end();
  errors.push(...lines.filter(({ level }) => level === "error").map(({ msg }) => `log: ${msg}`));
  return { storms, errors, left: await leftIn(world) };
}

/** How long a sandbox takes at the most, in milliseconds, when so many are made at once. */
async function longestRun(client: GrpcClient, atOnce: number): Promise<number> {
  const started = performance.now();
  const names = Array.from({ length: atOnce }, (_, index) => `first-${index}`);
  const made = await Promise.all(
    names.map((name) => client.ok("RunPodSandbox", { config: podConfig(name) })),
  );
  const ms = performance.now() - started;
  await Promise.all(made.map((answer) => client.ok("RemovePodSandbox", answer)));
  return ms;
}

/** The client of a storm is a process of its own, which ends with it. */
async function oneStorm(
  socket: string,
  storm: number,
  { calls, clients, latestMs }: StormOptions & { readonly latestMs: number },
  errors: string[],
): Promise<ReadonlyMap<string, number>> {
  await using client = GrpcClient.start(socket);
  const codes = new Map<string, number>();
  let next = 0;
  const worker = async () => {
    for (let call = next++; call < calls; call = next++) {
      const config = podConfig(`s${storm}-${call}`);
      const cancelAfterMs = 1 + Math.floor(latestMs * ((call * STEP) % 1));
      const { code, details, response } = await client.call("RunPodSandbox", { config }, { cancelAfterMs });
      codes.set(code, (codes.get(code) ?? 0) + 1);
      if (!ENDED.includes(code)) errors.push(`${code}: ${details}`);
      // It was faster than its cancel.
      if (code === "OK") await client.ok("RemovePodSandbox", response);
    }
  };
  await Promise.all(Array.from({ length: clients }, worker));
  return codes;
}

/**
 * No sandbox is left, and nothing of one. A call that became ready in the moment of its cancel is a sandbox that no client knows:
 * a kubelet finds it in the list, as this does.
 */
async function isAtRest(world: BinaryWorld, client: GrpcClient): Promise<boolean> {
  const { items } = await client.ok("ListPodSandbox");
  await Promise.all(
    items.map(({ id }: { id: string }) => client.ok("RemovePodSandbox", { pod_sandbox_id: id })),
  );
  return (await leftIn(world)).length === 0;
}

/** How many calls for a sandbox the daemon has answered. */
async function callsOf(daemon: DaemonProcess): Promise<number> {
  const families = parseExposition((await daemon.call("GET", "/metrics")).text);
  const samples = families.get("podwire_cri_calls_total")?.samples ?? [];
  return samples.filter(({ labels }) => labels.get("method") === "RunPodSandbox")
    .reduce((sum, { value }) => sum + value, 0);
}

/** The problems of a report. */
export function stormFaultsOf(
  { storms, errors, left }: StormReport,
  { calls, growthMiB = 16 }: StormOptions,
): string[] {
  const [first, last] = [storms[0], storms.at(-1)];
  if (first === undefined || last === undefined) return ["there was no storm"];
  return [
    ...errors.slice(0, 10),
    ...left.map((line) => `left: ${line}`),
    ...storms.filter(({ met }) => met < calls * LEAST_MET).map(({ met }) => `only ${met} calls were met`),
    ...(last.rssKiB <= first.rssKiB * 1.1 + growthMiB * 1024
      ? []
      : [`memory grew from ${first.rssKiB} to ${last.rssKiB} KiB`]),
    ...(last.descriptors <= first.descriptors + 2
      ? []
      : [`descriptors grew from ${first.descriptors} to ${last.descriptors}`]),
  ];
}

/** The report for people. */
export function stormTable({ storms }: StormReport): string {
  return [
    "  calls    met  seconds  VmRSS MiB  descriptors  statuses",
    ...storms.map(({ codes, met, seconds, rssKiB, descriptors }) => {
      const calls = [...codes.values()].reduce((sum, count) => sum + count, 0);
      const numbers = [
        String(calls).padStart(7),
        String(met).padStart(7),
        seconds.toFixed(1).padStart(9),
        (rssKiB / 1024).toFixed(1).padStart(11),
        String(descriptors).padStart(13),
      ].join("");
      return `${numbers}  ${[...codes].sort().map(([code, count]) => `${code} ${count}`).join(", ")}`;
    }),
  ].join("\n");
}

async function main(): Promise<number> {
  const [calls = 5_000, clients = 48] = Deno.args.map(Number);
  const world = new BinaryWorld(await Deno.makeTempDir({ prefix: "pwt-" }));
  try {
    const report = await stormCri({ calls, clients }, world);
    console.log(stormTable(report));
    const faults = stormFaultsOf(report, { calls, clients });
    for (const fault of faults) console.log(`FAULT: ${fault}`);
    console.log(`${report.errors.length} errors, ${faults.length} faults`);
    return faults.length === 0 ? 0 : 1;
  } finally {
    await world.clean();
    await Deno.remove(world.dir, { recursive: true });
  }
}

if (import.meta.main) {
  Deno.chdir(fromFileUrl(new URL("../..", import.meta.url)));
  Deno.exit(await main());
}
