import type { RunCommand } from "../host/command.ts";
import type { Logger } from "../host/log.ts";
import { ipJson } from "../host/ip_command.ts";
import { describeLink, findLink, type LinkInfo } from "../host/link_info.ts";
import { existingHostVeths, type HostVeth, hostVethPeers, removeHostVeths } from "../host/veth.ts";
import type { PluginRunner } from "../plugin/exec.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import type { JsonObject } from "../cni/json.ts";
import { asResult } from "../cni/result.ts";
import { keepsLinks } from "../cni/existing_link.ts";
import type { AttachTarget } from "../plugin/attach_target.ts";

/** What {@linkcode HostEnds} works with. */
export interface HostEndsOptions {
  readonly runner: PluginRunner;
  readonly run: RunCommand;
  readonly log: Logger;
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
    const there = await existingHostVeths(ends, { run, signal });
    // It may go by itself meanwhile.
    for (const name of there) {
      await ipJson(["link", "set", "dev", name, "down"], { run, signal }).catch(() => {});
    }
    return ends.filter(({ name }) => there.includes(name));
  }

  /**
   * What the plugins are to detach: without the namespace where something else has the name of the interface by now,
   * unless it is to go.
   */
  async targetFor(
    list: NetworkConfigList,
    target: AttachTarget,
    added: JsonObject | undefined,
    { signal, forceForeign }: { signal: AbortSignal; forceForeign: boolean },
  ): Promise<AttachTarget> {
    const other = forceForeign ? undefined : await this.#replacement(list, target, added, signal);
    if (other === undefined) return target;
    const { containerId, ifName, netns } = target;
    const what = `the interface "${ifName}" of "${netns}", ${describeLink(other)}, is left as it is`;
    this.#options.log.warn(`${what}: it is not the one that was attached`, {
      network: list.name,
      containerId,
    });
    return { ...target, netns: "" };
  }

  /**
   * What has the name of the interface that the attachment had, if that is another one: the pod has renamed its own or
   * moved it away, and plugins on disk delete by name. The kernel's index tells them apart, and where the attachment has
   * no end on the host its hardware address. Undefined too where nothing can be told.
   */
  async #replacement(
    list: NetworkConfigList,
    { netns, ifName }: Pick<AttachTarget, "netns" | "ifName">,
    added: JsonObject | undefined,
    signal: AbortSignal,
  ): Promise<LinkInfo | undefined> {
    const { run } = this.#options;
    const { interfaces = [] } = readable(added);
    const own = interfaces.find(({ name, sandbox = "" }) => name === ifName && sandbox !== "");
    if (netns === "" || own === undefined || keepsLinks(list) || await this.#isBuiltin(list)) {
      return undefined;
    }
    const found = await findLink(ifName, { netns, run, signal });
    if (found === undefined) return undefined;
    const peers = await hostVethPeers(hostEndsOf(added), { run, signal });
    const isOwn = peers.length > 0
      ? peers.some(({ peerIndex }) => peerIndex === undefined || peerIndex === found.index)
      : (own.mac ?? "") === "" || found.mac === "" || own.mac?.toLowerCase() === found.mac.toLowerCase();
    return isOwn ? undefined : found;
  }

  /** Those never touch what they did not make. */
  async #isBuiltin({ plugins }: NetworkConfigList): Promise<boolean> {
    for (const { type, json } of plugins) {
      if ((await this.#options.runner.locate(type, json)).kind !== "builtin") return false;
    }
    return true;
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
