import type { OomKillsOptions } from "./cgroup.ts";
import { readKernelFiles } from "./kernel_file.ts";

/** What the processes of a control group use; undefined for what is not accounted for. */
export interface CgroupUsage {
  /** Time of all processors since the group exists, in nanoseconds. */
  readonly cpuNanoseconds: number | undefined;
  /** Memory with all caches, in bytes. */
  readonly memoryBytes: number | undefined;
  /** Memory that cannot be taken back at once: without the file cache that was not used lately. In bytes. */
  readonly workingSetBytes: number | undefined;
  /** Memory without the cache of files, in bytes. */
  readonly rssBytes: number | undefined;
  readonly pageFaults: number | undefined;
  /** Those that waited for a disk. */
  readonly majorPageFaults: number | undefined;
  readonly processes: number | undefined;
}

/**
 * Returns what the processes of a control group use; undefined if the group does not exist.
 *
 * Source: the kernel's `admin-guide/cgroup-v2.rst`, and `admin-guide/cgroup-v1/memory.rst`, `cpuacct.rst` and `pids.rst`.
 *
 * Requires as `readKernelFiles`.
 */
export async function cgroupUsage(
  group: string,
  { root = "/sys/fs/cgroup", run, signal }: OomKillsOptions = {},
): Promise<CgroupUsage | undefined> {
  // Of each pair at most one file exists.
  const read = (two: string, one: string) =>
    readKernelFiles([`${root}${group}/${two}`, `${root}/${one}`], { run, signal });
  const [memory, facts, cpu, processes] = await Promise.all([
    read("memory.current", `memory${group}/memory.usage_in_bytes`),
    read("memory.stat", `memory${group}/memory.stat`),
    read("cpu.stat", `cpuacct${group}/cpuacct.usage`),
    read("pids.current", `pids${group}/pids.current`),
  ]);
  if (memory + facts + cpu + processes === "") return undefined;
  // With the first version the numbers that begin with "total_" are those of the groups below too.
  const fact = (...names: readonly string[]) => firstOf(names.map((name) => memberOf(facts, name)));
  const memoryBytes = numberOf(memory);
  const idle = fact("total_inactive_file", "inactive_file") ?? 0;
  const microseconds = memberOf(cpu, "usage_usec");
  return {
    cpuNanoseconds: microseconds === undefined ? numberOf(cpu) : microseconds * 1_000,
    memoryBytes,
    workingSetBytes: memoryBytes === undefined ? undefined : Math.max(0, memoryBytes - idle),
    rssBytes: fact("anon", "total_rss", "rss"),
    pageFaults: fact("total_pgfault", "pgfault"),
    majorPageFaults: fact("total_pgmajfault", "pgmajfault"),
    processes: numberOf(processes),
  };
}

function firstOf(values: readonly (number | undefined)[]): number | undefined {
  return values.find((value) => value !== undefined);
}

function memberOf(text: string, name: string): number | undefined {
  return numberOf(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1] ?? "");
}

function numberOf(text: string): number | undefined {
  return /^\d+\s*$/.test(text) ? Number(text) : undefined;
}
