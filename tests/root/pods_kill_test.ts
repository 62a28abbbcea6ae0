// `kill -9` of a process that sets pods up or tears them down, at any moment: `recover` or the next set-up
// undoes what it interrupts, and leaves no trace; what it did not interrupt stays as it was.
//
// PODWIRE_TEST_KILLS=200 sets the number of kills (`./denow task test tests/root/pods_kill_test.ts`),
// PODWIRE_TEST_SEED repeats, PODWIRE_TEST_FIGURES=FILE appends what the kills met.
import { assert, assertEquals } from "@std/assert";
import type { PodRequest } from "../../lib/pod/request.ts";
import type { Pods } from "../../lib/runtime/pods.ts";
import { type Random, randomOf, SEED_VARIABLE, seedFromEnvironment } from "../cni/random.ts";
import { appendFigures } from "./figures.ts";
import { KillWorld, type Unit } from "./kill_world.ts";
import { need } from "./need.ts";
import { forgetCalls, marksOf, type Proof, proveTakenBack } from "./paced_plugins.ts";
import type { PodsCall } from "./pods_process.ts";
import { type PodsAnswer, type PodsProcess, podsTest } from "./pods_world.ts";
import { until } from "./sandbox_world.ts";

const KILLS = Number(Deno.env.get("PODWIRE_TEST_KILLS") ?? 8);
const MOST_MS = 50;
/** On a machine that is busy. */
const PATIENCE_MS = 120_000;
/** Nothing happens by itself while a test looks. */
const QUIET = { pollMs: 3_600_000 };

/** One kill. */
interface Round {
  readonly number: number;
  readonly random: Random;
  /** Whether tear-downs are killed, not set-ups. */
  readonly tearsDown: boolean;
  /** Whether `recover` settles what is left, not the next set-up. */
  readonly recovers: boolean;
}

/** What the kills met. */
class Tally {
  readonly counts = new Map<string, number>();

  add(what: string, count = 1): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + count);
  }

  get(what: string): number {
    return this.counts.get(what) ?? 0;
  }
}

class Killing {
  readonly tally = new Tally();
  readonly #kill: KillWorld;
  readonly #pods: Pods;
  readonly #resident: Unit;

  constructor(kill: KillWorld, pods: Pods, resident: Unit) {
    this.#kill = kill;
    this.#pods = pods;
    this.#resident = resident;
  }

  async round(round: Round): Promise<void> {
    const { number, random, tearsDown, recovers } = round;
    const { world } = this.#kill;
    await this.#kill.configure(2 * number);
    const units = await this.#kill.units(`r${number}`, random);
    const process = await world.process(QUIET);
    if (tearsDown) await Promise.all(units.map((unit) => process.value(...setUp(unit))));
    const marked = (await marksOf(world.sandbox.plugins)).length;
    const calls = units.map((unit) => process.call(...(tearsDown ? tearDown(unit) : setUp(unit))));
    const answers = await this.#killWithin(process, calls, marked, round, units);
    await this.#count(units, answers, tearsDown);
    await this.#settle(round);
    const done = new Set(units.filter((_, at) => tearsDown || answers[at]?.value).map(({ id }) => id));
    await this.#proveKept(units, answers, tearsDown);
    const traces = await this.#kill.traces([this.#resident]);
    // A write that was cut off before anything had changed disturbs nothing until the next recovery.
    assertEquals(traces.filter((line) => recovers || !/\.podwire-[^/]*\.tmp$/.test(line)), []);
    if (number % 4 === 0) await this.#proveReady(this.#resident);
    await this.#proveLog(done);
    await this.#kill.forget(units);
  }

