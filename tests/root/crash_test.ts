// Every loss of power: what podwire does to the files of its disk is recorded, the states that a kernel may
// leave of it are built, and each is recovered in another boot. Then nothing is leaked, and nothing foreign is
// changed.
//
// The long form is `PODWIRE_CRASH_STATES=20000 ./denow task test tests/root/crash_test.ts`;
// `PODWIRE_CRASH_SEED` chooses other states. `PODWIRE_CRASH_KEEP` names a directory, outside of the machine of the
// tests, that is made and gets the state that fails: IDs and addresses of links differ in each run, so the seed
// alone may not repeat it.
import { assert, assertEquals } from "@std/assert";
import { Random } from "../cni/random.ts";
import { crashStates } from "../crash/crash_states.ts";
import { Judge } from "../crash/crash_judge.ts";
import { BOOT, type Scenario, SCENARIOS } from "../crash/crash_scenarios.ts";
import { CrashWorld, type Recorded } from "../crash/crash_world.ts";
import { linesOf, writeTree } from "../crash/file_tree.ts";
import { logProgress } from "../progress.ts";
import { need } from "./need.ts";

/** How many states there are at least, of all scenarios together. */
const STATES = Number(Deno.env.get("PODWIRE_CRASH_STATES") ?? 240);
const SEED = Number(Deno.env.get("PODWIRE_CRASH_SEED") ?? 1);
const KEEP = Deno.env.get("PODWIRE_CRASH_KEEP");
/** From so many states on the test says how far it is. */
const LONG = 1_000;
/** After so many states of a scenario the network is used up once more. An odd number, so that it follows either way. */
const AGAIN = 51;

/** The states of the scenarios until now. */
const counts: number[] = [];
const total = () => counts.reduce((sum, count) => sum + count, 0);

for (const scenario of SCENARIOS) {
  Deno.test({
    name: `after a loss of power nothing is leaked, and nothing foreign is touched: ${scenario.name}`,
    ...need("root", "ip"),
    fn: async () => {
      const started = performance.now();
      await using world = await CrashWorld.make();
      if (!scenario.isFirst) await foreign(world, scenario);
      const judge = new Judge(world);
      const random = new Random(SEED);
      await scenario.prepare?.(world, random);
      const recorded = await world.record(() => scenario.act(world), random);
      assertEquals(linesOf(recorded.history.final()), linesOf(world.read()));
      await world.loseNamespaces();
      // Short runs leave fewer states. The later scenarios make up for them.
      const share = Math.ceil((STATES - total()) / (SCENARIOS.length - counts.length));
      const count = await explore(judge, recorded, random, share);
      counts.push(count);
      const { length } = recorded.history.operations;
      const seconds = Math.round((performance.now() - started) / 100) / 10;
      if (STATES >= LONG) {
        logProgress(`${count} states of ${length} operations in ${seconds} s: ${scenario.name}`);
      }
      if (counts.length === SCENARIOS.length) {
        assert(total() >= STATES, `only ${total()} of ${STATES} states`);
      }
    },
  });
}

/** The middle of a file seldom says why a state fails. */
function shortened(line: string): string {
  return line.length <= 400 ? line : `${line.slice(0, 150)} ... ${line.slice(-250)}`;
}

async function explore(judge: Judge, recorded: Recorded, random: Random, most: number): Promise<number> {
  let count = 0;
  for (const state of crashStates(recorded.history, random)) {
    if (count === most) break;
    const way = count % 2 === 0 ? "recover" : "before the first ADD";
    try {
      await judge.judge(state, recorded, { way, again: count % AGAIN === 0 });
    } catch (cause) {
      if (KEEP !== undefined) writeTree(KEEP, state.tree);
      const { moment, changes } = state;
      const words =
        `seed ${SEED}, ${way}, after ${moment} operations with ${changes} changes of names on the disk`;
      const disk = linesOf(state.tree).map(shortened).join("\n");
      throw new Error(`${words}: ${cause instanceof Error ? cause.message : cause}\n${disk}`, { cause });
    }
    count++;
  }
  return count;
}

/** What others have on the disk: a stopped sandbox, an address, an entry of the cache, and files of no known kind. */
async function foreign(world: CrashWorld, { withoutAddresses = false }: Scenario): Promise<void> {
  const podwire = world.podwire(BOOT);
  await podwire.sandboxes.run(world.request("parked"));
  await podwire.sandboxes.stop("parked");
  if (!withoutAddresses) {
    await Deno.mkdir(`${world.disk}/addresses/full`, { recursive: true });
    await Deno.writeTextFile(`${world.disk}/addresses/full/10.231.0.250`, "other\r\neth0");
    await Deno.writeTextFile(`${world.disk}/addresses/a/10.231.0.200`, "other\r\neth0");
  }
  const entry = {
    kind: "cniCacheV1",
    containerId: "other",
    config: btoa("{}"),
    ifName: "eth0",
    networkName: "a",
  };
  await Deno.writeTextFile(`${world.disk}/cache/results/a-other-eth0`, JSON.stringify(entry));
  await Deno.writeTextFile(`${world.disk}/state/notes`, "?");
  await Deno.writeTextFile(`${world.disk}/state/records/notes`, "?");
}
