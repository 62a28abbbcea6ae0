import { type RunCommand, runCommand } from "./command.ts";

/**
 * Returns how many files this process may have open at once; undefined if that is unknown or has no limit.
 *
 * Permissions: `--allow-run=sh`.
 */
export async function descriptorLimit(run: RunCommand = runCommand): Promise<number | undefined> {
  // A child has the limits of its parent.
  const { stdout } = await run({ program: "sh", args: ["-c", "ulimit -n"], ownGroup: false });
  const limit = Number(stdout.trim());
  return Number.isInteger(limit) && limit > 0 ? limit : undefined;
}
