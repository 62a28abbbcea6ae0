/**
 * Pods on three networks, one of them with podwire's own plugins, and everything that a process killed there
 * can leave.
 */
import { iptablesChain } from "../../lib/builtin/attachment_tag.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import type { PodRequest, WantedNetwork } from "../../lib/pod/request.ts";
import type { Random } from "../cni/random.ts";
import type { RecordingPlugin } from "../recording_plugin.ts";
import { installPaced, type Pace } from "./paced_plugins.ts";
import { PodsWorld } from "./pods_world.ts";

/**
 * How many paced plugins are in the chain of a network, and whether podwire's own bridge comes before them.
 */
const NETWORKS = {
  a: { paced: 2, bridge: false },
  b: { paced: 3, bridge: false },
  n: { paced: 1, bridge: true },
};
type Name = keyof typeof NETWORKS;
const NAMES = Object.keys(NETWORKS) as Name[];

/** A pod, or a sandbox whose namespace podwire makes. */
export interface Unit {
  readonly id: string;
  readonly isSandbox: boolean;
  /** The arguments of `setUp` or `run`. */
  readonly request: PodRequest | JsonObject;
  /** The calls of paced plugins that its set-up needs at most, and its tear-down. */
  readonly calls: number;
}

export class KillWorld implements AsyncDisposable {
  readonly #bridge: string;
  readonly #subnet4: string;
  readonly #subnet6: string;
  readonly #ids: string[] = [];

  private constructor(readonly world: PodsWorld, readonly plugins: readonly RecordingPlugin[]) {
    const [a = 0, b = 0, ...rest] = crypto.getRandomValues(new Uint8Array(5));
    // At random: test files run at the same time.
    this.#subnet4 = `10.${160 + a % 60}.${b}`;
    this.#subnet6 = `fd02:${a.toString(16)}:${b.toString(16)}`;
    this.#bridge = `pwk-${[b, ...rest].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  }

  static async make(pace: Pace): Promise<KillWorld> {
    const world = await PodsWorld.make();
    const types = NAMES.flatMap((name) =>
      Array.from({ length: NETWORKS[name].paced + 1 }, (_, index) => `${name}-${index + 1}`)
    );
    const plugins = await Promise.all(types.map((type) => installPaced(world.sandbox.plugins, type, pace)));
    return new KillWorld(world, plugins);
  }

  /**
   * Writes the configuration of all networks. From one generation to the next it differs in every plugin's
   * keys, in addresses, and in the chains; odd ones lack the network `b`.
   */
  async configure(generation: number): Promise<void> {
    const { confDir } = this.world.sandbox;
    const isOdd = generation % 2 === 1;
    for (const name of NAMES) {
      const { paced, bridge } = NETWORKS[name];
      const file = `${confDir}/${name}.conflist`;
      if (name === "b" && isOdd) {
        await Deno.remove(file).catch(() => {});
        continue;
      }
      const types = Array.from({ length: paced + (isOdd ? 1 : 0) }, (_, index) => `${name}-${index + 1}`);
      const plugins: JsonObject[] = types.map((type) => ({
        type,
        generation,
        capabilities: { portMappings: true },
      }));
      if (bridge) plugins.unshift(this.#bridgePlugin(isOdd));
      await Deno.writeTextFile(`${file}.new`, JSON.stringify({ cniVersion: "1.1.0", name, plugins }));
      await Deno.rename(`${file}.new`, file);
    }
  }

  #bridgePlugin(isOdd: boolean): JsonObject {
    const [four, six] = isOdd ? [128, 2] : [0, 1];
    return {
      type: "bridge",
      bridge: this.#bridge,
      isGateway: true,
      ipMasq: true,
      ipam: {
        type: "host-local",
        dataDir: `${this.world.sandbox.dir}/addresses/${isOdd ? "odd" : "even"}`,
        ranges: [[{ subnet: `${this.#subnet4}.${four}/25` }], [{ subnet: `${this.#subnet6}:${six}::/64` }]],
        routes: [{ dst: "0.0.0.0/0" }],
      },
    };
  }

  /** A pod on these networks, with a host port by chance. */
  async unit(name: string, isSandbox: boolean, networks: readonly Name[], port?: number): Promise<Unit> {
    const id = this.world.sandbox.id(name);
    this.#ids.push(id);
    const wanted = networks.map((network, index): WantedNetwork => ({
      name: network,
      ...(index === 0 && port !== undefined
        ? { publish: [{ hostPort: port, containerPort: 80, protocol: "tcp", hostIP: "" }] }
        : {}),
    }));
    const calls = networks.reduce((sum, network) => sum + NETWORKS[network].paced, 0);
    if (!isSandbox) {
      return { id, isSandbox, request: await this.world.pod(name, { networks: wanted }), calls };
    }
    return { id, isSandbox, request: { id, name, networks: wanted } as unknown as JsonObject, calls };
  }

  /** One to three units at once, of one to three networks each. */
  async units(prefix: string, random: Random): Promise<Unit[]> {
    const units: Unit[] = [];
    for (let number = 1 + random.below(3); number > 0; number--) {
      const first = random.below(NAMES.length);
      const networks = [...NAMES, ...NAMES].slice(first, first + 1 + random.below(NAMES.length));
      const port = random.chance(50) ? 20_000 + random.below(2_000) * 10 + number : undefined;
      units.push(await this.unit(`${prefix}-${number}`, random.chance(33), networks, port));
    }
    return units;
  }

  /** What exists of the units that are not up: on disk, in the kernel, among the processes. */
  async traces(up: readonly Unit[]): Promise<string[]> {
    const { sandbox } = this.world;
    const gone = this.#ids.filter((id) => !up.some((unit) => unit.id === id));
    const files = await sandbox.sh(
      'cd "$1" && find addresses state cache run netns -type f 2>/dev/null || :',
      sandbox.dir,
    );
    const own = files.split("\n").filter((file) =>
      gone.some((id) => file.includes(id)) || /^state\/(ports|failed|names)\//.test(file)
    );
    const held = await sandbox.sh(
      'cd "$1" && grep -rl $(printf " -e %s" $2) addresses state cache run 2>/dev/null || :',
      sandbox.dir,
      gone.join(" ") || "nothing-is-gone",
    );
    const chains = await Promise.all(gone.map((containerId) => iptablesChain({ network: "n", containerId })));
    const rules = await sandbox.sh(
      '(nft list ruleset; iptables-save; ip6tables-save) 2>/dev/null | grep -F $(printf " -e %s" $1) || :',
      [...gone, ...chains].join(" ") || "nothing-is-gone",
    );
    const ports = (await sandbox.sh('ip -o link show master "$1" 2>/dev/null || :', this.#bridge)).split(
      "\n",
    );
    const onBridge = up.filter(({ request }) => JSON.stringify(request).includes('"name":"n"'));
    const links = ports.filter((line) => line !== "");
    return [
      ...own,
      ...held.split("\n"),
      ...rules.split("\n"),
      ...(links.length === onBridge.length ? [] : [`${links.length} ports of ${onBridge.length}`, ...links]),
      ...await this.world.running(),
    ].filter((line) => line !== "").map((line) => sandbox.plain(line));
  }

  /** Removes the namespaces of pods that are gone. */
  async forget(units: readonly Unit[]): Promise<void> {
    for (const { id, isSandbox, request } of units) {
      if (!isSandbox) await this.world.gone(request as PodRequest);
      this.#ids.splice(this.#ids.indexOf(id), 1);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.world.sandbox.sh('ip link delete dev "$1" 2>/dev/null || :', this.#bridge);
    await this.world[Symbol.asyncDispose]();
  }
}
