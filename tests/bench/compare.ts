import { inTurn, type Way } from "./in_turn.ts";
import { medianRatio } from "./median.ts";

/** A row that compares two ways in one step of a pod's life. */
export interface Comparison<N extends string> {
  readonly way: N;
  readonly against: N;
  readonly atOnce: number;
  /** `cpu` is the processor time of set-up and tear-down, and of the check in a comparison that has rows of it. */
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
    const isChecked = keys.some((key) => rows[key].step === "check");
    const chosen = [...names].map((name) => {
      const way = ways[name];
      if (way === undefined) throw new Error(`Cannot compare with "${name}": it is not there`);
      // Not every way has a check: what only one of two does would count in its processor time alone.
      return [name, isChecked ? way : { ...way, check: undefined }] as const;
    });
    const series = await inTurn(Object.fromEntries(chosen) as Record<N, Way>, { rounds, atOnce });
    for (const key of keys) {
      const { way, against, step } = rows[key];
      const [own, other] = [series[way], series[against]];
      figures[key] = step === "cpu" ? own.cpuMs / other.cpuMs : medianRatio(own[step], other[step]);
    }
  }
  return figures;
}
