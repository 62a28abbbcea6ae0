import type { JsonObject } from "../../lib/cni/json.ts";
import type { RuntimeOptions } from "../../lib/runtime/options.ts";
import { writeExecutable } from "../executable.ts";
import type { RecordDirs } from "../many_records.ts";
import { type BinaryWorld, SYSTEM_PATH } from "../root/binary_world.ts";
import { CNI_1_9_1, PODWIRE_BINARY } from "../root/need.ts";
import type { Bench } from "./bench.ts";
import type { Way } from "./in_turn.ts";
import { bareStart } from "./least.ts";
import type { Peer, PeerRequest } from "./peer.ts";

/** The network of each site. */
export const NETWORK = "one";
/** The interface of each pod. */
export const IF_NAME = "eth0";

/** Where a site is, and what its network consists of. */
export interface SiteOptions {
  /** Whether records and cached results are in memory. @default {false} */
  readonly inMemory?: boolean;
  readonly plugins: (site: Site) => readonly JsonObject[];
  readonly cniVersion?: string;
  /** Directories of plugins. @default {those of the original plugins} */
  readonly pluginDirs?: readonly string[];
}

/** Prints the same answer to every verb; the program that prints it is started faster than a shell. */
const NOTHING = `#!/usr/bin/tail -n+2
{"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"], "ips": [{"address": "10.1.0.2/24"}]}
`;

let sites = 0;

/** Directories, a bridge and a network of one runtime: those that are compared share nothing. */
export class Site {
  readonly #number = ++sites;

  private constructor(
    readonly bench: Bench,
    readonly pluginDirs: readonly string[],
    readonly inMemory: boolean,
  ) {}

  static async make(
    bench: Bench,
    { inMemory = false, plugins, cniVersion = "1.0.0", pluginDirs = [CNI_1_9_1] }: SiteOptions,
  ): Promise<Site> {
    const site = new Site(bench, pluginDirs, inMemory);
    for (const dir of [site.confDir, site.dir, site.netnsDir]) await Deno.mkdir(dir, { recursive: true });
    await site.#putLocksInMemory();
    const list = { cniVersion, name: NETWORK, plugins: plugins(site) };
    await Deno.writeTextFile(`${site.confDir}/${NETWORK}.conflist`, JSON.stringify(list));
    return site;
  }

  /** Records, cached results and held addresses are below it. */
  get dir(): string {
    return `${this.inMemory ? this.bench.memory : this.bench.disk}/site${this.#number}`;
  }

  get confDir(): string {
    return `${this.dir}/conf`;
  }

  get netnsDir(): string {
    return `${this.bench.memory}/site${this.#number}/netns`;
  }

  get bridge(): string {
    return `pwbench${this.#number}`;
  }

  /** The first half of the addresses of its pods. */
  get subnet(): string {
    return `10.${100 + this.#number}`;
  }

  get options(): RuntimeOptions & RecordDirs {
    return {
      confDir: this.confDir,
      pluginDirs: this.pluginDirs,
      stateDir: `${this.dir}/state`,
      cacheDir: `${this.dir}/cache`,
      runDir: `${this.dir}/state/run`,
      netnsDir: this.netnsDir,
    };
  }

  /** The same for the command line. */
  get flags(): readonly string[] {
    const { confDir, pluginDirs, dir, netnsDir } = this;
    return [
      `--conf-dir=${confDir}`,
      `--state-dir=${dir}/state`,
      `--cache-dir=${dir}/cache`,
      `--netns-dir=${netnsDir}`,
      ...pluginDirs.map((path) => `--plugin-dir=${path}`),
    ];
  }

  /** On a node they are in /run; with a directory of records that is not the default one they are below it. */
  async #putLocksInMemory(): Promise<void> {
    const [place, memory] = [`${this.dir}/state/run`, `${this.bench.memory}/site${this.#number}/run`];
    for (const dir of [place, memory]) await Deno.mkdir(dir, { recursive: true, mode: 0o700 });
    if (!this.inMemory) await bareStart("mount", ["--bind", memory, place]);
  }

  /** Where the daemon of the command line runs with this site. */
  get daemonWorld(): Pick<BinaryWorld, "dir" | "start"> {
    return {
      dir: this.dir,
      start: (args) =>
        new Deno.Command(PODWIRE_BINARY, {
          args: [...this.flags, ...args],
          env: { PATH: SYSTEM_PATH },
          clearEnv: true,
          stdin: "null",
          stdout: "piped",
          stderr: "piped",
        }).spawn(),
    };
  }

  /** How the peer does the same with this site. `netnsOf` says which namespace is there; without it the peer makes one. */
  peerWay(peer: Peer, netnsOf?: (place: number) => string): Way {
    const ask = (op: PeerRequest["op"]) => (pod: string, place: number) =>
      peer.request({
        op,
        pod,
        netns: netnsOf?.(place) ?? `${this.netnsDir}/${pod}`,
        makesNetns: netnsOf === undefined,
        ifName: IF_NAME,
        network: NETWORK,
        confDir: this.confDir,
        pluginDirs: this.pluginDirs,
        cacheDir: `${this.dir}/cache`,
      });
    return { up: ask("up"), check: ask("check"), down: ask("down"), pid: peer.pid };
  }
}

/** A bridge with addresses by host-local and a default route. */
export function bridgePlugin({ bridge, dir, subnet }: Site): JsonObject {
  const ranges = [[{ subnet: `${subnet}.0.0/16` }]];
  const ipam = { type: "host-local", dataDir: `${dir}/addresses`, ranges, routes: [{ dst: "0.0.0.0/0" }] };
  return { type: "bridge", bridge, isGateway: true, ipam };
}

/** Writes the plugin `nothing` into a new directory, and returns that. */
export async function nothingDir({ disk }: Bench): Promise<string> {
  const dir = await Deno.makeTempDir({ dir: disk, prefix: "bin-" });
  writeExecutable(`${dir}/nothing`, NOTHING);
  return dir;
}
