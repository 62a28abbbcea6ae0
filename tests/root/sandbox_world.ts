/** A runtime with directories, networks and recording plugins of its own, on the real kernel. */
import { assertEquals } from "@std/assert";
import { runCommand } from "../../lib/host/command.ts";
import { Podwire, type RuntimeOptions } from "../../lib/runtime/podwire.ts";
import type { SandboxRecord } from "../../lib/sandbox/record.ts";
import type { SandboxStore } from "../../lib/sandbox/store.ts";
import type { AttachmentKey, AttachmentRecord, AttachmentStore } from "../../lib/state/attachment_store.ts";
import { ContainerLocks } from "../../lib/state/container_locks.ts";
import { Locks } from "../../lib/state/locks.ts";
import { ResultCache } from "../../lib/state/result_cache.ts";
import { Lines } from "../attachment/world.ts";
import { bootedAs } from "../booted_as.ts";
import { bounded } from "../bounded.ts";
import { type Answer, PluginFolder, type RecordingPlugin } from "../recording_plugin.ts";
import { until as patiently } from "../until.ts";
import { need } from "./need.ts";
import { unmountBelow } from "./unmount.ts";
import { recordFile, storesIn } from "../stores.ts";

/** How the plugins of a world answer by default. */
const ADDED = '{"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.2/24"}, {"address": "fd00::2/64"}]}';
export const REFUSAL: Answer = { stdout: '{"code": 107, "msg": "no room"}', code: 1 };
export const DEL_REFUSAL: Answer = { stdout: '{"code": 108, "msg": "will not"}', code: 1 };

export class SandboxWorld implements AsyncDisposable {
  readonly stateDir: string;
  readonly runDir: string;
  readonly netnsDir: string;
  readonly confDir: string;
  readonly store: AttachmentStore;
  readonly sandboxes: SandboxStore;
  readonly locks: Locks;
  readonly log = new Lines();
  /**
   * All processes can see them, so IDs must differ from those of other tests: recovery ends processes by
   * them.
   */
  readonly #tag = crypto.randomUUID().slice(-12);

  private constructor(readonly dir: string, readonly plugins: PluginFolder) {
    this.stateDir = `${dir}/state`;
    this.runDir = `${dir}/run`;
    this.netnsDir = `${dir}/netns`;
    this.confDir = `${dir}/conf`;
    const { store, sandboxes } = storesIn(this.stateDir);
    this.store = store;
    this.sandboxes = sandboxes;
    this.locks = new Locks(this.runDir);
  }

  static async make(): Promise<SandboxWorld> {
    const dir = await Deno.makeTempDir({ prefix: "pwt-sandbox-" });
    await Deno.mkdir(`${dir}/conf`);
    return new SandboxWorld(dir, await PluginFolder.make());
  }

  /**
   * An ID that no other test has; the output of this world shows it without the mark that makes it unique.
   */
  id(name: string): string {
    return `${name}-${this.#tag}`;
  }

  /** The calls of all plugins in order, each as `TYPE VERB CONTAINER INTERFACE`. */
  async calls(): Promise<string[]> {
    return (await this.plugins.log()).map((line) => this.plain(line));
  }

  /** The text without the marks of {@linkcode id}. */
  plain(text: string): string {
    return text.replaceAll(`-${this.#tag}`, "");
  }

  /** Adds a network with one plugin, both of that name. The first by name is the default. */
  async network(name: string, answers: Readonly<Record<string, Answer>> = {}): Promise<RecordingPlugin> {
    const list = { cniVersion: "1.1.0", name, plugins: [{ type: name }] };
    await Deno.writeTextFile(`${this.confDir}/${name}.conflist`, JSON.stringify(list));
    return await this.plugins.install(name, { ADD: { stdout: ADDED }, ...answers });
  }

  get options(): RuntimeOptions {
    return {
      confDir: this.confDir,
      pluginDirs: [this.plugins.dir],
      cacheDir: `${this.dir}/cache`,
      stateDir: this.stateDir,
      runDir: this.runDir,
      netnsDir: this.netnsDir,
    };
  }

