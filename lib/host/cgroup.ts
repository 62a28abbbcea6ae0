import { type RunCommand, runCommand } from "./command.ts";

/** Options of {@linkcode oomKills}. */
export interface OomKillsOptions {
  /** Where the control groups are mounted. @default {"/sys/fs/cgroup"} */
  readonly root?: string | undefined;
  /** @default {runCommand} */
  readonly run?: RunCommand | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * How many processes of a control group the kernel has killed for want of memory, be it that of the group or that of the
 * machine; of a group that is not there, or whose memory is not accounted for, none are known of. The group outlives its
 * processes until somebody removes it.
 *
 * Source: the kernel's `admin-guide/cgroup-v2.rst`, `memory.events`, and `admin-guide/cgroup-v1/memory.rst`,
 * `memory.oom_control`.
 *
 * Requires `--allow-run=cat`; files of control groups cannot be opened without full permissions.
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
  // At most one of them is there.
  const { stdout } = await run({
    program: "cat",
    args: [`${root}${group}/memory.events`, `${root}/memory${group}/memory.oom_control`],
    ownGroup: false,
    signal,
  });
  signal?.throwIfAborted();
  const [, kills = 0] = /^oom_kill (\d+)$/m.exec(stdout) ?? [];
  return Number(kills);
}
