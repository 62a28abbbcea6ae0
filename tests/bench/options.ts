import { parseArgs } from "node:util";

/** What the bench was asked to do. */
export interface BenchOptions {
  readonly help: boolean;
  /** Matches the title of each row that is wanted. @default {all} */
  readonly rows: RegExp;
  /** How often each thing is measured. */
  readonly rounds: number;
  /** Files to write. @default {none} */
  readonly json: string | undefined;
  readonly svg: string | undefined;
}

/** The text of `--help`. */
export const HELP = `Usage: ./denow task bench [--rows PATTERN] [--rounds N] [--json FILE] [--svg FILE]

Measures podwire against what its work needs at the least, and against the program that PODWIRE_BENCH_OCICNI
names, which speaks the protocol that the head of tests/bench/peer.ts describes. Both are measured in turn, so
that only ratios and differences are printed. All of it takes half an hour. Needs root.

  --rows PATTERN  only rows whose title matches this regular expression, without regard to case
  --rounds N      how often each is measured; 31 by default, and fewer for what takes seconds
  --json FILE     write the rows as JSON
  --svg FILE      write the ratios as a picture
  --help          print this text

FILE must lie in the checkout, and the peer in no directory below /tmp or /run, because the machine of the tests
has its own.
`;

const DEFAULT_ROUNDS = 31;
const MOST_ROUNDS = 10_000;

/** Arguments that the bench cannot be run with. */
export class OptionsError extends Error {
  override readonly name = "OptionsError";

  constructor(why: string, options?: ErrorOptions) {
    super(`Cannot run the bench: ${why}`, options);
  }
}

/** Reads the arguments of the bench. @throws {OptionsError} */
export function parseOptions(args: readonly string[]): BenchOptions {
  const { help = false, rows, rounds, json, svg } = valuesOf(args);
  for (const [flag, file] of Object.entries({ json, svg })) {
    if (file === "") throw new OptionsError(`--${flag} needs the name of a file`);
  }
  return { help, rows: pattern(rows), rounds: number(rounds), json, svg };
}

function valuesOf(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        help: { type: "boolean" },
        rows: { type: "string" },
        rounds: { type: "string" },
        json: { type: "string" },
        svg: { type: "string" },
      },
    }).values;
  } catch (error) {
    const why = error instanceof Error ? error.message.split("\n")[0] : String(error);
    throw new OptionsError(`${why}; --help shows the flags`, { cause: error });
  }
}

function pattern(text = ""): RegExp {
  try {
    return new RegExp(text, "i");
  } catch (cause) {
    throw new OptionsError(`--rows ${JSON.stringify(text)} is not a regular expression`, { cause });
  }
}

function number(text = String(DEFAULT_ROUNDS)): number {
  const rounds = /^\d+$/.test(text) ? Number(text) : 0;
  if (rounds >= 1 && rounds <= MOST_ROUNDS) return rounds;
  throw new OptionsError(
    `--rounds ${JSON.stringify(text)} is not a whole number from 1 to ${MOST_ROUNDS}`,
  );
}