  /** A runtime as in a process that has just been started. */
  podwire(overrides: Partial<RuntimeOptions> = {}): Podwire {
    return new Podwire({ ...this.options, log: this.log, ...overrides });
  }

  /** A runtime on a machine that was started again. */
  afterRestart(boot = "another-boot"): Podwire {
    return this.podwire({ run: bootedAs(boot) });
  }

  /** Lets the disk say that this sandbox, which is up, was in that phase when its process was killed. */
  async interrupt(
    id: string,
    phase: SandboxRecord["phase"],
    state?: AttachmentRecord["state"],
  ): Promise<void> {
    const sandbox = await this.sandboxes.read(id);
    await this.sandboxes.write({ ...sandbox!, phase });
    for (const record of await this.store.ofContainer(id)) {
      if (state !== undefined) await this.store.write({ ...record, state });
    }
    await this.leaveLock(id);
  }

  /** The lock file of an operation whose process was killed. */
  async leaveLock(id: string): Promise<void> {
    await Deno.mkdir(`${this.runDir}/containers`, { recursive: true });
    await Deno.writeTextFile(`${this.runDir}/containers/${id}.lock`, "");
  }

  /** The names of the existing namespaces. */
  async namespaces(): Promise<string[]> {
    return (await list(this.netnsDir)).map((name) => this.plain(name)).sort();
  }

  /** What is left of sandboxes: namespaces, records, names, attachments, cached results, locks. */
  async left(): Promise<string[]> {
    const found: string[] = [];
    const dirs = ["netns", "state/records", "state/names/default", "cache/results", "run/containers"];
    for (const dir of dirs) for (const name of await list(`${this.dir}/${dir}`)) found.push(`${dir}/${name}`);
    const shown = new Set<string>();
    for (const record of await this.store.all()) {
      found.push(`${record.network} ${record.ifName} ${record.state}`);
      if (await this.sandboxes.readAny(record.containerId) !== undefined) continue;
      // The file holds nothing else.
      shown.add(recordFile("state", record.containerId));
    }
    const left = found.filter((line) => !shown.has(line));
    return left.map((line) => this.plain(line)).sort();
  }

  /** Removes an attachment's records as a removal does, libcni's entry first. */
  async forget(record: AttachmentKey): Promise<void> {
    await new ResultCache(`${this.dir}/cache`).remove(record);
    await this.store.remove(record);
  }

  /** The output of a command that must succeed. */
  async sh(script: string, ...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await runCommand({ program: "sh", args: ["-c", script, "sh", ...args] });
    assertEquals(code, 0, `${script}: ${stderr}`);
    return stdout;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.plugins[Symbol.asyncDispose]();
    await unmountBelow(this.netnsDir);
    await Deno.remove(this.dir, { recursive: true });
  }
}

/** Runs a test that needs the kernel, in a world of its own. */
export function sandboxTest(name: string, fn: (world: SandboxWorld) => Promise<void>): void {
  Deno.test({
    name,
    ...need("root", "ip"),
    fn: async () => {
      await using world = await SandboxWorld.make();
      await bounded(() => fn(world));
    },
  });
}

async function list(dir: string): Promise<string[]> {
  try {
    return await Array.fromAsync(Deno.readDir(dir), ({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Resolves when a caller in this process next asks for the lock of that container. */
export function whenLocked(containerId: string): Promise<void> {
  const { lock } = ContainerLocks.prototype;
  const { promise, resolve } = Promise.withResolvers<void>();
  ContainerLocks.prototype.lock = function (id, signal) {
    if (id === containerId) {
      ContainerLocks.prototype.lock = lock;
      resolve();
    }
    return lock.call(this, id, signal);
  };
  return promise;
}

/** Waits until something is so. */
export function until(isSo: () => Promise<boolean>, patienceMs?: number): Promise<void> {
  return patiently(isSo, undefined, patienceMs);
}
