// What `./denow task storm [PODS [SEED [PLUGINS]]]` runs: pods come and go, sixteen at a time, on a node of
// their own, while their configuration directory is rewritten ten times a second; first with the built-in
// plugins, then with the reference plugins. It prints what happened as tables.
import { inParallel } from "../../lib/async/parallel.ts";
import { delay } from "../../lib/async/wait.ts";
import { CniError } from "../../lib/cni/error.ts";
import type { WantedNetwork } from "../../lib/pod/request.ts";
import type { Pods } from "../../lib/runtime/pods.ts";
import { type Random, randomOf, SEED_VARIABLE, seedFromEnvironment } from "../cni/random.ts";
import { missing } from "./need.ts";
import { Churn } from "./storm_churn.ts";
import { type Attached, judgeAttached, judgeCalls, judgeRefused } from "./storm_judge.ts";
import { askedAddress, nameOf, type NetworkKey, NETWORKS, STORM_PLUGINS } from "./storm_networks.ts";
import type { PodOutcome, RequestKind, StormOptions, StormPod, StormReport } from "./storm_report.ts";
import { tables } from "./storm_table.ts";
import { StormWorld } from "./storm_world.ts";

const TAKEN_PORT = 20_000;
const LONGEST_LIFE_MS = 700;
class Storm {
  readonly outcomes: PodOutcome[] = [];
  readonly violations: string[] = [];
  /** The containers that were set up. */
  readonly attached = new Map<string, Attached>();
  reloads = 0;
  stale = 0;

  constructor(
    readonly options: Required<StormOptions>,
    readonly world: StormWorld,
    readonly pods: Pods,
    readonly churn: Churn,
  ) {}

  /**
   * Records what the catalogue says; the default must never be another one while the anchor is attached to
   * it.
   */
  #watch(): Disposable {
    const main = nameOf("main", this.world.places);
    return this.pods.onNetworks((entries) => {
      this.reloads++;
      if (entries.some(({ status }) => status === "stale")) this.stale++;
      const chosen = entries.find((entry) => entry.default)?.name;
      if (chosen !== main) this.violations.push(`the default network was ${chosen}`);
    });
  }

  async run(): Promise<number> {
    const anchors = [
      await this.#pod("anchor", "default network", []),
      await this.#pod("holder", "published port", ["port"], { publish: [published(TAKEN_PORT)] }),
    ];
    for (const anchor of anchors) {
      const { error } = await this.#setUp(anchor);
      if (error !== undefined) throw error;
    }
    const started = performance.now();
    this.churn.start();
    const { pods, concurrency } = this.options;
    const numbers = Array.from({ length: pods }, (_, number) => number);
    {
      using _watch = this.#watch();
      await inParallel(numbers, concurrency, (number) => this.#live(number));
    }
    const churnMs = performance.now() - started;
    for (const anchor of anchors.toReversed()) {
      await this.#check(anchor);
      await this.#tearDown(anchor, false);
    }
    return churnMs;
  }

  async #live(number: number): Promise<void> {
    const random = randomOf(1_000 * this.options.seed + number);
    const pod = await this.#draw(number, random);
    const from = performance.now();
    const { error, to } = await this.#setUp(pod);
    const setUpMs = to - from;
    const judge = { pod, timelines: this.churn.timelines, world: this.world, from, to };
    if (error !== undefined) {
      this.violations.push(...await judgeRefused(judge, error, this.pods));
      this.outcomes.push({ kind: pod.kind, refused: error.kind, setUpMs });
      return await this.world.gone(pod.request.netns);
    }
    const { versions, ageMs, violations } = await judgeAttached(judge);
    this.violations.push(...violations);
    await delay(random.below(LONGEST_LIFE_MS));
    const checkMs = await this.#check(pod);
    const now = performance.now();
    const inEffect = pod.wanted.map(({ key }) => this.churn.timelines.within(key, now, now)[0]?.version);
    const tearDownMs = await this.#tearDown(pod, this.#mayLoseNamespace(pod) && random.below(2) === 0);
    this.outcomes.push({
      kind: pod.kind,
      refused: undefined,
      setUpMs,
      checkMs,
      tearDownMs,
      ageMs,
      changed: inEffect.some((version, index) => version !== versions[index]),
      gone: inEffect.includes(undefined),
    });
  }

  async #setUp({ containerId, request, wanted }: StormPod): Promise<{ error?: CniError; to: number }> {
    const from = performance.now();
    try {
      const { networks } = await this.pods.setUp(request);
      const to = performance.now();
      this.attached.set(containerId, { wanted, from, to });
      const got = networks.map(({ name, ifName }) => `${name} ${ifName}`).join(", ");
      const asked = wanted.map(({ key, ifName }) => `${nameOf(key, this.world.places)} ${ifName}`).join(", ");
      if (got !== asked) this.violations.push(`${containerId} asked for ${asked} and got ${got}`);
      return { to };
    } catch (error) {
      if (error instanceof CniError) return { error, to: performance.now() };
      throw error;
    }
  }

  async #check({ containerId }: StormPod): Promise<number> {
    const started = performance.now();
    const { ready, reason, networks } = await this.pods.podStatus(containerId);
    if (!ready || networks.some(({ checked }) => !checked)) {
      this.violations.push(`${containerId} is not as its set-up left it: ${reason}`);
    }
    return performance.now() - started;
  }

  async #tearDown({ containerId, request: { netns } }: StormPod, losesNamespace: boolean): Promise<number> {
    if (losesNamespace) await this.world.gone(netns);
    const started = performance.now();
    for (const failure of await this.pods.tearDown(containerId)) {
      this.violations.push(`${containerId} could not be torn down: ${failure.message}`);
    }
    const elapsed = performance.now() - started;
    if (!losesNamespace) {
      const links = [...(await this.world.links(netns)).keys()];
      if (links.length > 0) this.violations.push(`${containerId} still has ${links}`);
      await this.world.gone(netns);
    }
    return elapsed;
  }

  /**
   * The bridge plugin of the reference plugins leaves the rules of masquerading behind if the namespace is
   * gone.
   */
  #mayLoseNamespace({ wanted }: StormPod): boolean {
    return this.options.plugins === "built-in" || wanted.every(({ key }) => !NETWORKS[key].isMasqueraded);
  }

  async #draw(number: number, random: Random): Promise<StormPod> {
    const name = `p${number}`;
    const of = (kind: RequestKind, keys: readonly NetworkKey[], more: Partial<WantedNetwork> = {}) =>
      this.#pod(name, kind, keys, more);
    const chance = random.below(100);
    if (chance < 30) return await of("default network", []);
    if (chance < 50) return await of("named network", [random.one(["main", "blue", "green"])]);
    if (chance < 65) {
      return await of("two networks", random.one([["main", "blue"], ["blue", "green"], ["green", "main"]]));
    }
    if (chance < 80) return await of("requested address", ["fixed"], { ips: [askedAddress(number)] });
    if (chance < 95) {
      return await of("published port", ["port"], { publish: [published(TAKEN_PORT + 1 + number)] });
    }
    return await of("taken port", ["port"], { publish: [published(TAKEN_PORT)] });
  }

  async #pod(
    name: string,
    kind: RequestKind,
    keys: readonly NetworkKey[],
    more: Partial<WantedNetwork> = {},
  ): Promise<StormPod> {
    const containerId = this.world.node.base(name);
    const netns = await this.world.netns(name);
    const networks = keys.map((key) => ({ name: nameOf(key, this.world.places), ...more }));
    const wanted = (keys.length === 0 ? ["main" as const] : keys)
      .map((key, index) => ({ key, ifName: `eth${index}` }));
    const request = { containerId, name, namespace: "storm", uid: `uid-${name}`, netns, networks };
    return { kind, containerId, wanted, request };
  }
}