  /**
   * Changes the configuration at some moment, and kills at another: after so many beginnings and ends of
   * plugins, from none to all of them in the course of the kills, and a little later.
   */
  async #killWithin(
    process: PodsProcess,
    calls: readonly Promise<PodsAnswer>[],
    marked: number,
    { number, random }: Round,
    units: readonly Unit[],
  ): Promise<readonly PodsAnswer[]> {
    const { plugins } = this.#kill.world.sandbox;
    const all = 2 * units.reduce((sum, unit) => sum + unit.calls, 0);
    const part = (Math.floor(number / 4) + random.below(1_000) / 1_000) / Math.ceil(KILLS / 4);
    const target = Math.floor(part * (all + 1));
    const change = random.below(target + 1);
    const laterMs = random.below(150);
    let isOver = false;
    const answered = Promise.all(calls).then((answers) => {
      isOver = true;
      return answers;
    });
    const reached = async (count: number) => isOver || (await marksOf(plugins)).length - marked >= count;
    await until(() => reached(change), PATIENCE_MS);
    // A set-up reads the configuration before its first plugin.
    if (change > 0) await this.#kill.configure(2 * number + 1);
    await until(() => reached(target), PATIENCE_MS);
    await new Promise((resolve) => setTimeout(resolve, laterMs));
    await process.kill();
    await this.#kill.configure(2 * number + 1);
    return await answered;
  }

  async #count(units: readonly Unit[], answers: readonly PodsAnswer[], tearsDown: boolean): Promise<void> {
    const { world } = this.#kill;
    const verb = tearsDown ? "tear-down" : "set-up";
    const cut = units.filter((_, at) => isUnanswered(answers[at]));
    this.tally.add(`${verb}: kills`);
    this.tally.add(`${verb}: operations`, units.length);
    this.tally.add(`${verb}: operations interrupted`, cut.length);
    if (cut.length > 0) this.tally.add(`${verb}: kills into work`);
    if ((await world.running()).length > 0) this.tally.add(`${verb}: kills that left plugins running`);
    for (const { id } of cut) {
      const records = await world.sandbox.store.ofContainer(id);
      if (records.length === 0) this.tally.add(`${verb}: interrupted without any attachment on record`);
      for (const { state } of records) this.tally.add(`${verb}: attachments "${state}" in interrupted ones`);
    }
  }

  async #settle({ number, recovers }: Round): Promise<void> {
    if (recovers) {
      const { failed } = await this.#pods.recover();
      assertEquals(failed, []);
      return;
    }
    const next = await this.#kill.unit(`next${number}`, false, ["a"]);
    await this.#pods.setUp(next.request as PodRequest);
    assertEquals(await this.#pods.tearDown(next.id), []);
    await this.#kill.forget([next]);
  }

  /** What still exists is complete, and can be removed. What was finished before the kill exists. */
  async #proveKept(
    units: readonly Unit[],
    answers: readonly PodsAnswer[],
    tearsDown: boolean,
  ): Promise<void> {
    const { sandbox } = this.#kill.world;
    for (const [at, unit] of units.entries()) {
      const answer = answers[at] ?? {};
      assertEquals(answer.error, undefined);
      const record = await sandbox.sandboxes.read(unit.id);
      if (!isUnanswered(answer)) assertEquals(record === undefined, tearsDown, unit.id);
      if (record === undefined) continue;
      if (record.phase === "stopped") {
        // A removal without force begins with a stop, and recovery finishes that.
        assertEquals({ tearsDown, isSandbox: unit.isSandbox, isUnanswered: isUnanswered(answer) }, {
          tearsDown: true,
          isSandbox: true,
          isUnanswered: true,
        }, unit.id);
        assertEquals(await sandbox.store.ofContainer(unit.id), []);
        this.tally.add("tear-down: sandboxes found stopped");
      } else {
        await this.#proveReady(unit);
        this.tally.add("interrupted or not, pods found whole");
      }
      if (unit.isSandbox) await sandbox.podwire().sandboxes.remove(unit.id);
      else assertEquals(await this.#pods.tearDown(unit.id), []);
    }
  }

  async #proveReady({ id }: Unit): Promise<void> {
    const { ready, reason } = await this.#pods.podStatus(id);
    assertEquals({ ready, reason }, { ready: true, reason: undefined }, id);
  }

  async #proveLog(done: ReadonlySet<string>): Promise<void> {
    const { sandbox } = this.#kill.world;
    this.#add(await proveTakenBack(this.#kill.plugins, { done, up: new Set([this.#resident.id]) }));
    await forgetCalls(sandbox.plugins, this.#kill.plugins);
  }

  /** It was set up with the first configuration of all. */
  async end(): Promise<void> {
    await this.#proveReady(this.#resident);
    assertEquals(await this.#pods.tearDown(this.#resident.id), []);
    assertEquals((await this.#pods.recover()).failed, []);
    assertEquals(await this.#kill.traces([]), []);
  }

  #add({ adds, cutAdds, dels }: Proof): void {
    this.tally.add("plugins: ADDs that began", adds);
    this.tally.add("plugins: ADDs among them without an end", cutAdds);
    this.tally.add("plugins: DELs of them", dels);
  }
}

type Call = readonly [call: PodsCall, argument: unknown];
const setUp = ({ isSandbox, request }: Unit): Call => [isSandbox ? "run" : "setUp", request];
const tearDown = ({ isSandbox, id }: Unit): Call => [isSandbox ? "remove" : "tearDown", id];
const isUnanswered = (answer: PodsAnswer = {}) => answer.value === undefined && answer.error === undefined;

Deno.test({
  name:
    "F73 F76 F78 F135 G28 G35 kill -9 of set-up and tear-down leaves nothing: each ADD gets its DEL, with what is on record",
  ...need("root", "ip", "nft"),
  fn: async () => {
    const seed = seedFromEnvironment() ?? Date.now() % 1_000_000_000;
    const started = performance.now();
    await using kill = await KillWorld.make({ seed, mostMs: MOST_MS });
    await kill.configure(0);
    await using pods = await kill.world.open(QUIET);
    const resident = await kill.unit("resident", false, ["a", "b", "n"]);
    await pods.setUp(resident.request as PodRequest);
    const killing = new Killing(kill, pods, resident);
    for (let number = 0; number < KILLS; number++) {
      const random = randomOf(seed + number);
      const round = { number, random, tearsDown: number % 2 === 1, recovers: number % 4 < 2 };
      await killing.round(round).catch((cause) => {
        throw new Error(`kill ${number}, ${SEED_VARIABLE}=${seed}: ${cause?.message ?? cause}`, { cause });
      });
    }
    await killing.end();
    const { tally } = killing;
    const hits = tally.get("set-up: kills into work") + tally.get("tear-down: kills into work");
    assert(hits >= KILLS / 2, `of ${KILLS} kills only ${hits} fell into work`);
    const seconds = Math.round((performance.now() - started) / 1_000);
    await appendFigures(`${KILLS} kills in ${seconds} s, ${SEED_VARIABLE}=${seed}`, tally.counts);
  },
});

const HANGING = { ADD: { hang: true }, STATUS: { hang: true } } as const;

for (
  const [how, end] of [
    ["is killed", (process: PodsProcess) => process.kill()],
    ["closes them and leaves", (process: PodsProcess) => process.call("leave")],
  ] as const
) {
  podsTest(
    `F112 a process that ${how} while plugins hang leaves no process behind after recover`,
    async (world) => {
      const { sandbox } = world;
      await sandbox.network("a", HANGING);
      await sandbox.network("b", { CHECK: { hang: true } });
      await using process = await world.process({ timeouts: { STATUS: 600_000 } });
      const [whole, ...hanging] = await Promise.all(["w", "h1", "h2"].map((name, index) => {
        const second = index === 0 ? [] : [{ name: "a", ifName: "net1" }];
        return world.pod(name, { networks: [{ name: "b" }, ...second] });
      }));
      await process.value("setUp", whole);
      const calls = [
        ...hanging.map((pod) => process.call("setUp", pod)),
        process.call("podStatus", whole?.containerId),
      ];
      await until(async () => {
        const log = await sandbox.calls();
        return log.filter((line) => line.startsWith("a ADD")).length === 2 &&
          ["a STATUS", "b CHECK"].every((call) => log.some((line) => line.startsWith(call)));
      });
      await end(process);
      for (const call of calls) assertEquals(await call, {});
      assert((await world.running()).length > 0, "nothing was left to be ended");

      // Not through pods, which would ask for the status again.
      const { failed, removed } = await sandbox.podwire().recover();
      assertEquals(failed, []);
      assertEquals(removed.filter(({ kind }) => kind === "sandbox").length, 2);
      assertEquals(await world.running(), []);
      const left = ["b eth0 attached", "netns/h1", "netns/h2", "netns/w", "state/records/w.rec"];
      assertEquals((await sandbox.left()).filter((line) => !line.startsWith("cache/")), left);
    },
  );
}
