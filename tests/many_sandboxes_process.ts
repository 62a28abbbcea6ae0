/**
 * A process of its own that does what one command does, because other code in the same process would open
 * files and take time, too: `many_sandboxes_process.ts DIR ACT` prints the cost as JSON.
 */
import process from "node:process";
import { Daemon } from "../lib/daemon/daemon.ts";
import { type RunCommand, runCommand } from "../lib/host/command.ts";
import { requestOverUnix } from "../lib/host/http_over_unix.ts";
import { silentLogger } from "../lib/host/log.ts";
import { ServiceManager } from "../lib/host/service_manager.ts";
import { Podwire } from "../lib/runtime/podwire.ts";

/** The cost of a command. */
export interface Effort {
  readonly mostProcesses: number;
  readonly allProcesses: number;
  readonly mostFiles: number;
  readonly cpuMs: number;
}

/** Counts how much runs at the same time. */
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

async function measured(dir: string, act: Act): Promise<Effort> {
  const meter = new Meter();
  const podwire = new Podwire({ ...dirsOf(dir), run: meter.run });
  const looking = setInterval(() => meter.look(), 5);
  const before = process.cpuUsage();
  try {
    await act(podwire, dir, meter.run);
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

type Act = (podwire: Podwire, dir: string, run: RunCommand) => Promise<unknown>;

/** The commands and routes. */
export const ACTS: Readonly<Record<string, Act>> = {
  "ps": (podwire) => podwire.sandboxes.list(),
  "inspect": (podwire) => podwire.sandboxes.get("like"),
  "attachments": (podwire) => podwire.attachments(),
  "gc --dry-run": (podwire) => podwire.gc({ dryRun: true }),
  "status": (podwire) => podwire.status(),
  "recover": (podwire) => podwire.recover(),
  "GET of sandboxes, one of them, and metrics": (_, dir, run) => askDaemon(dir, run),
};

const TARGETS = ["/v1/sandboxes", "/v1/sandboxes/like", "/metrics"];

/** Asks a daemon over its socket, which recovers at the same time. */
async function askDaemon(dir: string, run: RunCommand): Promise<void> {
  const socket = `${dir}/socket`;
  const manager = new ServiceManager({ notifySocket: undefined, pid: Deno.pid, run });
  const runtime = { ...dirsOf(dir), run };
  const daemon = await Daemon.start({ runtime, socket, version: "0", log: silentLogger, manager });
  try {
    for (const target of TARGETS) {
      const { status, text } = await requestOverUnix(socket, { method: "GET", target, body: "" });
      if (status !== 200) throw new Error(`GET ${target}: ${status} ${text}`);
    }
  } finally {
    await daemon.end();
  }
}

if (import.meta.main) {
  const [dir = "", name = ""] = Deno.args;
  const act = ACTS[name];
  if (act === undefined) throw new Error(`no act "${name}"`);
  console.log(JSON.stringify(await measured(dir, act)));
}