function published(hostPort: number) {
  return { hostIP: "", hostPort, containerPort: 80, protocol: "tcp" } as const;
}

/** Runs a storm; a violation is reported, not thrown. */
export async function storm(options: StormOptions): Promise<StormReport> {
  const all = { concurrency: 16, ...options };
  await using world = await StormWorld.make(all.plugins);
  const churn = new Churn(world.node.confDir, world.places, randomOf(all.seed));
  churn.prepare();
  const started = performance.now();
  const pods = await world.open();
  const storm = new Storm(all, world, pods, churn);
  let churnMs = 0;
  try {
    churnMs = await storm.run();
  } finally {
    await churn[Symbol.asyncDispose]();
    await pods[Symbol.asyncDispose]();
  }
  const calls = await world.calls();
  return {
    options: all,
    outcomes: storm.outcomes,
    operations: churn.counts,
    churnMs,
    elapsedMs: performance.now() - started,
    reloads: storm.reloads,
    stale: storm.stale,
    calls: calls.length,
    violations: [...storm.violations, ...judgeCalls(calls, storm.attached, churn.timelines)],
    left: await world.left(),
  };
}

async function main([pods = "500", seed, only]: readonly string[]): Promise<number> {
  const chosen = Number(seed ?? seedFromEnvironment() ?? Date.now() % 1_000_000);
  const kinds = STORM_PLUGINS.filter((plugins) => only === undefined || plugins === only);
  if (!(Number(pods) > 0) || !Number.isSafeInteger(chosen) || kinds.length === 0) {
    console.error(`storm: usage: storm [PODS [SEED [${STORM_PLUGINS.join("|")}]]]`);
    return 2;
  }
  const lacking = missing(["root", "ip", "iptables", "cni-1.9.1"]);
  if (lacking.length > 0) {
    console.error(`storm: missing here: ${lacking.join(", ")}`);
    return 1;
  }
  console.error(`storm: ${SEED_VARIABLE}=${chosen}`);
  let isFine = true;
  for (const plugins of kinds) {
    const report = await storm({ plugins, pods: Number(pods), seed: chosen });
    console.log(tables(report));
    isFine &&= report.violations.length + report.left.length === 0;
  }
  return isFine ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main(Deno.args[0] === "--" ? Deno.args.slice(1) : Deno.args));
