import { type RunCommand, runCommand, runOk } from "./command.ts";

/**
 * Returns the identity of this boot; records of an earlier boot have another one.
 *
 * Permissions: `--allow-run=cat`; files under `/proc` cannot be opened without full permissions.
 */
export async function bootId(run: RunCommand = runCommand): Promise<string> {
  const { stdout } = await runOk(run, { program: "cat", args: ["/proc/sys/kernel/random/boot_id"] });
  return stdout.trim();
}
