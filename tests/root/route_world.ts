/** Networks that each bring a default route, of the built-in plugins or of the originals, and a pod. */
import { assertEquals } from "@std/assert";
import { sandboxRequest } from "../../lib/cli/sandbox_request.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { runCommand } from "../../lib/host/command.ts";
import { Podwire } from "../../lib/runtime/podwire.ts";
import type { Sandbox } from "../../lib/sandbox/view.ts";
import { inputOf } from "../cli/fake_io.ts";
import { PluginWorld, type Release } from "./plugins_world.ts";

/** Which release's bridge and host-local it is. */
export const SOURCES = ["built-in", "1.1.1", "1.9.1"] as const;
export type Source = typeof SOURCES[number];

export class RouteWorld implements AsyncDisposable {
  readonly podwire: Podwire;

  private constructor(readonly world: PluginWorld, source: Source) {
    const { dir, confDir } = world;
    // The bridges are made in the node's namespace by the reference plugins, and by the built-ins too.
    const dirs = { confDir, cacheDir: `${dir}/cache`, stateDir: `${dir}/state`, netnsDir: `${dir}/netns` };
    this.podwire = source === "built-in"
      ? new Podwire({ ...dirs, pluginDirs: [`${dir}/none`], builtinPolicy: "prefer" })
      : world.podwire;
  }

  static async make(source: Source): Promise<RouteWorld> {
    const release: Release = source === "built-in" ? "1.9.1" : source;
    return new RouteWorld(await PluginWorld.make(release, "pod"), source);
  }

  /** Networks `a`, `b` and so on, with these subnets; the gateway is the first address of each. */
  async networks(all: Readonly<Record<string, readonly string[]>>, more: JsonObject = {}): Promise<void> {
    const { world } = this;
    for (const [letter, subnets] of Object.entries(all)) {
      const ranges = subnets.map((subnet) => [{ subnet }]);
      const plugin = {
        type: "bridge",
        bridge: `${world.bridge}${letter}`,
        isDefaultGateway: true,
        ipam: { type: "host-local", dataDir: world.ipamDir, ranges },
        ...more,
      };
      await world.network("1.0.0", [plugin], letter);
    }
  }

  name(letter: string): string {
    return `${letter}-${this.world.tag}`;
  }

  /** Makes a sandbox of networks, each as `LETTER[:IFNAME][,KEY=VALUE]`. */
  async run(...networks: string[]): Promise<Sandbox> {
    const flags = networks.map((text) => `--network=${text.replace(/^\w+/, (letter) => this.name(letter))}`);
    const request = sandboxRequest(inputOf("run", ["pod", `--netns=${this.world.path("pod")}`, ...flags]));
    return await this.podwire.sandboxes.run({ ...request, id: this.world.base("pod") });
  }

  /** The default routes of the pod's main table, as `GATEWAY INTERFACE`. */
  async defaults(): Promise<string[]> {
    const pod = this.world.path("pod");
    const shown = [
      ...await this.world.json("ip -j -4 route show default", pod),
      ...await this.world.json("ip -j -6 route show default", pod),
    ];
    return shown.flatMap(({ nexthops, ...route }) => nexthops ?? [route]).map(({ gateway, dev }) =>
      `${gateway} ${dev}`
    );
  }

  /** All that the kernel says of the default routes of the pod, but for the time for which it has known them. */
  async routes(): Promise<string> {
    const text = await this.world.sh(
      "ip -d -4 route show default; ip -d -6 route show default",
      this.world.path("pod"),
    );
    return text.replaceAll(/ expires \d+sec/g, "");
  }

  /** The networks that are marked as the default. */
  marked({ networks }: Sandbox): string[] {
    return networks.filter((network) => network.default).map(({ name }) => name.split("-")[0] ?? "");
  }

  /** The interfaces of the pod with their addresses, as `IFNAME ADDRESS...`. */
  async interfaces(): Promise<string[]> {
    const links = await this.world.links(this.world.path("pod"));
    return [...links.values()].filter(({ ifname }) => ifname !== "lo").map(({ ifname, addr_info }) =>
      [
        ifname,
        ...addr_info.filter(({ scope }: { scope: string }) => scope === "global").map(
          ({ local }: { local: string }) => local,
        ),
      ].join(" ")
    );
  }

  /** CHECK of each network must succeed, and a tear-down leaves nothing. */
  async checkAndRemove(sandbox: Sandbox): Promise<void> {
    const { podwire, world } = this;
    const { removed, failed } = await podwire.recover();
    assertEquals({ removed, failed }, { removed: [], failed: [] });
    for (const { name, ifName } of sandbox.networks) {
      const [record] = await podwire.attachments({ network: name });
      await podwire.check(name, world.request("pod", { ifName, args: record?.cniArgs ?? [] }));
    }
    await podwire.sandboxes.remove("pod");
    assertEquals({ attachments: await podwire.attachments(), defaults: await this.defaults() }, {
      attachments: [],
      defaults: [],
    });
    assertEquals([...(await world.links(world.path("pod"))).keys()], ["lo"]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { world } = this;
    await this.podwire.sandboxes.remove("pod", { force: true }).catch(() => {});
    for (const letter of ["a", "b", "c"]) {
      await runCommand({ program: "ip", args: ["link", "delete", "dev", `${world.bridge}${letter}`] });
    }
    await world[Symbol.asyncDispose]();
  }
}
