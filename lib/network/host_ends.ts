import type { RunCommand } from "../host/command.ts";
import { ipJson } from "../host/link.ts";
import { type HostVeth, hostVethsThere, removeHostVeths } from "../host/veth.ts";
import type { PluginRunner } from "../plugin/exec.ts";
import type { NetworkConfigList } from "../spec/config.ts";
import type { JsonObject } from "../spec/json.ts";
import { asResult } from "../spec/result.ts";

/** What {@linkcode HostEnds} works with. */
export interface HostEndsOptions {
  readonly runner: PluginRunner;
  readonly run: RunCommand;
}

/**
 * The ends of an attachment's pairs on the host, as the result of its ADD names them. A plugin deletes the interface of
 * that name in the pod; a pod that has renamed its own, put another one in its place, or moved it away, would keep it, on
 * the bridge, with an address that the next pod gets.
 */
export class HostEnds {
  readonly #options: HostEndsOptions;

  constructor(options: HostEndsOptions) {
    this.#options = options;
  }

  /**
   * Cuts off what is there, before the plugin that made it frees its address; gives it. The pod keeps its interface
   * until then, as that plugin looks at the addresses. A built-in one does all of this itself.
   */
  async cutOff(
    list: NetworkConfigList,
    added: JsonObject | undefined,
    signal: AbortSignal,
  ): Promise<readonly HostVeth[]> {
    const { runner, run } = this.#options;
    const ends = hostEndsOf(added);
    const [first] = list.plugins;
    if (first === undefined || ends.length === 0) return [];
    if ((await runner.locate(first.type, first.json)).kind === "builtin") return [];
    const there = await hostVethsThere(ends, { run, signal });
    // It may go by itself meanwhile.
    for (const name of there) {
      await ipJson(["link", "set", "dev", name, "down"], { run, signal }).catch(() => {});
    }
    return ends.filter(({ name }) => there.includes(name));
  }

  /** Removes what the plugin has left; gives the names. */
  async remove(ends: readonly HostVeth[], signal: AbortSignal): Promise<readonly string[]> {
    return await removeHostVeths(ends, { run: this.#options.run, signal });
  }
}

/** Without its hardware address one could be another's of the same name. */
function hostEndsOf(added: JsonObject | undefined): readonly HostVeth[] {
  const { interfaces = [] } = readable(added);
  return interfaces.flatMap(({ name, mac = "", sandbox = "" }) =>
    sandbox === "" && mac !== "" ? [{ name, mac }] : []
  );
}

function readable(added: JsonObject | undefined): Partial<ReturnType<typeof asResult>> {
  try {
    return added === undefined ? {} : asResult(added);
  } catch {
    return {};
  }
}
