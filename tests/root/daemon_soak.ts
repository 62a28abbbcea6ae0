/**
 * Many requests of many clients at once, most of them reads, while memory and descriptors of the daemon are
 * measured: `./denow task soak [REQUESTS [CLIENTS]]`, 24,000 and 32 by default. Needs root.
 */
import { fromFileUrl } from "@std/path";
import { randomOf } from "../cni/random.ts";
import { BinaryWorld, sh } from "./binary_world.ts";
import { loadNetworks } from "./daemon_load.ts";
import { type Answered, DaemonProcess, leftIn, writeAll } from "./daemon_world.ts";

/** The load, and its options. */
export interface SoakOptions {
  readonly requests: number;
  readonly clients: number;
  /** By how much more than a tenth of itself the memory may grow between the thirds. @default {16} */
  readonly growthMiB?: number;
}

/** A sample of the daemon at one moment. */
export interface Sample {
  readonly requests: number;
  readonly seconds: number;
  readonly rssKiB: number;
  readonly descriptors: number;
}

/** The result of the load. */
export interface SoakReport {
  readonly samples: readonly Sample[];
  readonly errors: readonly string[];
  readonly counts: ReadonlyMap<string, number>;
  /** The longest answers of all: the median, 99 of 100, the last, in milliseconds. */
  readonly ms: readonly [median: number, p99: number, longest: number];
  /** How often a listener of events connected and left, and how many events they got. */
  readonly listeners: number;
  readonly events: number;
  /** How many sandboxes came from the pool. */
  readonly handedOut: number;
  /** Beside what the daemon has open at rest, once all clients have left. */
  readonly descriptorsLeft: number;
  readonly left: readonly string[];
}

/** How often memory and descriptors are read in all. */
const SAMPLES = 30;
/** The daemon begins to watch the records for the first listener, which takes it a moment under load. */
const LISTENING_MS = 3_000;
/** The share of the requests during which the daemon still warms up. */
const WARM_UP = 0.2;
/** Of so many requests, one creates a sandbox and one removes it. */
const RUN_PERCENT = 2;
/** Sandboxes that are kept ready. */
const POOL = 8;
const QUESTIONS = [
  "/healthz",
  "/metrics",
  "/openapi.json",
  "/v1/networks",
  "/v1/status",
  "/v1/attachments",
  "/v1/sandboxes",
  "/v1/sandboxes?label=app%3Dsoak",
  "/v1/sandboxes?state=ready",
];

class Soak {
  readonly samples: Sample[] = [];
  readonly errors: string[] = [];
  readonly counts = new Map<string, number>();
  readonly times: number[] = [];
  readonly #started = performance.now();
  listeners = 0;
  events = 0;
  #begun = 0;
  #done = 0;
  #over = false;

  constructor(readonly world: BinaryWorld, readonly daemon: DaemonProcess, readonly options: SoakOptions) {}

  async run(): Promise<void> {
    const listening = this.#listen();
    const { clients } = this.options;
    await Promise.all(Array.from({ length: clients }, (_, index) => this.#client(index)));
    this.#over = true;
    await listening;
  }

  async #client(index: number): Promise<void> {
    const random = randomOf(index + 1);
    let own: string | undefined;
    for (let made = 0; this.#begun < this.options.requests;) {
      if (random.chance(2 * RUN_PERCENT)) {
        if (own === undefined) {
          const name = this.world.id(`s${index}-${made++}`);
          const answer = await this.#ask(201, "POST", "/v1/sandboxes", {
            // A request without an ID gets a warm sandbox, if there is one.
            ...(random.chance(50) ? { id: name } : {}),
            name,
            labels: { app: "soak" },
            networks: [{ name: this.world.network }],
          });
          own = answer?.json?.id;
        } else {
          await this.#ask(204, "DELETE", `/v1/sandboxes/${own}`);
          own = undefined;
        }
      } else if (own !== undefined && random.chance(20)) {
        await this.#ask(200, "GET", `/v1/sandboxes/${own}`);
      } else if (random.chance(3)) await this.#ask(404, "GET", "/v1/sandboxes/unknown");
      else await this.#ask(200, "GET", random.one(QUESTIONS));
    }
    if (own !== undefined) await this.#ask(204, "DELETE", `/v1/sandboxes/${own}`);
  }

  async #ask(
    status: number,
    method: string,
    target: string,
    body?: unknown,
  ): Promise<Answered | undefined> {
    this.#begun++;
    const started = performance.now();
    let answer: Answered | undefined;
    try {
      answer = await this.daemon.call(method, target, body);
      if (answer.status !== status) this.errors.push(`${method} ${target}: ${answer.status} ${answer.text}`);
    } catch (error) {
      this.errors.push(`${method} ${target}: ${error}`);
    }
    this.times.push(performance.now() - started);
    const what = `${method} ${target.replace(/\/v1\/sandboxes\/.*/, "/v1/sandboxes/{id}").split("?")[0]}`;
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
    this.#done++;
    if (this.#done % Math.max(Math.floor(this.options.requests / SAMPLES), 1) === 0) await this.#sample();
    return answer;
  }

  /** A listener of events connects, reads some, and leaves without notice. */
  async #listen(): Promise<void> {
    const buffer = new Uint8Array(64 * 1024);
    while (!this.#over) {
      using connection = await this.daemon.connect();
      await writeAll(connection, "GET /v1/events HTTP/1.1\r\nhost: podwire\r\n\r\n");
      this.listeners++;
      const goes = setTimeout(() => connection.close(), LISTENING_MS);
      try {
        for (let read = await connection.read(buffer); read !== null; read = await connection.read(buffer)) {
          this.events += new TextDecoder().decode(buffer.subarray(0, read)).split("\ndata:").length - 1;
        }
      } catch (error) {
        if (!(error instanceof Deno.errors.Interrupted || error instanceof Deno.errors.BadResource)) {
          this.errors.push(`events: ${error}`);
        }
      } finally {
        clearTimeout(goes);
      }
    }
  }

  async #sample(): Promise<void> {
    const requests = this.#done;
    const seconds = (performance.now() - this.#started) / 1_000;
    this.samples.push({ requests, seconds, ...await usage(this.daemon) });
  }
}

