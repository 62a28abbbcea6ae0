/**
 * A process of its own that does what one command does, as others in one process with it open files and take time, too:
 * `many_sandboxes_process.ts DIR ACT` prints what it took as JSON.
 */
import process from "node:process";
import { countAttachments } from "../lib/daemon/gauges.ts";
import { type RunCommand, runCommand } from "../lib/host/command.ts";
import { ContainerLocks } from "../lib/network/container_lock.ts";
import { FailedIndex } from "../lib/network/failed_index.ts";
import { AttachmentStore } from "../lib/network/record.ts";
import { Podwire } from "../lib/runtime.ts";

/** What it took. */
export interface Effort {
  readonly mostProcesses: number;
  readonly allProcesses: number;
  readonly mostFiles: number;
  readonly cpuMs: number;
}

/** Sees how much goes on at the same time. */
class Meter {
  processes = 0;
  mostProcesses = 0;
  allProcesses = 0;
  mostFiles = 0;
  readonly #before = openFiles();

  readonly run: RunCommand = async (request) => {
    this.allProcesses++;
    this.mostProcesses = Math.max(this.mostProcesses, ++this.processes);
    try {
      return await runCommand(request);
    } finally {
      this.processes--;
    }
  };

  look(): void {
    this.mostFiles = Math.max(this.mostFiles, openFiles() - this.#before);
  }
}

function openFiles(): number {
  return Array.from(Deno.readDirSync("/proc/self/fd")).length;
}

async function measured(dir: string, body: (podwire: Podwire) => Promise<unknown>): Promise<Effort> {
  const meter = new Meter();
  const podwire = new Podwire({ ...dirsOf(dir), run: meter.run });
  const looking = setInterval(() => meter.look(), 5);
  const before = process.cpuUsage();
  try {
    await body(podwire);
  } finally {
    clearInterval(looking);
  }
  const { mostProcesses, allProcesses, mostFiles } = meter;
  const { user, system } = process.cpuUsage(before);
  return { cpuMs: (user + system) / 1_000, mostProcesses, allProcesses, mostFiles };
}

/** The directories of a world. */
export const dirsOf = (dir: string) => ({
  confDir: `${dir}/conf`,
  stateDir: `${dir}/state`,
  cacheDir: `${dir}/cache`,
  runDir: `${dir}/run`,
  netnsDir: `${dir}/netns`,
  pluginDirs: [`${dir}/bin`],
});

/** What the commands and routes do. */
export const ACTS: Readonly<Record<string, (podwire: Podwire, dir: string) => Promise<unknown>>> = {
  "ps and GET sandboxes": (podwire) => podwire.sandboxes.list(),
  "inspect": (podwire) => podwire.sandboxes.get("like"),
  "attachments": (podwire) => podwire.attachments(),
  "gc --dry-run": (podwire) => podwire.gc({ dryRun: true }),
  "status": (podwire) => podwire.status(),
  "GET metrics": async (podwire, dir) => {
    const { stateDir, runDir } = dirsOf(dir);
    const [store, failed] = [new AttachmentStore(stateDir), new FailedIndex(stateDir)];
    await podwire.sandboxes.states();
    await countAttachments({ store, failed, locks: new ContainerLocks(runDir) });
  },
};

if (import.meta.main) {
  const [dir = "", name = ""] = Deno.args;
  const act = ACTS[name];
  if (act === undefined) throw new Error(`no act "${name}"`);
  console.log(JSON.stringify(await measured(dir, (podwire) => act(podwire, dir))));
}
