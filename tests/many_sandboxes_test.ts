// What each command costs with many sandboxes on record: processes, open files, and how it grows.
import { assert, assertEquals } from "@std/assert";
import { bootId as bootIdOfHost } from "../lib/host/boot.ts";
import { type RunCommand, runCommand } from "../lib/host/command.ts";
import { ContainerLocks } from "../lib/network/container_lock.ts";
import { FailedIndex } from "../lib/network/failed_index.ts";
import { AttachmentStore } from "../lib/network/record.ts";
import { countAttachments } from "../lib/daemon/gauges.ts";
import { Podwire } from "../lib/runtime.ts";
import { SandboxStore } from "../lib/sandbox/store.ts";
import { seal, unseal } from "../lib/network/sealed.ts";
import { inParallel } from "../lib/network/parallel.ts";
import type { JsonObject } from "../lib/spec/json.ts";
import { idsFrom } from "./many_records.ts";
import { inTempDir } from "./temp_dir.ts";

const MOST_PROCESSES = 8;
const MOST_FILES = 64;
/** With ten times as many, what grows with the square takes a hundred times as long. */
const MOST_GROWTH = 40;

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

/** What it takes to do something with that many sandboxes on record. */
async function measured(dir: string, body: (podwire: Podwire) => Promise<unknown>) {
  const meter = new Meter();
  const podwire = new Podwire({ ...dirsOf(dir), run: meter.run });
  const looking = setInterval(() => meter.look(), 5);
  const started = performance.now();
  try {
    await body(podwire);
  } finally {
    clearInterval(looking);
  }
  const { mostProcesses, allProcesses, mostFiles } = meter;
  return { ms: performance.now() - started, mostProcesses, allProcesses, mostFiles };
}

const dirsOf = (dir: string) => ({
  confDir: `${dir}/conf`,
  stateDir: `${dir}/state`,
  cacheDir: `${dir}/cache`,
  runDir: `${dir}/run`,
  netnsDir: `${dir}/netns`,
  pluginDirs: [`${dir}/bin`],
});

/** A world with that many sandboxes, each with an attachment. */
async function fill(dir: string, count: number): Promise<void> {
  const dirs = dirsOf(dir);
  await Deno.mkdir(dirs.confDir, { recursive: true });
  const config = { cniVersion: "1.0.0", name: "web", plugins: [{ type: "bridge" }] };
  await Deno.writeTextFile(`${dirs.confDir}/web.conflist`, JSON.stringify(config));
  const bootId = await bootIdOfHost();
  await Deno.mkdir(dirs.stateDir, { recursive: true });
  await Deno.mkdir(`${dirs.cacheDir}/results`, { recursive: true });
  await Deno.writeTextFile(`${dirs.stateDir}/boot-id`, bootId);
  const createdAt = new Date().toISOString();
  await new SandboxStore(dirs.stateDir).write({
    id: "like",
    name: "like",
    namespace: "default",
    uid: "like",
    phase: "ready",
    createdAt,
    bootId,
    netns: { path: "/proc/self/ns/net", owned: false, id: undefined },
    pid: Deno.pid,
    infra: undefined,
    annotations: {},
  });
  await new AttachmentStore(dirs.stateDir).write({
    containerId: "like",
    network: "web",
    ifName: "eth0",
    state: "attached",
    netns: "/proc/self/ns/net",
    netnsId: undefined,
    owner: "sandbox:like",
    since: createdAt,
    bootId,
    sequence: 1,
    attempts: 0,
    nextTry: undefined,
    error: undefined,
    config: JSON.stringify(config),
    cniVersion: "1.0.0",
    cniArgs: [],
    capabilityArgs: {},
    result: { cniVersion: "1.0.0", ips: [{ address: "10.1.0.2/24" }] },
  });
  await copies(dirs, idsFrom("c", count - 1));
}

/** Copies what is on record of `like`, without waiting for the disk. */
async function copies(
  { stateDir, cacheDir }: ReturnType<typeof dirsOf>,
  ids: readonly string[],
): Promise<void> {
  const sandbox = await template(`${stateDir}/sandboxes/like.json`);
  const attachment = await template(`${stateDir}/attachments/like/eth0@web.json`);
  await inParallel(ids, 16, async (id) => {
    await Deno.writeTextFile(`${stateDir}/sandboxes/${id}.json`, await sandbox({ id, name: id, uid: id }));
    await Deno.mkdir(`${stateDir}/attachments/${id}`);
    const own = { containerId: id, owner: `sandbox:${id}` };
    await Deno.writeTextFile(`${stateDir}/attachments/${id}/eth0@web.json`, await attachment(own));
    const cached = {
      kind: "cniCacheV1",
      containerId: id,
      ifName: "eth0",
      networkName: "web",
      netns: "/proc/self/ns/net",
    };
    await Deno.writeTextFile(`${cacheDir}/results/web-${id}-eth0`, JSON.stringify({ ...cached, result: {} }));
  });
}

/** Gives what makes the text of another record of the same kind. */
async function template(file: string): Promise<(changes: JsonObject) => Promise<string>> {
  const text = await Deno.readTextFile(file);
  const { kind } = JSON.parse(text);
  const body = await unseal(kind, text);
  return (changes) => seal(kind, { ...body, ...changes });
}

/** What the commands and routes do. */
const ACTS: Readonly<Record<string, (podwire: Podwire, dir: string) => Promise<unknown>>> = {
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

Deno.test("with 1,000 and 10,000 sandboxes no command runs more than eight processes or opens more than 64 files at once, and none grows faster than they do", () =>
  inTempDir(async (small) => {
    await inTempDir(async (large) => {
      await fill(small, 1_000);
      await fill(large, 10_000);
      for (const [name, act] of Object.entries(ACTS)) {
        const few = await measured(small, (podwire) => act(podwire, small));
        const many = await measured(large, (podwire) => act(podwire, large));
        for (const { mostProcesses, mostFiles } of [few, many]) {
          assert(mostProcesses <= MOST_PROCESSES, `${name}: ${mostProcesses} processes at once`);
          assert(mostFiles <= MOST_FILES, `${name}: ${mostFiles} files at once`);
        }
        // With as many as there are sandboxes it would be thousands.
        assert(
          many.allProcesses <= few.allProcesses + MOST_PROCESSES,
          `${name}: ${many.allProcesses} processes`,
        );
        assert(many.ms / few.ms < MOST_GROWTH, `${name}: ${few.ms} ms, then ${many.ms} ms`);
      }
      const { sandboxes } = new Podwire(dirsOf(large));
      assertEquals((await sandboxes.list()).length, 10_000);
    });
  }));
