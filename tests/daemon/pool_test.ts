import { assertEquals, assertRejects } from "@std/assert";
import { Catalog } from "../../lib/catalog/catalog.ts";
import { parseConfigList } from "../../lib/cni/config.ts";
import { CniError } from "../../lib/cni/error.ts";
import { type PoolOptions, WarmPool } from "../../lib/daemon/pool.ts";
import type { SandboxRequest } from "../../lib/sandbox/request.ts";
import { warmNetworkOf } from "../../lib/sandbox/warm_sandboxes.ts";
import { Lines } from "../attachment/world.ts";
import { until } from "../until.ts";
import { SANDBOX } from "./fake_context.ts";

/** Warm sandboxes that exist only as numbers. */
class Fake {
  readonly log = new Lines();
  readonly seen: string[] = [];
  readonly there = new Set<string>();
  readonly made: string[] = [];
  broken = new Set<string>();
  failing = false;
  ready = true;
  now = 0;
  checks = 0;
  atOnce = 0;
  most = 0;
  isClosed = false;
  #number = 0;

  async pool(more: Partial<PoolOptions> = {}): Promise<WarmPool> {
    const pool = new WarmPool({
      sizes: new Map([["net", 2]]),
      checkMs: 5,
      open: () =>
        Promise.resolve({
          networkOf: ({ networks = [] }) =>
            Promise.resolve(networks === "none" ? undefined : networks[0]?.name ?? "net"),
          make: async (network) => {
            this.most = Math.max(this.most, ++this.atOnce);
            await tick();
            this.atOnce--;
            if (this.failing) throw new CniError("plugin", "no room");
            const id = `s${++this.#number}`;
            this.made.push(id);
            this.there.add(id);
            return { id, network, config: "", netns: { path: `/n/${id}`, owned: true, id } };
          },
          isIntact: ({ id }) => {
            this.checks++;
            return Promise.resolve(!this.broken.has(id));
          },
          claim: async ({ id }, { name = "" }) => {
            await tick();
            if (name === "taken") throw new CniError("conflict", "the name is taken");
            if (this.broken.has(id)) return undefined;
            this.there.delete(id);
            return { ...SANDBOX, id, name };
          },
          tearDown: ({ id }) => {
            this.there.delete(id);
            return Promise.resolve([]);
          },
          [Symbol.asyncDispose]: () => {
            this.isClosed = true;
            return Promise.resolve();
          },
        }),
      isReady: () => Promise.resolve(this.ready),
      observer: {
        onPoolSize: (network, ready) => void this.seen.push(`${network} ${ready}`),
        onHandedOut: (network) => void this.seen.push(`${network} handed out`),
        onPoolMiss: (network, why) => void this.seen.push(`${network} missed ${why}`),
      },
      log: this.log,
      clock: {
        now: () => this.now,
        date: () => new Date(),
        after: () => ({ [Symbol.dispose]() {} }),
      },
      ...more,
    });
    await pool.start();
    return pool;
  }

  async run(pool: WarmPool, request: SandboxRequest = {}): Promise<string> {
    const ordinary = () => Promise.resolve({ ...SANDBOX, id: "ordinary" });
    return (await pool.run(request, ordinary)).id;
  }
}

const tick = () => new Promise((resolve) => setTimeout(resolve, 1));

Deno.test("a pool fills itself, no two requests get the same sandbox, and each sandbox is replaced", async () => {
  const fake = new Fake();
  {
    await using pool = await fake.pool({ sizes: new Map([["net", 5]]) });
    await until(() => fake.there.size === 5);
    assertEquals(fake.most, 2);
    const ids = await Promise.all(Array.from({ length: 5 }, () => fake.run(pool)));
    assertEquals([...ids].sort(), ["s1", "s2", "s3", "s4", "s5"]);
    assertEquals(await fake.run(pool, { networks: [{ name: "other" }] }), "ordinary");
    await until(() => fake.there.size === 5);
  }
  assertEquals({ there: [...fake.there], isClosed: fake.isClosed }, { there: [], isClosed: true });
  assertEquals(fake.seen.filter((line) => line.includes("handed out")).length, 5);
  assertEquals(fake.seen.at(-1), "net 0");
});

Deno.test("a request that finds no intact sandbox in the pool gets a new one", async () => {
  const fake = new Fake();
  fake.failing = true;
  await using pool = await fake.pool({ checkMs: 100_000 });
  assertEquals(await fake.run(pool), "ordinary");
  await until(() => fake.log.all.length > 0);
  fake.failing = false;
  pool.changed();
  await until(() => fake.there.size === 2);
  fake.broken.add("s1").add("s2");
  assertEquals(await fake.run(pool), "ordinary");
  await until(() => fake.there.size === 2 && fake.there.has("s3") && fake.there.has("s4"));
  assertEquals(fake.seen.filter((line) => line.includes("missed")), ["net missed empty", "net missed stale"]);
});

