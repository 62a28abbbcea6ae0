/**
 * The plugins that a test of the engine runs with: the built-in ones, and both releases of the reference
 * plugins.
 */
import type { JsonObject } from "../../lib/cni/json.ts";
import { Podwire, type RuntimeOptions } from "../../lib/runtime/podwire.ts";
import { sh, type World } from "./builtin_world.ts";
import { CNI_1_1_1, CNI_1_9_1, type Component } from "./need.ts";

/** Which plugins. */
export interface Flavour {
  readonly name: string;
  readonly needs: readonly Component[];
  readonly options: Pick<RuntimeOptions, "pluginDirs" | "builtinPolicy">;
}

export const FLAVOURS: readonly Flavour[] = [
  { name: "built-in plugins", needs: [], options: { pluginDirs: [], builtinPolicy: "prefer" } },
  {
    name: "reference plugins 1.1.1",
    needs: ["cni-1.1.1"],
    options: { pluginDirs: [CNI_1_1_1], builtinPolicy: "off" },
  },
  {
    name: "reference plugins 1.9.1",
    needs: ["cni-1.9.1"],
    options: { pluginDirs: [CNI_1_9_1], builtinPolicy: "off" },
  },
];

/** A runtime with directories of its own. */
export function runtimeOf(world: World, { options }: Flavour, more: RuntimeOptions = {}): Podwire {
  return new Podwire({
    confDir: `${world.dir}/conf`,
    cacheDir: `${world.dir}/cache`,
    stateDir: `${world.dir}/state`,
    ...options,
    ...more,
  });
}

/** Configures a bridge network with addresses of the world, `number` of them apart from those of others. */
export async function bridgeNetwork(
  world: World,
  name: string,
  { number = 0, more = {}, chained = [], cniVersion = "1.0.0", confDir = `${world.dir}/conf` }: {
    number?: number;
    more?: JsonObject;
    chained?: readonly JsonObject[];
    cniVersion?: string;
    confDir?: string;
  } = {},
): Promise<void> {
  await Deno.mkdir(confDir, { recursive: true });
  const subnet = `${world.subnet4}.${number * 16}/28`;
  const ipam = { type: "host-local", dataDir: `${world.dir}/ipam`, ranges: [[{ subnet }]] };
  const bridge = { type: "bridge", bridge: world.bridge, ipam, ...more };
  const list = { cniVersion, name, plugins: [bridge, ...chained] };
  await Deno.writeTextFile(`${confDir}/${name}.conflist`, JSON.stringify(list));
}

/** The addresses that host-local holds. */
export async function heldAddresses(world: World, network: string): Promise<readonly string[]> {
  const names = await sh(`ls ${world.dir}/ipam/${network} 2>/dev/null || :`);
  return names.split("\n").filter((name) => /^\d+\./.test(name));
}

/** All links of a namespace, by default this process's own, as `index: name kind mac`. */
export async function linksOf(netns?: string): Promise<readonly string[]> {
  const links: readonly Record<string, unknown>[] = JSON.parse(await sh("ip -d -j link show", netns));
  return links.map(({ ifindex, ifname, address, linkinfo }) => {
    const kind = (linkinfo as { info_kind?: string } | undefined)?.info_kind ?? "-";
    return `${ifindex}: ${ifname} ${kind} ${address}`;
  });
}
