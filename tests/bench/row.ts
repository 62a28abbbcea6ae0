/** The unit of a figure: a ratio, or a difference of times or of memory. */
export type Unit = "times" | "ms" | "MB";

/** What a row of the bench says before anything is measured. */
export interface Goal {
  /** What is measured. */
  readonly name: string;
  /** What it is compared with, measured in turn with it in the same run. */
  readonly against: string;
  readonly unit: Unit;
  /** The largest figure that is good enough. @default {undefined} (the figure only shows how it is) */
  readonly goal?: number | undefined;
  /** Whether the figure is compared with the peer, and so missing without one. @default {false} */
  readonly needsPeer?: boolean | undefined;
}

/** Whether a figure is good enough, or why there is none. */
export type Verdict = "met" | "missed" | "no goal" | "no peer" | "failed";

/** A row of the bench, as it is printed. */
export interface Row {
  readonly name: string;
  readonly against: string;
  readonly unit: Unit;
  readonly figure: number | undefined;
  readonly goal: number | undefined;
  readonly verdict: Verdict;
}

/** The text that `--rows` is looked for in. */
export function titleOf({ name, against }: Pick<Goal, "name" | "against">): string {
  return `${name}, against ${against}`;
}

/** Judges a figure. `figure` is undefined if it could not be measured, `hasPeer` says whether there was a peer. */
export function rowOf(goal: Goal, figure: number | undefined, hasPeer: boolean): Row {
  const { name, against, unit } = goal;
  const isMeasured = figure !== undefined && Number.isFinite(figure);
  const row = { name, against, unit, goal: goal.goal };
  if (isMeasured) return { ...row, figure, verdict: judge(figure, goal.goal) };
  return { ...row, figure: undefined, verdict: goal.needsPeer && !hasPeer ? "no peer" : "failed" };
}

function judge(figure: number, goal: number | undefined): Verdict {
  if (goal === undefined) return "no goal";
  return figure <= goal ? "met" : "missed";
}

/** A figure or a goal with its unit. */
export function formatFigure(figure: number, unit: Unit): string {
  const digits = unit === "times" ? 2 : figure > -100 && figure < 100 ? 1 : 0;
  return `${figure.toFixed(digits)} ${unit === "times" ? "x" : unit}`;
}
