// A test that failed beside hundreds of others runs once more alone. If it fails again it has failed; if it
// passes it depended on how busy the machine was. That is reported by name, because it is a fault too, but it
// says nothing about what is tested.
import type { Outcome } from "./run.ts";

/** More than these are not chance. */
const MOST = 4;

/** A test that failed, as Deno lists it. */
export interface Failure {
  readonly name: string;
  /** Where it is written: a test that a helper registers is in none of the files that Deno was to run. */
  readonly place: string;
  /** The files that Deno was to run which have a failed test of that name. */
  readonly files: readonly string[];
}

/** The tests that failed, and other failures, in Deno's closing list. */
function listed(text: string): readonly string[] {
  const [, list] = /^ FAILURES $\n\n((?:.+\n)+)/m.exec(text) ?? [];
  return list?.trimEnd().split("\n") ?? [];
}

/** The failures, one line each; if Deno lists none, how it ended. */
export function failedLines(text: string, { failed }: Outcome): readonly string[] {
  const lines = listed(text);
  return failed > 0 && lines.length === 0 ? ["Deno ended without a list of failed tests"] : lines;
}

/**
 * The failed tests that get a second chance; none if there are many, or if something failed outside of tests,
 * such as an uncaught error.
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

/** For files that run in parallel Deno puts the name before each line. */
function failedIn(text: string, name: string): readonly string[] {
  const end = ` => ${name} ... FAILED (`;
  const files = text.split("\n").flatMap((line) => {
    const at = line.indexOf(end);
    return at > 0 && /^\S+\.ts$/.test(line.slice(0, at)) ? [line.slice(0, at)] : [];
  });
  return [...new Set(files)];
}

/** The outcome of both runs. */
export function afterSecondChance(first: Outcome, second: Outcome): Outcome {
  const healed = Math.max(0, first.failed - second.failed);
  return { passed: first.passed + healed, failed: second.failed, skipped: first.skipped };
}
