// Two processes at once on the same pod, or on the same host port, while a third one sweeps all the time.
//
// PODWIRE_TEST_ROUNDS=100 sets the number of rounds (`./denow task test
// tests/root/pods_two_processes_test.ts`), PODWIRE_TEST_SEED repeats, PODWIRE_TEST_FIGURES=FILE appends how
// they ended.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { GcReport } from "../../lib/gc/report.ts";
import type { PodRequest } from "../../lib/pod/request.ts";
import type { Pods } from "../../lib/runtime/pods.ts";
import { type Random, randomOf, SEED_VARIABLE, seedFromEnvironment } from "../cni/random.ts";
import type { RecordingPlugin } from "../recording_plugin.ts";
import { appendFigures } from "./figures.ts";
import { need } from "./need.ts";
import { installPaced, type Mark, marksOf, proveTakenBack } from "./paced_plugins.ts";
import type { PodsCall } from "./pods_process.ts";
import { type PodsAnswer, type PodsProcess, PodsWorld } from "./pods_world.ts";
import { until } from "./sandbox_world.ts";

const ROUNDS = Number(Deno.env.get("PODWIRE_TEST_ROUNDS") ?? 9);
/** On a machine that is busy. */
const PATIENCE_MS = 120_000;
/** Nothing happens by itself. */
const QUIET = { pollMs: 3_600_000 };
const CHAIN = ["one", "two"];

interface Round {
  readonly number: number;
  readonly random: Random;
}

/** A third process, which sweeps until it is stopped. */
class Sweeping {
  readonly #process: PodsProcess;
  /** The pods that exist, or are about to. */
  readonly #valid: Set<string>;
  readonly #ended: Promise<void>;
  #stopped = false;
  sweeps = 0;
  readonly removed: GcReport["removed"][number][] = [];

  constructor(process: PodsProcess, valid: Set<string>) {
    this.#process = process;
    this.#valid = valid;
    this.#ended = this.#sweep();
  }