Deno.test("a request that fails leaves the sandbox to the next request", async () => {
  const fake = new Fake();
  await using pool = await fake.pool({ sizes: new Map([["net", 1]]) });
  await until(() => fake.there.size === 1);
  await assertRejects(() => fake.run(pool, { name: "taken" }), CniError, "taken");
  assertEquals(await fake.run(pool), "s1");
});

Deno.test("ready sandboxes are checked at intervals, and not each time that one is taken", async () => {
  const fake = new Fake();
  {
    await using pool = await fake.pool({ checkMs: 3_600_000, sizes: new Map([["net", 4]]) });
    for (let taken = 0; taken < 8; taken++) {
      await until(() => fake.there.size === 4);
      await fake.run(pool);
    }
    await until(() => fake.there.size === 4);
    assertEquals(fake.checks, 0);
    pool.changed();
    await until(() => fake.checks === 4);
  }
  {
    await using _pool = await fake.pool();
    await until(() => fake.checks > 20);
  }
});

Deno.test("a sandbox that has been ready for too long is replaced", async () => {
  const fake = new Fake();
  await using _pool = await fake.pool({ maxAgeMs: 1_000 });
  await until(() => fake.there.size === 2);
  fake.now = 1_001;
  await until(() => fake.there.has("s3") && fake.there.has("s4"));
  assertEquals([...fake.there], ["s3", "s4"]);
});

Deno.test("a network that fails is retried at growing intervals, and one that is not ready is not tried", async () => {
  const fake = new Fake();
  fake.failing = true;
  await using pool = await fake.pool({ sizes: new Map([["net", 1]]) });
  const failures = () => fake.log.all.length;
  await until(() => failures() === 1);
  // The fake clock stands still, however often the pool wakes up.
  await new Promise((resolve) => setTimeout(resolve, 100));
  assertEquals(failures(), 1);
  fake.now += 1_000;
  await until(() => failures() === 2);
  fake.now += 1_000;
  await new Promise((resolve) => setTimeout(resolve, 100));
  assertEquals(failures(), 2);
  fake.now += 1_000;
  await until(() => failures() === 3);
  fake.ready = false;
  fake.failing = false;
  pool.changed();
  await until(() => failures() === 4);
  assertEquals(fake.made, []);
  fake.ready = true;
  pool.changed();
  await until(() => fake.made.length === 1);
});

Deno.test("only a request for one network, without settings that creation needs, fits a warm sandbox", () => {
  const list = (name: string) =>
    parseConfigList(JSON.stringify({ cniVersion: "1.1.0", name, plugins: [{ type: "t" }] }));
  const file = (name: string) => ({
    file: `/c/${name}.conflist`,
    list: list(name),
    error: undefined,
    since: undefined,
    badSince: undefined,
  });
  const choice = { network: "a", by: "first" as const, first: "/c/a.conflist" };
  const catalog = new Catalog({ confDir: "/c", files: [file("a"), file("b")], choice });
  const of = (request: SandboxRequest) => warmNetworkOf(request, catalog);
  const b = { name: "b" };
  assertEquals(of({}), "a");
  assertEquals(of({ name: "x", namespace: "n", labels: { k: "v" }, networks: [b] }), "b");
  assertEquals(of({ networks: [{ ...b, ifName: "eth0" }], source: { kind: "new" }, replace: false }), "b");
  assertEquals(of({ networks: [b], ips: [], sysctls: {} }), "b");
  const asking: SandboxRequest[] = [
    { networks: "none" },
    { networks: [b, { name: "a" }] },
    { networks: [{ ...b, ifName: "net1" }] },
    { networks: [{ ...b, ips: ["10.0.0.1"] }] },
    { id: "c1" },
    { uid: "u1" },
    { replace: true },
    { ips: ["10.0.0.1"] },
    { mac: "02:00:00:00:00:01" },
    { publish: [{ hostPort: 1, containerPort: 1, protocol: "tcp", hostIP: "" }] },
    { bandwidth: { ingressRate: 1 } },
    { args: [["K", "V"]] },
    { annotations: { k: "v" } },
    { capabilities: { c: 1 } },
    { sysctls: { "net.core.somaxconn": "1" } },
    { source: { kind: "host" } },
    { source: { kind: "infra" } },
    { source: { kind: "path", path: "/n" } },
    { source: { kind: "pid", pid: 1 } },
  ];
  for (const request of asking) assertEquals(of(request), undefined, JSON.stringify(request));
});
