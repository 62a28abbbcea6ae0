import { type RunCommand, runCommand } from "./command.ts";
import { readKernelFiles } from "./kernel_file.ts";

/** Options of {@linkcode oomKills}. */
export interface OomKillsOptions {
  /** Where the control groups are mounted. @default {"/sys/fs/cgroup"} */
  readonly root?: string | undefined;
  /** @default {runCommand} */
  readonly run?: RunCommand | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Number of processes of a control group that the kernel killed because the group or the machine had no memory left; 0 if
 * the group does not exist, or if its memory is not accounted for. A group stays after its processes end, until it is
 * removed.
 *
 * Source: the kernel's `admin-guide/cgroup-v2.rst`, `memory.events`, and `admin-guide/cgroup-v1/memory.rst`,
 * `memory.oom_control`.
 *
 * Requires as `readKernelFiles`.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { oomKills } from "./cgroup.ts";
 *
 * assertEquals(await oomKills("/no-such-group"), 0);
 * ```
 */
export async function oomKills(
  group: string,
  { root = "/sys/fs/cgroup", run = runCommand, signal }: OomKillsOptions = {},
): Promise<number> {
  // At most one of the two files exists.
  const files = [`${root}${group}/memory.events`, `${root}/memory${group}/memory.oom_control`];
  const [, kills = 0] = /^oom_kill (\d+)$/m.exec(await readKernelFiles(files, { run, signal })) ?? [];
  return Number(kills);
}