  async #sweep(): Promise<void> {
    while (!this.#stopped) {
      const request = this.sweeps % 2 === 0 ? { validPods: [...this.#valid] } : {};
      const { removed, failed } = await this.#process.value("gc", request) as GcReport;
      assertEquals(failed, []);
      this.removed.push(...removed);
      this.sweeps++;
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#ended;
  }
}

/** What the rounds use. */
class Duel {
  readonly outcomes = new Map<string, number>();
  /** The pods whose engine forgot them: a sweep may touch no others. */
  readonly stale = new Set<string>();
  readonly valid = new Set<string>();
  #port = 20_000;

  constructor(
    readonly world: PodsWorld,
    readonly pods: Pods,
    readonly processes: readonly [PodsProcess, PodsProcess],
  ) {}

  count(outcome: string): void {
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
  }

  /** Both calls at once, one a little later than the other. */
  async both(
    { random }: Round,
    first: readonly [PodsCall, unknown],
    second: readonly [PodsCall, unknown],
  ): Promise<readonly [PodsAnswer, PodsAnswer]> {
    const [one, two] = this.processes;
    const lateMs = random.below(120) - 60;
    const late = async (ms: number, process: PodsProcess, call: readonly [PodsCall, unknown]) => {
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
      return await process.call(...call);
    };
    return await Promise.all([late(-lateMs, one, first), late(lateMs, two, second)]);
  }

  async pod(name: string, publish = false): Promise<PodRequest> {
    const port = publish
      ? { publish: [{ hostPort: ++this.#port, containerPort: 80, protocol: "tcp" as const, hostIP: "" }] }
      : {};
    return await this.world.pod(name, port);
  }

  /** Complete, or not there at all. */
  async isUp({ containerId }: PodRequest): Promise<boolean> {
    const { sandbox } = this.world;
    const states = (await sandbox.store.ofContainer(containerId)).map(({ state }) => state);
    const record = await sandbox.sandboxes.read(containerId);
    assertEquals(states, record === undefined ? [] : ["attached"], containerId);
    if (record === undefined) return false;
    const { ready, reason } = await this.pods.podStatus(containerId);
    assertEquals({ ready, reason }, { ready: true, reason: undefined }, containerId);
    return true;
  }

  async down(pod: PodRequest, { random }: Round): Promise<void> {
    assertEquals(await random.one(this.processes).value("tearDown", pod.containerId), []);
    assertEquals(await this.isUp(pod), false);
    await this.world.gone(pod);
  }

  async setUpTwice(round: Round): Promise<void> {
    const pod = await this.pod(`twice${round.number}`);
    const answers = await this.both(round, ["setUp", pod], ["setUp", pod]);
    const [winner] = answers.filter(({ value }) => value !== undefined);
    const [loser] = answers.filter(({ error }) => error !== undefined);
    assertEquals(
      winner?.value.networks.map(({ name }: { name: string }) => name),
      ["net"],
      JSON.stringify(answers),
    );
    assertEquals(loser?.error?.kind, "conflict", JSON.stringify(answers));
    this.count(`set-up by two: ${answers[0] === winner ? "the first" : "the second"} wins`);
    assertEquals(await this.isUp(pod), true);
    assertEquals(await this.adds(pod), CHAIN);
    await this.down(pod, round);
  }

  /** Both calls on a pod that does not exist yet, or exists already. */
  async setUpAndTearDown(round: Round): Promise<void> {
    const pod = await this.pod(`ends${round.number}`);
    const wasUp = round.random.chance(50);
    if (wasUp) await this.processes[0].value("setUp", pod);
    const [up, down] = await this.both(round, ["setUp", pod], ["tearDown", pod.containerId]);
    assertEquals(down.value, [], JSON.stringify(down));
    if (!wasUp) assertEquals(up.error, undefined);
    if (up.error !== undefined) assertEquals(up.error.kind, "conflict");
    const isUp = await this.isUp(pod);
    // Refused because the pod existed; then the tear-down came later. Of a new pod either may come first.
    if (wasUp) assertEquals(isUp, up.error === undefined);
    this.count(
      `set-up and tear-down, ${wasUp ? "was up" : "was not up"}: ${isUp ? "up" : "gone"} in the end`,
    );
    await this.down(pod, round);
  }

  async samePort(round: Round): Promise<void> {
    const winning = await this.pod(`port${round.number}`, true);
    const other = await this.world.pod(`rival${round.number}`, { publish: winning.publish ?? [] });
    const answers = await this.both(round, ["setUp", winning], ["setUp", other]);
    const pods = answers[0].value === undefined ? [other, winning] as const : [winning, other] as const;
    const [winner, loser] = pods;
    const refusal = answers.find(({ error }) => error !== undefined)?.error;
    assertEquals({
      kind: refusal?.kind,
      answersCount: answers.filter(({ value }) => value !== undefined).length,
    }, { kind: "conflict", answersCount: 1 });
    assertStringIncludes(String(refusal?.msg), winner.containerId);
    this.count(`the same port by two: ${winner === winning ? "the first" : "the second"} wins`);
    assertEquals([await this.isUp(winner), await this.isUp(loser)], [true, false]);
    assertEquals(await this.adds(loser), []);
    await this.down(winner, round);
    await round.random.one(this.processes).value("setUp", loser);
    assertEquals(await this.isUp(loser), true);
    await this.down(loser, round);
  }

  /** A pod whose engine has forgotten it. */
  async forgotten(round: Round, sweeping: Sweeping): Promise<void> {
    const pod = await this.pod(`stale${round.number}`);
    await this.processes[1].value("setUp", pod);
    this.stale.add(pod.containerId);
    this.valid.delete(pod.containerId);
    await until(
      async () => await this.world.sandbox.sandboxes.read(pod.containerId) === undefined,
      PATIENCE_MS,
    );
    assertEquals(await this.isUp(pod), false);
    await this.world.gone(pod);
    const { removed } = sweeping;
    await until(
      () => Promise.resolve(removed.some(({ containerId }) => containerId === pod.containerId)),
      PATIENCE_MS,
    );
    this.count("forgotten by its engine: swept away");
  }

  /** The plugins that had an ADD for the pod. */
  async adds({ containerId }: PodRequest): Promise<string[]> {
    const marks = await marksOf(this.world.sandbox.plugins);
    return marks.filter((mark) =>
      mark.verb === "ADD" && mark.moment === "start" && mark.containerId === containerId
    )
      .map(({ plugin }) => plugin);
  }
}

/** No ADD or DEL between the beginning and the end of a GC, and each GC got everything that was attached. */
async function proveExcluded(marks: readonly Mark[], last: string): Promise<number> {
  const busy = new Set<string>();
  const live = new Set<string>();
  let sweeping: string | undefined;
  let seen = 0;
  for (const { moment, verb, plugin, containerId, dir } of marks) {
    if (verb === "GC") {
      assertEquals([...busy], [], "GC while something was attached or detached");
      sweeping = moment === "start" ? dir : undefined;
      if (moment === "end") continue;
      seen++;
      const { "cni.dev/valid-attachments": valid } = JSON.parse(await Deno.readTextFile(`${dir}/stdin`));
      const given = valid.map(({ containerID }: { containerID: string }) => containerID);
      assertEquals(new Set(given), live, "a GC got others than were attached");
      continue;
    }
    assertEquals(sweeping, undefined, `${verb} while GC was running`);
    if (moment === "start") busy.add(dir);
    else busy.delete(dir);
    if (verb === "ADD" && plugin === last && moment === "end") live.add(containerId);
    if (verb === "DEL" && plugin === last && moment === "start") live.delete(containerId);
  }
  return seen;
}

async function duel(world: PodsWorld, plugins: readonly RecordingPlugin[], seed: number): Promise<Duel> {
  await using pods = await world.open(QUIET);
  const [one, two, three] = await Promise.all([1, 2, 3].map(() => world.process(QUIET)));
  const fight = new Duel(world, pods, [one!, two!]);
  const { valid, stale } = fight;
  const resident = await world.pod("resident");
  for (let number = 0; number < ROUNDS; number++) {
    for (const kind of ["twice", "ends", "port", "rival", "stale"]) {
      valid.add(world.sandbox.id(`${kind}${number}`));
    }
  }
  valid.add(resident.containerId);
  await pods.setUp(resident);
  const sweeping = new Sweeping(three!, valid);
  try {
    for (let number = 0; number < ROUNDS; number++) {
      const round = { number, random: randomOf(seed + number) };
      const plays = [
        () => fight.setUpTwice(round),
        () => fight.samePort(round),
        () => fight.setUpAndTearDown(round),
        () => fight.samePort(round),
        () => fight.forgotten(round, sweeping),
      ];
      await plays[number % plays.length]!();
    }
  } finally {
    await sweeping.stop();
  }
  const swept = sweeping.removed.map(({ containerId }) => containerId);
  assertEquals(
    swept.filter((id) => id === undefined || !stale.has(id)),
    [],
    "a sweep removed what was there",
  );
  assertEquals(new Set(swept), stale);
  assertEquals(await fight.isUp(resident), true);
  const seen = await proveExcluded(await marksOf(world.sandbox.plugins), CHAIN.at(-1)!);
  assert(seen >= 2 * CHAIN.length, `the plugins saw GC only ${seen} times`);
  fight.outcomes.set("sweeps", sweeping.sweeps).set("GC seen by plugins", seen);
  assertEquals(await pods.tearDown(resident.containerId), []);
  await world.gone(resident);
  await proveTakenBack(plugins, { done: new Set([resident.containerId, ...stale]) });
  assertEquals((await world.sandbox.left()).filter((line) => !line.startsWith("netns/")), []);
  assertEquals(await Array.fromAsync(Deno.readDir(`${world.sandbox.stateDir}/ports`)), []);
  return fight;
}

Deno.test({
  name: "F47 F49 F53 F102 F103 two processes at once on one pod, on one host port, and a sweep all the while",
  ...need("root", "ip"),
  fn: async () => {
    const seed = seedFromEnvironment() ?? Date.now() % 1_000_000_000;
    const started = performance.now();
    await using world = await PodsWorld.make();
    const { plugins, confDir } = world.sandbox;
    const pace = { seed, mostMs: 40 };
    const installed = await Promise.all(CHAIN.map((type) => installPaced(plugins, type, pace)));
    const list = {
      cniVersion: "1.1.0",
      name: "net",
      plugins: CHAIN.map((type) => ({ type, capabilities: { portMappings: true } })),
    };
    await Deno.writeTextFile(`${confDir}/net.conflist`, JSON.stringify(list));
    const { outcomes } = await duel(world, installed, seed).catch((cause) => {
      throw new Error(`${SEED_VARIABLE}=${seed}: ${cause?.message ?? cause}`, { cause });
    });
    const seconds = Math.round((performance.now() - started) / 1_000);
    await appendFigures(`${ROUNDS} rounds in ${seconds} s, ${SEED_VARIABLE}=${seed}`, outcomes);
  },
});
