import { inTurn, type Way } from "./in_turn.ts";
import { medianRatio } from "./median.ts";

/** A row that compares two ways in one step of a pod's life. */
export interface Comparison<N extends string> {
  readonly way: N;
  readonly against: N;
  readonly atOnce: number;
  /** `cpu` is the processor time of all steps. */
  readonly step: "up" | "check" | "down" | "cpu";
}

/** Measures the ways that the wanted rows need, and returns the ratio of each row. */
export async function compareWays<K extends string, N extends string>(
  rows: Readonly<Record<K, Comparison<N>>>,
  wanted: ReadonlySet<K>,
  ways: Readonly<Partial<Record<N, Way>>>,
  rounds: number,
): Promise<Partial<Record<K, number>>> {
  const figures: Partial<Record<K, number>> = {};
  const byNumber = Map.groupBy([...wanted], (key) => rows[key].atOnce);
  for (const [atOnce, keys] of byNumber) {
    const names = new Set(keys.flatMap((key) => [rows[key].way, rows[key].against]));
    const chosen = Object.fromEntries([...names].map((name) => [name, ways[name]] as const));
    for (const [name, way] of Object.entries(chosen)) {
      if (way === undefined) throw new Error(`Cannot compare with "${name}": it is not there`);
    }
    const series = await inTurn(chosen as Record<N, Way>, { rounds, atOnce });
    for (const key of keys) {
      const { way, against, step } = rows[key];
      const [own, other] = [series[way], series[against]];
      figures[key] = step === "cpu" ? own.cpuMs / other.cpuMs : medianRatio(own[step], other[step]);
    }
  }
  return figures;
}
