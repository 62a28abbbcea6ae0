import type { Io } from "../host/io.ts";

/** The version of podwire, as in `deno.json`. */
export const VERSION = "0.1.0";

/** Whether a command line consists of nothing but the question for the version. */
export function asksForVersion(args: readonly string[]): boolean {
  return args.length === 1 && (args[0] === "--version" || args[0] === "-V");
}

/** Prints the version; returns the exit code. */
export function showVersion(io: Pick<Io, "write">): number {
  io.write(`podwire ${VERSION}\n`);
  return 0;
}
