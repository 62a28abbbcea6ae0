/** A machine whose disk is a directory: it runs podwire for real, loses its power, and boots again. */
import type { Random } from "../cni/random.ts";
import type { PortMapping } from "../../lib/pod/request.ts";
import { runCommand } from "../../lib/host/command.ts";
import { createNetns } from "../../lib/host/netns.ts";
import { Podwire, type RuntimeOptions } from "../../lib/runtime/podwire.ts";
import { wire } from "../../lib/runtime/wiring.ts";
import type { SandboxRequest } from "../../lib/sandbox/request.ts";
import { bootedAs } from "../booted_as.ts";
import { unmountBelow } from "../root/unmount.ts";
import { FileHistory } from "./file_history.ts";
import { FileRecorder } from "./file_recorder.ts";
import { type FileTree, readTree, writeTree } from "./file_tree.ts";

/** How many addresses the network of the pods has. */
export const ADDRESSES = 4;
/** In memory, where building a state takes a fraction of the time. */
const IN_MEMORY = "/run";
/** Unfinished writes have the number of their process in their names, and no process of Linux has that one. */
const NO_PROCESS = ".podwire-4194305-";
const UNFINISHED = /\.podwire-\d+-(?=[0-9a-f]{32}\.tmp)/g;

/** A pod that a caller was sure of for a while. */
export interface Promised {
  readonly id: string;
  /** The number of operations when its start had ended. */
  readonly from: number;
  /** The number of operations when its removal began. */
  to: number;
}

/** What a run did to the disk, and what its caller was sure of. */
export interface Recorded {
  readonly history: FileHistory;
  readonly base: FileTree;
  readonly promised: readonly Promised[];
}

export class CrashWorld implements AsyncDisposable {
  /** All that was logged in this boot, with the facts. */
  readonly lines: string[] = [];
  readonly #tag = crypto.randomUUID().slice(-8);
  #recorder: FileRecorder | undefined;
  #promised: Promised[] = [];

  private constructor(readonly dir: string) {}

  static async make(): Promise<CrashWorld> {
    const world = new CrashWorld(await Deno.makeTempDir({ dir: IN_MEMORY, prefix: "pwt-crash-" }));
    for (const name of ["conf", "netns", "disk"]) await Deno.mkdir(`${world.dir}/${name}`);
    await world.#network("a", { rangeStart: "10.231.0.2", rangeEnd: `10.231.0.${1 + ADDRESSES}` });
    await world.#network("full", { rangeStart: "10.231.0.250", rangeEnd: "10.231.0.250" });
    return world;
  }

  /** All that outlives a loss of power. */
  get disk(): string {
    return `${this.dir}/disk`;
  }

  get options(): RuntimeOptions {
    const log = (msg: string, facts?: object) => void this.lines.push(`${msg} ${JSON.stringify(facts)}`);
    return {
      confDir: `${this.dir}/conf`,
      pluginDirs: [],
      stateDir: `${this.disk}/state`,
      cacheDir: `${this.disk}/cache`,
      runDir: `${this.dir}/run`,
      netnsDir: `${this.dir}/netns`,
      builtinPolicy: "prefer",
      log: { debug: () => {}, info: log, warn: log, error: log },
    };
  }

  /** Recovery looks for processes by the IDs of their containers, so no other test may have the same. */
  id(name: string): string {
    return `${name}-${this.#tag}`;
  }

  /** A new process in the boot with that name; without one, in the real boot. */
  podwire(boot?: string): Podwire {
    return new Podwire(this.#optionsIn(boot));
  }

  /** What a new process does before its first ADD. */
  async beforeFirstAdd(boot?: string): Promise<void> {
    await wire(this.#optionsIn(boot)).recovery.beforeFirstAdd();
  }

  #optionsIn(boot: string | undefined): RuntimeOptions {
    return boot === undefined ? this.options : { ...this.options, run: bootedAs(boot) };
  }

  /** Returns the request of a pod with that name. */
  request(name: string, more: Partial<SandboxRequest> = {}): SandboxRequest {
    return { name, id: this.id(name), networks: [{ name: "a" }], ...more };
  }

  /** Starts a pod. Its caller is sure of it until {@linkcode CrashWorld.end}. */
  async run(podwire: Podwire, request: SandboxRequest): Promise<void> {
    const { id } = await podwire.sandboxes.run(request);
    this.#promised.push({ id, from: this.#moment, to: Infinity });
  }

  /** The caller begins to stop or to remove a pod. */
  end(name: string): void {
    for (const each of this.#promised) if (each.id === this.id(name)) each.to = this.#moment;
  }

  get #moment(): number {
    return this.#recorder?.operations.length ?? 0;
  }

  /** Makes a namespace that podwire did not make, and returns its path. */
  async netns(name: string): Promise<string> {
    const path = `${this.dir}/netns/${name}`;
    await createNetns(path);
    return path;
  }

  /** Records what `act` does to the disk. */
  async record(act: () => Promise<void>, random: Random): Promise<Recorded> {
    this.#promised = [];
    using recorder = new FileRecorder(this.disk);
    this.#recorder = recorder;
    try {
      await act();
    } finally {
      this.#recorder = undefined;
    }
    const { base, operations } = recorder;
    return { history: new FileHistory(base, operations, random), base, promised: this.#promised };
  }

  /** Removes all that does not outlive a loss of power. */
  async loseNamespaces(): Promise<void> {
    await unmountBelow(`${this.dir}/netns`);
    for (const name of ["netns", "run"]) {
      await Deno.remove(`${this.dir}/${name}`, { recursive: true }).catch((error) => {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      });
    }
    await Deno.mkdir(`${this.dir}/netns`);
    await runCommand({ program: "ip", args: ["link", "delete", "dev", this.#bridge] });
    this.lines.length = 0;
  }

  /** Lets the disk have that state, as a boot finds it. The run directory is in memory, so it is empty then. */
  build(tree: FileTree): void {
    writeTree(
      this.disk,
      new Map([...tree].map(([path, entry]) => [path.replace(UNFINISHED, NO_PROCESS), entry])),
    );
    try {
      Deno.removeSync(`${this.dir}/run`, { recursive: true });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    this.lines.length = 0;
  }

  read(): FileTree {
    return readTree(this.disk);
  }

  get #bridge(): string {
    return `pwc-${this.#tag}`;
  }

  async #network(
    name: string,
    range: { readonly rangeStart: string; readonly rangeEnd: string },
  ): Promise<void> {
    const ipam = { type: "host-local", dataDir: `${this.disk}/addresses`, subnet: "10.231.0.0/24", ...range };
    const plugin = { type: "bridge", bridge: this.#bridge, isGateway: true, ipam };
    const plugins = [{ ...plugin, capabilities: { portMappings: true } }];
    await Deno.writeTextFile(
      `${this.dir}/conf/${name}.conflist`,
      JSON.stringify({ cniVersion: "1.1.0", name, plugins }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.loseNamespaces();
    await Deno.remove(this.dir, { recursive: true });
  }
}

/** A port of the host for the port 80 of a pod. */
export function published(hostPort: number): PortMapping {
  return { hostIP: "", hostPort, containerPort: 80, protocol: "tcp" };
}