/** The memory of the daemon and its descriptors now. */
export async function usage(
  { child: { pid } }: DaemonProcess,
): Promise<Pick<Sample, "rssKiB" | "descriptors">> {
  const text = await sh(`awk '/^VmRSS:/ {print $2}' /proc/${pid}/status; ls /proc/${pid}/fd | wc -l`);
  const [rssKiB = Number.NaN, descriptors = Number.NaN] = text.trim().split("\n").map(Number);
  return { rssKiB, descriptors };
}

/** Starts a daemon, sends it that many requests, and ends it. */
export async function soak(options: SoakOptions, world: BinaryWorld): Promise<SoakReport> {
  await loadNetworks(world);
  await using daemon = await DaemonProcess.start(world, [
    "--builtin=prefer",
    `--pool=${world.network}=${POOL}`,
  ]);
  const before = await settledDescriptors(daemon);
  const own = new Soak(world, daemon, options);
  await own.run();
  const after = await settledDescriptors(daemon, before);
  const { text } = await daemon.call("GET", "/metrics");
  const [, handedOut = 0] = /^podwire_pool_handed_out_total\{[^}]*\} (\d+)$/m.exec(text) ?? [];
  await daemon.end();
  const times = own.times.sort((a, b) => a - b);
  const at = (part: number) => times[Math.min(Math.floor(times.length * part), times.length - 1)] ?? 0;
  return {
    samples: own.samples,
    errors: own.errors,
    counts: own.counts,
    ms: [at(0.5), at(0.99), at(1)],
    listeners: own.listeners,
    events: own.events,
    handedOut: Number(handedOut),
    descriptorsLeft: after - before,
    left: await leftIn(world),
  };
}

/** The number of open descriptors at rest. The daemon notices only later that a client has left. */
export async function settledDescriptors(daemon: DaemonProcess, atMost = 0): Promise<number> {
  let least = Infinity;
  for (let tries = 0; tries < (atMost > 0 ? 600 : 50) && least > atMost; tries++) {
    await daemon.call("GET", "/healthz");
    least = Math.min(least, (await usage(daemon)).descriptors);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return least;
}

/** The median of the first third after the warm-up, and of the last third. */
export function thirds(samples: readonly Sample[], member: "rssKiB" | "descriptors"): [number, number] {
  const warm = samples.slice(Math.floor(samples.length * WARM_UP)).map((sample) => sample[member]);
  const third = Math.max(Math.floor(warm.length / 3), 1);
  return [median(warm.slice(0, third)), median(warm.slice(-third))];
}

/** The problems of a report. */
export function faultsOf(
  report: SoakReport,
  { requests, clients, growthMiB = 16 }: SoakOptions,
): string[] {
  const [early, late] = thirds(report.samples, "rssKiB");
  const [first, last] = thirds(report.samples, "descriptors");
  const answered = [...report.counts.values()].reduce((sum, count) => sum + count, 0);
  return [
    ...report.errors.slice(0, 10),
    ...report.left.map((line) => `left: ${line}`),
    ...(answered >= requests ? [] : [`only ${answered} requests of ${requests}`]),
    ...(late <= early * 1.1 + growthMiB * 1024 ? [] : [`memory grew from ${early} to ${late} KiB`]),
    // Requests in progress have connections and plugins, now more and now less.
    ...(last <= first + 3 * clients ? [] : [`descriptors grew from ${first} to ${last}`]),
    ...(report.descriptorsLeft <= 2 ? [] : [`${report.descriptorsLeft} descriptors are left open`]),
  ];
}

/** The report for people. */
export function soakTable(report: SoakReport): string {
  const { samples, counts, ms: [half, most, longest], listeners, events, handedOut } = report;
  const [early, late] = thirds(samples, "rssKiB").map((kib) => (kib / 1024).toFixed(1));
  const [first, last] = thirds(samples, "descriptors");
  return [
    "requests  seconds  VmRSS MiB  descriptors",
    ...samples.map(({ requests, seconds, rssKiB, descriptors }) =>
      `${String(requests).padStart(8)}${seconds.toFixed(1).padStart(9)}${
        (rssKiB / 1024).toFixed(1).padStart(11)
      }${String(descriptors).padStart(13)}`
    ),
    ...[...counts].sort().map(([what, count]) => `${String(count).padStart(8)}  ${what}`),
    `answers: median ${half.toFixed(1)} ms, 99 % within ${most.toFixed(1)} ms, longest ${
      longest.toFixed(0)
    } ms`,
    `${handedOut} sandboxes were ready before they were asked for`,
    `${listeners} listeners came and went and heard ${events} events`,
    `medians of the first third after the warm-up and of the last: ${early} and ${late} MiB, ${first} and ${last} descriptors`,
    `descriptors after all had left, beside those before: ${report.descriptorsLeft}`,
  ].join("\n");
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}

async function main(): Promise<number> {
  const [requests = 24_000, clients = 32] = Deno.args.map(Number);
  const world = new BinaryWorld(await Deno.makeTempDir({ prefix: "pwt-" }));
  try {
    const report = await soak({ requests, clients }, world);
    console.log(soakTable(report));
    const faults = faultsOf(report, { requests, clients });
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
