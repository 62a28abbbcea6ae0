import type { NetworkConfigList } from "../cni/config.ts";
import { keepsLinks } from "../cni/existing_link.ts";
import type { JsonObject } from "../cni/json.ts";
import { asResult } from "../cni/result.ts";
import type { RunCommand } from "../host/command.ts";
import { describeLink, type LinkInfo } from "../host/link_info.ts";
import type { Logger } from "../host/log.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink } from "../kernel/links.ts";
import { existingHostVeths, type HostVeth, hostVethPeers, removeHostVeths } from "../kernel/veth.ts";
import type { AttachTarget } from "../plugin/attach_target.ts";
import type { PluginRunner } from "../plugin/exec.ts";

/** Dependencies of {@linkcode HostEnds}. */
export interface HostEndsOptions {
  readonly runner: PluginRunner;
  readonly run: RunCommand;
  readonly log: Logger;
}

/**
 * The host ends of an attachment's veth pairs, as the result of its ADD names them. A plugin deletes the interface by its
 * name in the pod. A pod that renamed, replaced or moved its interface would keep it, connected to the bridge, with an
 * address that the next pod gets.
 */
export class HostEnds {
  readonly #options: HostEndsOptions;

  constructor(options: HostEndsOptions) {
    this.#options = options;
  }

  /**
   * Disconnects the host ends before the plugin that created them frees their address, and returns them. The pod keeps its
   * interface, because that plugin reads its addresses. A built-in plugin does all of this itself.
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
    const kernel = kernelFor(run);
    const existing = await existingHostVeths(kernel, ends, { signal });
    for (const name of existing) {
      // The link may disappear by itself meanwhile.
      await kernel.apply([{ kind: "set-link", name, up: false }], { signal }).catch(() => {});
    }
    return ends.filter(({ name }) => existing.includes(name));
  }

  /**
   * Returns the target for the plugins. It has no namespace if another interface has the name of the attachment's by now,
   * unless `forceForeign` is set.
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
   * Returns the interface with the name of the attachment's, if it is another one: the pod renamed or moved its own, and
   * plugins on disk delete by name. Compares the kernel's index, or the hardware address if the attachment has no host end.
   * Undefined as well if neither can be compared.
   */
  async #replacement(
    list: NetworkConfigList,
    { netns, ifName }: Pick<AttachTarget, "netns" | "ifName">,
    added: JsonObject | undefined,
    signal: AbortSignal,
  ): Promise<LinkInfo | undefined> {
    const kernel = kernelFor(this.#options.run);
    const { interfaces = [] } = readable(added);
    const own = interfaces.find(({ name, sandbox = "" }) => name === ifName && sandbox !== "");
    if (netns === "" || own === undefined || keepsLinks(list) || await this.isBuiltin(list)) {
      return undefined;
    }
    const found = await findLink(kernel, ifName, { netns, signal });
    if (found === undefined) return undefined;
    const peers = await hostVethPeers(kernel, hostEndsOf(added), { signal });
    const isOwn = peers.length > 0
      ? peers.some(({ peerIndex }) => peerIndex === undefined || peerIndex === found.index)
      : (own.mac ?? "") === "" || found.mac === "" || own.mac?.toLowerCase() === found.mac.toLowerCase();
    return isOwn ? undefined : found;
  }

  /** Whether all plugins of the list are built-in: those never touch what they did not create, and leave nothing of it. */
  async isBuiltin({ plugins }: NetworkConfigList): Promise<boolean> {
    for (const { type, json } of plugins) {
      if ((await this.#options.runner.locate(type, json)).kind !== "builtin") return false;
    }
    return true;
  }

  /** Removes the host ends that the plugin left, and returns their names. */
  async remove(ends: readonly HostVeth[], signal: AbortSignal): Promise<readonly string[]> {
    return await removeHostVeths(kernelFor(this.#options.run), ends, { signal });
  }
}

/** Only ends with a hardware address: another link could have the same name. */
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
