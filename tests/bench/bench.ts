import { type Figures, GOALS, type GroupName, type Wanted } from "./goals.ts";
import type { Peer } from "./peer.ts";
import { type Goal, type Row, rowOf, titleOf } from "./row.ts";

/** What each group of measurements is given. */
export interface Bench {
  readonly rounds: number;
  /** A directory on the disk, and one in memory. */
  readonly disk: string;
  readonly memory: string;
  readonly peer: Peer | undefined;
  /** Shows progress to people. */
  readonly say: (line: string) => void;
}

/** Measures what is wanted of a group, all of it in turn. */
export type Measure<G extends GroupName> = (bench: Bench, wanted: Wanted<G>) => Promise<Figures<G>>;
export type Measures = { readonly [G in GroupName]: Measure<G> };

/** One wanted row of a group. */
interface WantedRow {
  readonly key: string;
  readonly goal: Goal;
}

/** The rows whose title matches, by their group. */
export function selectRows(pattern: RegExp): ReadonlyMap<GroupName, readonly WantedRow[]> {
  const groups = (Object.keys(GOALS) as GroupName[]).map((group) => {
    const goals: readonly [string, Goal][] = Object.entries(GOALS[group]);
    const wanted = goals.filter(([, goal]) => pattern.test(titleOf(goal)));
    return [group, wanted.map(([key, goal]) => ({ key, goal }))] as const;
  });
  return new Map(groups.filter(([, rows]) => rows.length > 0));
}

/**
 * Measures the selected rows, group by group. A group that fails is reported by `bench.say`, and its rows have no figures.
 */
export async function measureRows(
  selected: ReadonlyMap<GroupName, readonly WantedRow[]>,
  measures: Measures,
  bench: Bench,
): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const [group, wanted] of selected) {
    const hasPeer = bench.peer !== undefined;
    const possible = wanted.filter(({ goal }) => hasPeer || !goal.needsPeer);
    const figures = possible.length === 0 ? {} : await measureGroup(group, possible, measures, bench);
    rows.push(...wanted.map(({ key, goal }) => rowOf(goal, figures[key], hasPeer)));
  }
  return rows;
}

async function measureGroup(
  group: GroupName,
  wanted: readonly WantedRow[],
  measures: Measures,
  bench: Bench,
): Promise<Readonly<Record<string, number | undefined>>> {
  // The keys are those of the goals of this very group.
  const measure = measures[group] as (
    bench: Bench,
    wanted: ReadonlySet<string>,
  ) => Promise<Figures<GroupName>>;
  const start = performance.now();
  try {
    return await measure(bench, new Set(wanted.map(({ key }) => key)));
  } catch (error) {
    bench.say(`Cannot measure ${group}: ${error instanceof Error ? error.stack : error}`);
    return {};
  } finally {
    bench.say(`${group}: measured in ${Math.round((performance.now() - start) / 1_000)} s`);
  }
}
