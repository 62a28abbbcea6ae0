/** All parts of one network, on disk and with real plugins, in a folder of its own. Needs no root. */
import { assertEquals } from "@std/assert";
import { Attachments, type AttachmentsOptions } from "../../lib/attachment/attachments.ts";
import { InterfaceGuard } from "../../lib/attachment/interface_guard.ts";
import type { FullAttachRequest } from "../../lib/attachment/request.ts";
import { type NetworkConfigList, parseConfigList } from "../../lib/cni/config.ts";
import { RunningPrograms } from "../../lib/host/running_programs.ts";
import { DEFAULT_TIMEOUTS, type Timeouts } from "../../lib/plugin/deadline.ts";
import { PluginRunner } from "../../lib/plugin/exec.ts";
import { NetnsGuard } from "../../lib/plugin/netns_guard.ts";
import type { AttachmentRecord, AttachmentStore } from "../../lib/state/attachment_store.ts";
import type { BadRecord } from "../../lib/state/checksummed.ts";
import { FailedIndex } from "../../lib/state/failed_index.ts";
import { HostPorts } from "../../lib/state/host_ports.ts";
import { Locks } from "../../lib/state/locks.ts";
import { ResultCache } from "../../lib/state/result_cache.ts";
import { FakeRun } from "../fake_run.ts";
import { PluginFolder } from "../recording_plugin.ts";
import { bootId } from "../../lib/host/boot.ts";
import { storesIn } from "../stores.ts";

/** The lines of the log, as `level message`. */
export class Lines {
  readonly all: string[] = [];
  readonly debug = (msg: string) => void this.all.push(`debug ${msg}`);
  readonly info = (msg: string) => void this.all.push(`info ${msg}`);
  readonly warn = (msg: string) => void this.all.push(`warn ${msg}`);
  readonly error = (msg: string) => void this.all.push(`error ${msg}`);
}

const UNCLAIMED = {
  ownerOf: () => Promise.resolve(undefined),
  isOwner: () => Promise.resolve(true),
  withdraw: () => Promise.resolve(),
  claim: () => Promise.resolve(undefined),
  release: () => Promise.resolve(),
};

export class NetworkWorld implements AsyncDisposable {
  readonly stateDir: string;
  readonly cacheDir: string;
  readonly confDir: string;
  /** A link to the namespace of this process. A test may remove it or change its target. */
  readonly netns: string;
  readonly store: AttachmentStore;
  readonly cache: ResultCache;
  readonly locks: Locks;
  readonly ports: HostPorts;
  readonly failed: FailedIndex;
  readonly bad: BadRecord[] = [];
  readonly log = new Lines();
  /** Returns the identity of the boot. The plugins are real. */
  readonly host = new FakeRun();
  /** Finds processes with `host`. */
  readonly running: RunningPrograms;

  private constructor(readonly dir: string, readonly plugins: PluginFolder) {
    this.stateDir = `${dir}/state`;
    this.cacheDir = `${dir}/cache`;
    this.confDir = `${dir}/conf`;
    this.netns = `${dir}/netns`;
    const onBad = (bad: BadRecord) => void this.bad.push(bad);
    this.store = storesIn(this.stateDir, { onBad, boot: () => bootId(this.host.run) }).store;
    this.cache = new ResultCache(this.cacheDir);
    this.locks = new Locks(`${dir}/run`);
    this.ports = new HostPorts({ stateDir: this.stateDir, store: this.store, locks: this.locks, onBad });
    this.failed = new FailedIndex(this.stateDir);
    this.running = new RunningPrograms(`${dir}/run`, this.host.run);
  }

  static async make(): Promise<NetworkWorld> {
    const dir = await Deno.makeTempDir({ prefix: "podwire-network-" });
    await Deno.mkdir(`${dir}/conf`);
    await Deno.symlink("/proc/self/ns/net", `${dir}/netns`);
    return new NetworkWorld(dir, await PluginFolder.make());
  }

  get runner(): PluginRunner {
    return new PluginRunner({ pluginDirs: [this.plugins.dir] });
  }

  /** Each pod uses the namespace of this process, so that no test needs root. */
  get interfaces(): InterfaceGuard {
    const netnsGuard = new NetnsGuard({ ownId: () => Promise.resolve("") });
    return new InterfaceGuard({ claims: UNCLAIMED, netnsGuard, run: this.host.run, log: this.log });
  }

  /** Returns new parts, as a new process would have them. */
  attachments(timeouts: Partial<Timeouts> = {}, more: Partial<AttachmentsOptions> = {}): Attachments {
    return new Attachments({
      runner: this.runner,
      store: this.store,
      cache: this.cache,
      ports: this.ports,
      locks: this.locks,
      interfaces: this.interfaces,
      failed: this.failed,
      log: this.log,
      run: this.host.run,
      timeouts: { ...DEFAULT_TIMEOUTS, ...timeouts },
      ...more,
    });
  }

  request(overrides: Partial<FullAttachRequest> = {}): FullAttachRequest {
    return {
      containerId: "c1",
      netns: this.netns,
      ifName: "eth0",
      args: [],
      capabilityArgs: {},
      owner: "cli",
      ...overrides,
    };
  }

  /** Returns the names of the files of the cache, and `<container>/<interface>@<network>` of the records, sorted. */
  async files(): Promise<string[]> {
    const found: string[] = [];
    const walk = async (dir: string, shown: string) => {
      for (const { name, isDirectory } of await entriesOf(dir)) {
        if (isDirectory) await walk(`${dir}/${name}`, `${shown}${name}/`);
        else found.push(`${shown}${name}`);
      }
    };
    for (const id of await this.store.containers()) {
      const { records, damaged } = await this.store.scan(id);
      found.push(...[...records, ...damaged].map(({ ifName, network }) => `${id}/${ifName}@${network}`));
    }
    await walk(`${this.cacheDir}/results`, "results/");
    return found.sort();
  }

  /** Returns the only record. */
  async onlyRecord(): Promise<AttachmentRecord> {
    const records = await this.store.all();
    assertEquals(records.length, 1);
    return records[0]!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.plugins[Symbol.asyncDispose]();
    await Deno.remove(this.dir, { recursive: true });
  }
}

/** Returns a list named `web` with plugins of these types. */
export function listOf(types: readonly string[], more: Record<string, unknown> = {}): NetworkConfigList {
  return parseConfigList(JSON.stringify({
    cniVersion: "1.1.0",
    name: "web",
    plugins: types.map((type) => ({ type })),
    ...more,
  }));
}

/** Returns a result with one address. */
export function resultWith(address: string, cniVersion = "1.1.0"): string {
  return JSON.stringify({ cniVersion, ips: [{ address }] });
}

async function entriesOf(dir: string): Promise<Deno.DirEntry[]> {
  try {
    return await Array.fromAsync(Deno.readDir(dir));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
