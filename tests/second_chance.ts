// A test that failed beside hundreds of others is run once more alone. What fails again has failed; what passes now has
// depended on how busy the machine was, which is told by name, as it is a fault too, but says nothing of what is tested.
import type { Outcome } from "./run.ts";

/** More than these are not chance. */
const MOST = 4;

/** A test that failed, as Deno lists it. */
export interface Failure {
  readonly name: string;
  /** Where it is written: a test that a helper registers is in none of the files that Deno was to run. */
  readonly place: string;
  /** The files that Deno was to run which have a test of that name that failed. */
  readonly files: readonly string[];
}

/** The tests that failed, and what else did, in Deno's closing list. */
function listed(text: string): readonly string[] {
  const [, list] = /^ FAILURES $\n\n((?:.+\n)+)/m.exec(text) ?? [];
  return list?.trimEnd().split("\n") ?? [];
}

/** What failed, in a line each; where Deno lists nothing, that it ended so. */
export function failedLines(text: string, { failed }: Outcome): readonly string[] {
  const lines = listed(text);
  return failed > 0 && lines.length === 0 ? ["Deno ended without a list of failed tests"] : lines;
}

/**
 * The failed tests that get a second chance; none if there are many, or if something failed outside of tests, such as an
 * error that nobody caught.
 */
export function secondChances(text: string, { failed }: Outcome): readonly Failure[] {
  const lines = listed(text);
  const failures = lines.flatMap((line) => {
    const [, name, place] = /^(.+) => (\S+\.ts:\d+:\d+)$/.exec(line) ?? [];
    if (name === undefined || place === undefined) return [];
    const files = failedIn(text, name);
    return files.length === 0 ? [] : [{ name, place, files }];
  });
  return failed > MOST || failures.length !== lines.length ? [] : failures;
}

/** Of files that run beside each other Deno puts the name before each line. */
function failedIn(text: string, name: string): readonly string[] {
  const end = ` => ${name} ... FAILED (`;
  const files = text.split("\n").flatMap((line) => {
    const at = line.indexOf(end);
    return at > 0 && /^\S+\.ts$/.test(line.slice(0, at)) ? [line.slice(0, at)] : [];
  });
  return [...new Set(files)];
}

/** What both runs come to. */
export function afterSecondChance(first: Outcome, second: Outcome): Outcome {
  const healed = Math.max(0, first.failed - second.failed);
  return { passed: first.passed + healed, failed: second.failed, skipped: first.skipped };
}
