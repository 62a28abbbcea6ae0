// Random lives of sandboxes, step by step against a model: the daemon's answers, the records, the plugins,
// the kernel. The long form is `PODWIRE_TEST_SEQUENCES=1000 ./denow task test
// tests/root/daemon_model_test.ts`.
import { assertEquals } from "@std/assert";
import { randomOf, SEED_VARIABLE, seedFromEnvironment } from "../cni/random.ts";
import { logProgress } from "../progress.ts";
import { Model, type Step } from "./daemon_model.ts";
import { Steps } from "./daemon_model_steps.ts";
import { LifeWorld } from "./daemon_model_world.ts";
import { missing, need } from "./need.ts";
import { until } from "./sandbox_world.ts";

const COUNT_VARIABLE = "PODWIRE_TEST_SEQUENCES";
const SHORT = 16;
const AT_ONCE = 3;
/** In every so many lives the daemon is a process of its own, which can be killed. */
const PROCESS_EVERY = 8;

/**
 * In every so many others most sandboxes have infra containers, which are slow; in some of those it can be
 * killed.
 */
const INFRA_EVERY = 8;
const INFRA_IN = 3;
const REPORT_EVERY = 25;
/** No program listens there: only podwire's records say which sandbox has it. */
const PORT = 20_080;

/** What all lives together did. */
interface Totals {
  lives: number;
  steps: number;
  readonly kinds: Map<string, number>;
}

const count = (): number => Number(Deno.env.get(COUNT_VARIABLE) || SHORT);

Deno.test({
  name:
    "random lives of sandboxes: the daemon, its records, the plugins and the kernel agree with a model at each step",
  ...need("root", "ip"),
  fn: async () => {
    const first = seedFromEnvironment() ?? Date.now() % 1_000_000;
    const end = first + count();
    const totals: Totals = { lives: 0, steps: 0, kinds: new Map<string, number>() };
    let next = first;
    let failed = false;
    const work = async () => {
      while (next < end && !failed) {
        const seed = next++;
        try {
          await live(seed, totals);
          if (++totals.lives % REPORT_EVERY === 0) logProgress(`${totals.lives} lives from ${first}`);
        } catch (error) {
          failed = true;
          throw error;
        }
      }
    };
    const outcomes = await Promise.allSettled(Array.from({ length: AT_ONCE }, work));
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
    const kinds = [...totals.kinds].map(([kind, n]) => `${kind} ${n}`).sort().join(", ");
    logProgress(`${count()} lives from ${SEED_VARIABLE}=${first}: ${totals.steps} steps (${kinds})`);
  },
});

/** In how many of a hundred sandboxes of a life an infra container is. */
function infraIn(seed: number): number {
  if (missing(["runc", "catatonit"]).length > 0) return 0;
  if (seed % INFRA_EVERY === INFRA_IN) return 60;
  return seed % PROCESS_EVERY === 0 ? 15 : 0;
}

/** One life. The first of a run with its seed is the same. */
async function live(seed: number, totals: Totals): Promise<void> {
  const random = randomOf(seed);
  const model = new Model();
  const isProcess = seed % PROCESS_EVERY === 0;
  const steps: Step[] = [];
  try {
    await using world = await LifeWorld.make(model, isProcess);
    const source = new Steps({
      random,
      model,
      port: PORT,
      isProcess,
      infra: infraIn(seed),
      id: (name) => world.base.id(name),
    });
    for (let left = 5 + random.below(7); left > 0; left--) {
      const step = source.next();
      steps.push(step);
      const kind = step.do === "ask" || step.do === "die" ? `${step.do} ${step.step.do}` : step.do;
      totals.kinds.set(kind, (totals.kinds.get(kind) ?? 0) + 1);
      totals.steps++;
      await take(world, model, step, random.chance(30));
    }
    await end(world, model);
  } catch (cause) {
    const taken = steps.map((step, index) => `${index + 1}. ${JSON.stringify(step)}`).join("\n");
    const what = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`to repeat this life: ${SEED_VARIABLE}=${seed}; after\n${taken}\n${what}`, { cause });
  }
}

/** Takes a step in both, and compares them. */
async function take(world: LifeWorld, model: Model, step: Step, links: boolean): Promise<void> {
  switch (step.do) {
    case "ask":
      await world.ask(step.step, step.way, model.ask(step.step, step.way));
      return await world.compare(links);
    case "get":
      return await world.get(step.target, model.get(step.target));
    case "list":
      return await world.list({ ...step.query }, model.list(step.query));
    case "unmount":
      model.unmount(step.id, step.unlink);
      await world.unmount(step.id, step.unlink);
      return await world.compare(links);
    case "kill":
      model.kill(step.id);
      await world.kill(step.id);
      return await world.compare(links);
    case "gc":
      await world.gc(step.dryRun);
      return await world.compare(links);
    case "pair":
      await world.pair(step.calls);
      return await world.compare(links);
    case "refuse":
      model.refusing.add(step.network);
      await world.refuse(step.network);
      return await world.compare(links);
    case "heal":
      model.heal();
      await world.heal();
      return await settled(world, links);
    case "leave": {
      const client = new AbortController();
      model.undo(step.step);
      await world.interrupt(step.step, () => client.abort(), client.signal);
      return await settled(world, links);
    }
    case "die":
      model.die(step.step);
      await world.interrupt(step.step, () => world.daemon.kill());
      await world.start();
      return await settled(world, links);
    case "restart":
      await restart(world, model, step);
      return await settled(world, links);
  }
}

async function restart(world: LifeWorld, model: Model, step: Step & { do: "restart" }): Promise<void> {
  await world.daemon[step.how]();
  if (step.reboot) {
    await world.reboot();
    model.reboot();
  }
  // Without the daemon the command line works on.
  if (step.meanwhile) await world.ask(step.meanwhile, "beside", model.ask(step.meanwhile, "beside"));
  model.recover();
  await world.start();
}

/** What runs beside the requests needs its time. */
async function settled(world: LifeWorld, links: boolean): Promise<void> {
  let last: unknown;
  const agrees = async () => {
    last = await world.compare(links).then(() => undefined, (error) => error);
    return last === undefined;
  };
  await until(agrees, 60_000).catch((error) => {
    throw last ?? error;
  });
}

/** Nothing is left once all is removed. */
async function end(world: LifeWorld, model: Model): Promise<void> {
  await take(world, model, { do: "heal" }, true);
  for (const { id } of [...model.sandboxes]) {
    const step = { do: "remove", target: { ref: id }, force: false } as const;
    await take(world, model, { do: "ask", way: "daemon", step }, true);
  }
  await world.daemon.end();
  assertEquals(await world.left(), []);
}
