/** Another CNI runtime: it calls the plugins by itself, and records in libcni's cache what it attached. */
import type { JsonObject } from "../../lib/cni/json.ts";
import { runCommand } from "../../lib/host/command.ts";
import { ResultCache } from "../../lib/state/result_cache.ts";
import { sh } from "./builtin_world.ts";

/** What is attached, or will be. */
export interface RawTarget {
  readonly network: string;
  readonly containerId: string;
  readonly netns: string;
  readonly ifName: string;
}

interface RawAttachment extends RawTarget {
  readonly config: JsonObject;
  readonly result: JsonObject;
}

/** It never touches a foreign interface. */
export class RawRuntime {
  readonly #attached = new Map<string, RawAttachment>();
  readonly #cache: ResultCache;

  constructor(readonly confDir: string, readonly pluginDir: string, cacheDir: string) {
    this.#cache = new ResultCache(cacheDir);
  }

  get attached(): readonly RawTarget[] {
    return [...this.#attached.values()];
  }

  /** Returns whether it could be attached. */
  async add(target: RawTarget): Promise<boolean> {
    if (this.#attached.has(keyOf(target)) || await macOf(target) !== undefined) return false;
    const text = await Deno.readTextFile(`${this.confDir}/${target.network}.conflist`);
    const { cniVersion, name, plugins: [plugin, ...more] } = JSON.parse(text);
    // It does not try what others refuse at a later plugin.
    if (more.length > 0) return false;
    const config = { ...plugin, cniVersion, name };
    const { code, stdout } = await this.#call("ADD", target, config);
    if (code !== 0) {
      await this.#call("DEL", target, config);
      return false;
    }
    const result = JSON.parse(stdout);
    this.#attached.set(keyOf(target), { ...target, config, result });
    await this.#cache.write({ ...target, config: text, cniArgs: [], capabilityArgs: {}, result });
    return true;
  }

  /** It does nothing for an attachment that it did not make. */
  async del(target: RawTarget): Promise<void> {
    const known = this.#attached.get(keyOf(target));
    if (known === undefined) return;
    const { config, result } = known;
    const interfaces = (result.interfaces ?? []) as readonly { mac?: string; sandbox?: string }[];
    const mac = await macOf(known);
    const netns = interfaces.some((link) => link.sandbox && link.mac === mac) ? known.netns : "";
    await this.#call("DEL", { ...known, netns }, { ...config, prevResult: result });
    for (
      const { name, mac, sandbox } of interfaces as readonly {
        name: string;
        mac?: string;
        sandbox?: string;
      }[]
    ) {
      if (!sandbox && name.startsWith("veth")) {
        await sh(
          `ip -o link show dev ${name} 2>/dev/null | grep -q '${mac}' && ip link delete dev ${name}; :`,
        );
      }
    }
    this.#attached.delete(keyOf(target));
    await this.#cache.remove(known);
  }

  async check(target: RawTarget): Promise<void> {
    const known = this.#attached.get(keyOf(target));
    if (known !== undefined) await this.#call("CHECK", known, { ...known.config, prevResult: known.result });
  }

  async #call(verb: string, target: RawTarget, config: JsonObject) {
    return await runCommand({
      program: `${this.pluginDir}/${config.type}`,
      stdin: JSON.stringify(config),
      env: {
        PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
        CNI_COMMAND: verb,
        CNI_CONTAINERID: target.containerId,
        CNI_NETNS: target.netns,
        CNI_IFNAME: target.ifName,
        CNI_PATH: this.pluginDir,
      },
    });
  }
}

async function macOf({ netns, ifName }: RawTarget): Promise<string | undefined> {
  const links: { address: string }[] = JSON.parse(
    await sh(`ip -j link show dev ${ifName} 2>/dev/null || echo '[]'`, netns),
  );
  return links[0]?.address;
}

function keyOf({ network, containerId, ifName }: RawTarget): string {
  return `${network} ${containerId} ${ifName}`;
}
