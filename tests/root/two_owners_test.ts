// Whatever two owners do in namespaces that they share with each other and with others, each changes only
// what it made: random histories, with the real plugins on the real kernel. The long form is
// `PODWIRE_TEST_SEQUENCES=500 ./denow task test tests/root/two_owners_test.ts`.
import { randomOf, SEED_VARIABLE, seedFromEnvironment } from "../cni/random.ts";
import { logProgress } from "../progress.ts";
import { type Flavour, FLAVOURS } from "./flavours.ts";
import { missing, need } from "./need.ts";
import { type Step, stepsOf } from "./two_owners_steps.ts";
import { type Outcome, type Setting, TwoOwners } from "./two_owners_world.ts";

const COUNT_VARIABLE = "PODWIRE_TEST_SEQUENCES";
const SHORT = 3;
const AT_ONCE = 3;
const REPORT_EVERY = 25;
/** Each attempt to leave out steps runs a history. */
const SHORTENING_MS = 60_000;

/** How often each kind of step had each outcome. */
type Tally = Map<string, number>;

Deno.test({
  name: "two random owners: neither changes what the other one, or others, have made",
  ...need("root", "ip", "nft", "iptables"),
  fn: async () => {
    const first = seedFromEnvironment() ?? Date.now() % 1_000_000;
    const count = Number(Deno.env.get(COUNT_VARIABLE) || SHORT);
    const tally: Tally = new Map();
    let next = first;
    let failed = false;
    const work = async () => {
      while (next < first + count && !failed) {
        const seed = next++;
        try {
          await history(seed, tally);
        } catch (error) {
          failed = true;
          throw error;
        }
        if ((seed - first + 1) % REPORT_EVERY === 0) {
          logProgress(`${seed - first + 1} histories from ${first}`);
        }
      }
    };
    const outcomes = await Promise.allSettled(Array.from({ length: Math.min(AT_ONCE, count) }, work));
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
    const kinds = [...tally].map(([kind, n]) => `${kind} ${n}`).sort().join(", ");
    logProgress(`${count} histories from ${SEED_VARIABLE}=${first}: ${kinds}`);
  },
});

/** One history. The first of a run with its seed is the same. */
async function history(seed: number, tally: Tally): Promise<void> {
  const { setting, steps } = plan(seed);
  try {
    await play(seed, setting, steps, tally);
  } catch (cause) {
    const [shortest, last] = await shorten(seed, setting, steps, cause);
    const taken = shortest.map((step, index) => `${index + 1}. ${JSON.stringify(step)}`).join("\n");
    const { flavour: { name }, other, ...rest } = setting;
    const what = last instanceof Error ? last.message : String(last);
    throw new Error(
      `to repeat this history: ${SEED_VARIABLE}=${seed}; ${name} and ${other.name}, ${
        JSON.stringify(rest)
      }; after\n` +
        `${taken}\n${what}`,
      { cause: last },
    );
  }
}

function plan(seed: number): { setting: Setting; steps: readonly Step[] } {
  const random = randomOf(seed);
  const isThere = ({ needs }: Flavour) => missing(needs).length === 0;
  const all = FLAVOURS.filter(isThere);
  const flavour = all[seed % all.length] ?? FLAVOURS[0]!;
  const isRaw = random.chance(30);
  const other = isRaw && flavour.needs.length === 0
    ? all.at(-1) ?? flavour
    : random.chance(50)
    ? flavour
    : random.one(all);
  const isPlugin = other.needs.length > 0;
  const both = [flavour, other];
  const hasReference = both.every(({ needs }) => needs.length > 0);
  // The oldest release knows no later version.
  const isOld = both.some(({ needs }) => needs.includes("cni-1.1.1"));
  const isShared = random.chance(50);
  // GC of the reference bridge removes the iptables rules of all networks except those that it gets as valid.
  const hasGc = !isOld && (isShared || both.every(({ needs }) => needs.length === 0));
  const setting = {
    flavour,
    other,
    isRaw: isRaw && isPlugin,
    isShared,
    cniVersion: !hasGc || random.chance(40) ? "1.0.0" : "1.1.0",
    hasBridge: random.chance(50),
    networks: ["one", "two", "bad", ...(hasReference ? ["mac"] : [])],
  };
  return { setting, steps: stepsOf(random, setting) };
}

async function play(seed: number, setting: Setting, steps: readonly Step[], tally?: Tally): Promise<void> {
  await TwoOwners.with(setting, randomOf(seed + 1), async (owners) => {
    for (const step of steps) count(tally, step, await owners.take(step));
    await owners.end();
  });
}

function count(tally: Tally | undefined, step: Step, outcome: Outcome): void {
  const key = `${step.do} ${outcome}`;
  tally?.set(key, (tally.get(key) ?? 0) + 1);
}

/** Leaves out what the failure does not need, once over all steps or until the time is over. */
async function shorten(
  seed: number,
  setting: Setting,
  steps: readonly Step[],
  cause: unknown,
): Promise<readonly [readonly Step[], unknown]> {
  let shortest = steps;
  let last = cause;
  const end = performance.now() + SHORTENING_MS;
  for (const step of steps.toReversed()) {
    if (performance.now() > end) break;
    const fewer = shortest.filter((other) => other !== step);
    await play(seed, setting, fewer).then(() => {}, (error) => {
      shortest = fewer;
      last = error;
    });
  }
  return [shortest, last];
}
