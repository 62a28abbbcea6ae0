import type { Random } from "../cni/random.ts";
import type { FileHistory } from "./file_history.ts";
import { digestOf, type FileTree } from "./file_tree.ts";
import type { PowerLoss } from "./power_loss.ts";

/** A state of the disk after a loss of power. */
export interface CrashState {
  readonly tree: FileTree;
  /** How many operations were begun before. */
  readonly moment: number;
  /** How many changes of names are on the disk. */
  readonly changes: number;
}

/** A moment that leaves more states is sampled. */
const STATES_OF_A_MOMENT = 64;

/**
 * Returns the states that a loss of power may leave, each content once: some of each moment, before more of any. The order
 * is by chance, so that the first ones are a sample of all.
 */
export function* crashStates(history: FileHistory, random: Random): Generator<CrashState> {
  const seen = new Set<string>();
  let open = shuffled(history.moments(), random).map((loss) => ({
    loss,
    states: loss.states(STATES_OF_A_MOMENT, random),
  }));
  while (open.length > 0) {
    const rest: { readonly loss: PowerLoss; readonly states: Generator<FileTree> }[] = [];
    for (const each of open) {
      const next = each.states.next();
      if (next.done) continue;
      rest.push(each);
      const digest = digestOf(next.value);
      if (seen.has(digest)) continue;
      seen.add(digest);
      yield { tree: next.value, moment: each.loss.moment, changes: each.loss.changes };
    }
    open = rest;
  }
}

function shuffled<T>(values: readonly T[], random: Random): T[] {
  const mixed = [...values];
  for (let last = mixed.length - 1; last > 0; last--) {
    const other = random.below(last + 1);
    [mixed[last], mixed[other]] = [mixed[other]!, mixed[last]!];
  }
  return mixed;
}
