import { cpuMs } from "./process_cost.ts";

/** One way to do something like setting up a pod. All ways of a comparison alternate in every round. */
export interface Way {
  readonly up: (pod: string, place: number) => Promise<unknown>;
  /** Whether it is as `up` left it. */
  readonly check?: ((pod: string, place: number) => Promise<unknown>) | undefined;
  readonly down: (pod: string, place: number) => Promise<unknown>;
  /** The process that does it, beside those that it starts. @default {this one} */
  readonly pid?: number | undefined;
}

/** What one way took: for each round the milliseconds of a pod. */
export interface Series {
  readonly up: number[];
  readonly check: number[];
  readonly down: number[];
  /** Milliseconds of processor time in all rounds together: the kernel counts in steps too coarse for one. */
  cpuMs: number;
}

/** How often, and how many pods at the same time. */
export interface Rounds {
  readonly rounds: number;
  readonly atOnce: number;
  /** Rounds before these that do not count, because they fill caches. @default {2} */
  readonly warmUp?: number;
}

/** Measures all ways in turn; the machine is now faster and now slower, so only what is of one round is comparable. */
export async function inTurn<K extends string>(
  ways: Readonly<Record<K, Way>>,
  { rounds, atOnce, warmUp = 2 }: Rounds,
): Promise<Readonly<Record<K, Series>>> {
  const turns = Object.entries<Way>(ways).map(([name, way]) => ({ name, way, series: noSeries() }));
  const all = [...turns];
  for (let round = 0; round < rounds + warmUp; round++) {
    for (const { name, way, series } of turns) {
      const pods = Array.from({ length: atOnce }, (_, place) => `${name}${round}x${place}n${atOnce}`);
      await once(way, pods, round < warmUp ? noSeries() : series);
    }
    // Each way follows each other one equally often.
    if (round % 2 === 0) turns.reverse();
    else turns.push(...turns.splice(0, 1));
  }
  return Object.fromEntries(all.map(({ name, series }) => [name, series])) as Record<K, Series>;
}

function noSeries(): Series {
  return { up: [], check: [], down: [], cpuMs: 0 };
}

async function once({ up, check, down, pid = Deno.pid }: Way, pods: readonly string[], series: Series) {
  const before = await cpuMs(pid);
  const timed = async (step: Way["up"], times: number[]) => {
    const start = performance.now();
    await Promise.all(pods.map(step));
    times.push((performance.now() - start) / pods.length);
  };
  await timed(up, series.up);
  if (check !== undefined) await timed(check, series.check);
  await timed(down, series.down);
  series.cpuMs += await cpuMs(pid) - before;
}
