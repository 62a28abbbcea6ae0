import { HostError, type RunCommand, runCommand } from "./command.ts";
import { readKernelFiles } from "./kernel_file.ts";

const FILE = "/proc/sys/kernel/random/boot_id";

/**
 * Returns the identity of this boot; records of an earlier boot have another one.
 *
 * Permissions: as for `readKernelFiles`.
 *
 * @throws {HostError} If it cannot be read.
 */
export async function bootId(run: RunCommand = runCommand): Promise<string> {
  const id = (await readKernelFiles([FILE], { run })).trim();
  if (id === "") throw new HostError(`Cannot read the identity of this boot: ${FILE} has none`);
  return id;
}
