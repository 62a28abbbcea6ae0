// Compares the time for a warm sandbox of the pool with that for one that is made for the request, of a daemon in
// another process, over its socket; on the disk and in memory. They alternate, and nothing is made
// meanwhile. The time in the log of the daemon is without the socket and its client. Needs root: `./denow task
// bench`, or this file alone with the number of rounds.
import { parseExposition, valueOf } from "../daemon/prometheus_text.ts";
import { BinaryWorld, sh } from "../root/binary_world.ts";
import { DaemonProcess } from "../root/daemon_world.ts";
import { quantile } from "./quantile.ts";

const ROUNDS = Number(Deno.args[0] ?? 51);
const WARM_UP = 3;
const SIZE = 4;
const PATIENCE_MS = 60_000;

/** The outcome of each request, by the name of its sandbox. */
const BODIES = { "from the pool": {}, "made for it": { uid: "given" } };
type Kind = keyof typeof BODIES;

class Client implements Disposable {
  readonly #client: Deno.HttpClient;

  constructor(socket: string) {
    this.#client = Deno.createHttpClient({ proxy: { transport: "unix", path: socket } });
  }

  async call(method: string, path: string, body?: unknown, id = "-"): Promise<string> {
    const response = await fetch(`http://podwire${path}`, {
      method,
      client: this.#client,
      headers: { "x-request-id": id },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text;
  }

  async pooled(network: string): Promise<number> {
    const families = parseExposition(await this.call("GET", "/metrics"));
    return valueOf(families, "podwire_pool_sandboxes", { network }) ?? 0;
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

async function measure(title: string, dir: string): Promise<void> {
  const world = new BinaryWorld(dir);
  try {
    await world.list([world.bridgePlugin({ ipMasq: false })]);
    const args = ["--builtin=prefer", `--pool=${world.network}=${SIZE}`];
    await using daemon = await DaemonProcess.start(world, args);
    using client = new Client(daemon.socket);
    const times: Record<Kind, number[]> = { "from the pool": [], "made for it": [] };
    for (let round = 0; round < ROUNDS + WARM_UP; round++) {
      for (const kind of Object.keys(BODIES) as Kind[]) {
        await filled(client, world.network);
        const name = `${kind.replaceAll(" ", "-")}-${round}`;
        const start = performance.now();
        await client.call("POST", "/v1/sandboxes", { name, ...BODIES[kind] }, name);
        const ms = performance.now() - start;
        // The first requests fill caches.
        if (round >= WARM_UP) times[kind].push(ms);
        await client.call("DELETE", `/v1/sandboxes/${name}`);
      }
    }
    const log = await daemon.end();
    report(
      title,
      times,
      (kind) =>
        log.filter(({ method, status, id }) =>
          method === "POST" && status === 201 && String(id).startsWith(kind.replaceAll(" ", "-"))
        ).slice(WARM_UP).map(({ ms }) => Number(ms)),
    );
  } finally {
    await world.clean();
  }
}

async function filled(client: Client, network: string): Promise<void> {
  for (const end = performance.now() + PATIENCE_MS; await client.pooled(network) < SIZE;) {
    if (performance.now() > end) throw new Error("the pool is not filled");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function report(title: string, times: Record<Kind, readonly number[]>, inDaemon: (kind: Kind) => number[]) {
  console.log(`\n${title}: ms, medians of ${ROUNDS} (10 % to 90 %)`);
  const rows = { "over the socket": (kind: Kind) => times[kind], "in the daemon": inDaemon };
  for (const [where, of] of Object.entries(rows)) {
    for (const kind of Object.keys(BODIES) as Kind[]) {
      const [low, median, high] = [0.1, 0.5, 0.9].map((part) => quantile(of(kind), part).toFixed(1));
      console.log(
        `  ${where.padEnd(15)} ${kind.padEnd(13)} ${median?.padStart(7)}  (${low} to ${high})`,
      );
    }
    const ratio = quantile(of("made for it"), 0.5) / quantile(of("from the pool"), 0.5);
    console.log(`  ${where.padEnd(15)} made for it / from the pool ${ratio.toFixed(1)}`);
  }
}

async function main(): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "pwt-" });
  try {
    await Deno.mkdir(`${dir}/disk`);
    await Deno.mkdir(`${dir}/memory`);
    await sh(`mount -t tmpfs -o mode=0700 podwire-bench ${dir}/memory`);
    await measure("pool, on the disk", `${dir}/disk`);
    await measure("pool, in memory", `${dir}/memory`);
  } finally {
    // Unmounts also what a failure left mounted, the innermost first.
    await sh(`grep -o ' ${dir}[^ ]*' /proc/mounts | sort -r | xargs -r umount -l; rm -rf ${dir}`);
  }
}

if (import.meta.main) await main();
