/** The node of a storm: plugins, pods, a configuration directory, and everything that could be left. */
import { assertEquals } from "@std/assert";
import { dirname } from "@std/path";
import { type RunCommand, runCommand } from "../../lib/host/command.ts";
import { createNetns, nsProblem, removeNetns, runInside } from "../../lib/host/netns.ts";
import { Pods } from "../../lib/runtime/pods.ts";
import { Lines } from "../attachment/world.ts";
import { PluginWorld, RELEASES } from "./plugins_world.ts";
import { MARKER, markerProgram, type NetworkPlaces, type StormPlugins } from "./storm_networks.ts";

/** A call that the marker saw. */
export interface MarkedCall {
  readonly verb: string;
  readonly containerId: string;
  readonly ifName: string;
  /** `NETWORK/VERSION`, or `NETWORK/folder`. */
  readonly mark: string;
}

export class StormWorld implements AsyncDisposable {
  readonly log = new Lines();
  readonly #made = new Set<string>();

  private constructor(readonly node: PluginWorld, readonly plugins: StormPlugins) {}

  static async make(plugins: StormPlugins): Promise<StormWorld> {
    const world = new StormWorld(await PluginWorld.make("1.9.1"), plugins);
    await Deno.mkdir(dirname(world.#marker));
    await Deno.writeTextFile(world.#marker, markerProgram(world.#calls), { mode: 0o755 });
    await Deno.writeTextFile(world.#calls, "");
    return world;
  }

  get places(): NetworkPlaces {
    const { tag, bridge, ipamDir } = this.node;
    return { plugins: this.plugins, tag, bridge, dataDir: ipamDir };
  }

  get #marker(): string {
    return `${this.node.dir}/bin/${MARKER}`;
  }

  get #calls(): string {
    return `${this.node.dir}/calls.log`;
  }

  /** Pods whose plugins, built-in ones too, run on the node. */
  async open(): Promise<Pods> {
    const { dir, confDir, node } = this.node;
    const isReal = this.plugins !== "built-in";
    const run: RunCommand = (request) =>
      request.env?.CNI_CONTAINERID === undefined ? runCommand(request) : runInside(node, request);
    return await Pods.open({
      confDir,
      pluginDirs: [...(isReal ? [RELEASES["1.9.1"].folder] : []), dirname(this.#marker)],
      cacheDir: `${dir}/cache`,
      stateDir: `${dir}/state`,
      netnsDir: `${dir}/netns`,
      builtinPolicy: isReal ? "off" : "prefer",
      log: this.log,
      run,
    });
  }

  /** Makes the namespace of a pod. */
  async netns(name: string): Promise<string> {
    const path = this.node.path(name);
    this.#made.add(path);
    await createNetns(path);
    return path;
  }

  /** Removes it. */
  async gone(path: string): Promise<void> {
    await removeNetns(path);
    this.#made.delete(path);
  }

  /** The addresses of each link in a namespace, without `lo`. */
  async links(netns: string): Promise<ReadonlyMap<string, readonly string[]>> {
    const { code, stdout, stderr } = await runInside(netns, { program: "ip", args: ["-j", "addr", "show"] });
    assertEquals({ code, stderr }, { code: 0, stderr: "" });
    // deno-lint-ignore no-explicit-any
    const links = JSON.parse(stdout).filter(({ ifname }: any) => ifname !== "lo");
    // deno-lint-ignore no-explicit-any
    return new Map(links.map(({ ifname, addr_info }: any) => [
      ifname,
      // deno-lint-ignore no-explicit-any
      addr_info.filter(({ family }: any) => family === "inet").map(({ local }: any) => local),
    ]));
  }

  /** The files on record of a container. */
  async onRecord(containerId: string): Promise<readonly string[]> {
    const state = `${this.node.dir}/state`;
    // A search for leftovers holds the lock of each container for a moment.
    const own = ["(", "-name", containerId, "-o", "-name", `${containerId}.*`, ")"];
    const args = [state, ...own, "!", "-name", "*.lock"];
    return (await runCommand({ program: "find", args })).stdout.split("\n").filter((path) => path !== "");
  }

  /** All calls that the marker saw, in order. */
  async calls(): Promise<readonly MarkedCall[]> {
    const lines = (await Deno.readTextFile(this.#calls)).split("\n").filter((line) => line !== "");
    return lines.map((line) => {
      const [verb = "", containerId = "", ifName = "", mark = ""] = line.split(" ");
      return { verb, containerId, ifName, mark };
    });
  }

  /** Everything that is left, on the node and on disk, and should not be. */
  async left(): Promise<string[]> {
    const { dir, bridge } = this.node;
    const namespaces = await Promise.all(
      [...this.#made].map(async (path) => await nsProblem(path) === undefined ? `namespace: ${path}` : []),
    );
    // A bridge that stays does not belong to an attachment; a port of one does.
    const veths = await this.node.sh("ip -o link show type veth");
    const links = veths.split("\n").filter((line) => line !== "" && !line.includes(": up0@"));
    const emptied = this.plugins === "built-in" ? await this.node.sh("ip -o link show type bridge") : "";
    const bridges = emptied.split("\n").filter((line) => line.includes(`${bridge}g`));
    const folders = ["state", "cache", "netns"].map((folder) => `${dir}/${folder}`);
    const { stdout } = await runCommand({ program: "find", args: [...folders, "-not", "-type", "d"] });
    const files = stdout.split("\n").filter((file) => file !== "").map((file) => file.slice(dir.length + 1));
    const { stdout: mounts } = await runCommand({ program: "grep", args: [dir, "/proc/self/mounts"] });
    return [
      ...namespaces.flat(),
      ...links,
      ...bridges,
      ...await this.node.left("none"),
      ...files.filter((file) => !LASTING.some((lasting) => lasting.test(file))),
      ...mounts.split("\n").filter((line) => line !== ""),
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const path of [...this.#made]) await this.gone(path);
    await this.node[Symbol.asyncDispose]();
  }
}

/** What stays of pods that are gone, on purpose: the memory of the networks, and locks that are shared. */
const LASTING: readonly RegExp[] = [
  /^state\/(boot-id|format|(interfaces|by-name)\/\.complete|readiness\.json|catalogs\/[\da-f]+\.json)$/,
  /^state\/run\/(gc\/[^/]+\.(lock|mark)|(boot|names|ports|interfaces|files)\.lock)$/,
];
