import { readKernelFiles } from "../../lib/host/kernel_file.ts";

/** The kernel shows processor time in hundredths of a second, on every architecture. */
const TICK_MS = 10;
/** The fields of proc_pid_stat(5) after the name: user and system time of the process, and of children that have ended. */
const FIRST_TIME = 11;
const TIMES = 4;

/** Milliseconds of processor time of a process, and of those that it has waited for. */
export async function cpuMs(pid: number): Promise<number> {
  const text = await readKernelFiles([`/proc/${pid}/stat`]);
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ").slice(FIRST_TIME, FIRST_TIME + TIMES);
  return fields.reduce((sum, ticks) => sum + Number(ticks) * TICK_MS, 0);
}

/** The resident memory of a process, in megabytes. */
export async function memoryOf(pid: number): Promise<number> {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(await readKernelFiles([`/proc/${pid}/status`]))?.[1];
  if (kib === undefined) throw new Error(`Cannot read the memory of process ${pid}: it has ended`);
  return Number(kib) * 1_024 / 1_000_000;
}
