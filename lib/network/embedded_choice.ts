import { once } from "../async/once.ts";
import {
  closedNetwork,
  EMBEDDED_BRIDGE,
  EMBEDDED_SUBNETS,
  type EmbeddedChoice,
  embeddedNetwork,
  type EmbeddedOptions,
  programForRules,
} from "../catalog/embedded_network.ts";
import { catalogsDir } from "../catalog/memory.ts";
import { type Cidr, formatCidr } from "../cni/address.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import type { JsonObject } from "../cni/json.ts";
import { anyText, openObjectOf, type Shape } from "../cni/shape.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { RunCommand } from "../host/command.ts";
import { createExclusive, ensureDir, readTextIfThere } from "../host/file.ts";
import type { Logger } from "../host/log.ts";
import { missingFlags } from "../host/permissions.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { decodeChecksummed, printChecksummed } from "../state/checksummed.ts";
import { chooseSubnet, EMBEDDED_POOLS } from "./choose_subnet.ts";
import { EmbeddedMtu } from "./embedded_mtu.ts";
import { subnetsOfHost } from "./host_subnets.ts";
import { SMALLEST_IPV6_MTU } from "./mtu.ts";
import { relation } from "./subnet.ts";
import { describeTaken, overlapsOf } from "./taken_subnet.ts";

/** The dependencies of {@linkcode EmbeddedChooser}. */
export interface EmbeddedChooserContext {
  readonly stateDir: string;
  readonly run: RunCommand;
  readonly path: string | undefined;
  readonly log: Logger;
}

const IPV6_IS_OFF = "net/ipv6/conf/default/disable_ipv6";

const KIND = "podwire.embedded.v1";

/** What is remembered of a choice. */
type ChosenSubnets = Omit<EmbeddedChoice, "mtu">;

const SHAPE: Shape<ChosenSubnets> = openObjectOf({}, { ipv4: anyText, ipv6: anyText });

/**
 * Chooses the subnets of the embedded network on this machine: others than usual, if the usual ones overlap with an address or
 * a route of the host. Such a choice is remembered in the state directory when the network is first used, so that all
 * containers get addresses of the same subnets. The MTU is that of {@linkcode EmbeddedMtu}.
 */
export class EmbeddedChooser {
  readonly #context: EmbeddedChooserContext;
  readonly #chosen: () => Promise<ChosenSubnets>;
  readonly #mtu: EmbeddedMtu;

  constructor(context: EmbeddedChooserContext) {
    this.#context = context;
    this.#mtu = new EmbeddedMtu(context);
    this.#chosen = once(() => this.#choose());
  }

  /** Returns the network as it is on this machine; `remembers` says whether the choice may be written. */
  async network(remembers: boolean): Promise<NetworkConfigList> {
    const subnets = await this.#remembered() ?? (remembers ? await this.#remember() : await this.#chosen());
    const facts = await this.#facts();
    return embeddedNetwork(facts, { ...subnets, mtu: mtuFor(facts, await this.#mtu.current()) });
  }

  /** Returns the network without a way out, see {@linkcode closedNetwork}. */
  async withoutWayOut(): Promise<NetworkConfigList> {
    return closedNetwork(await this.#facts(), await this.#remembered() ?? await this.#chosen());
  }

  async #facts(): Promise<EmbeddedOptions> {
    const { run, path } = this.#context;
    const values = await kernelFor(run).readSysctls([IPV6_IS_OFF]);
    // Without IPv6 in the kernel it is not there; a bridge that is made now gets it.
    return { ipv6: values.get(IPV6_IS_OFF) === "0", masquerade: await programForRules(path) };
  }

  get #file(): string {
    return `${catalogsDir(this.#context.stateDir)}/embedded.json`;
  }

  async #remembered(): Promise<ChosenSubnets | undefined> {
    try {
      if (missingFlags({ read: [this.#file] }).length > 0) return undefined;
      const text = await readTextIfThere(this.#file);
      return text === undefined ? undefined : await decodeChecksummed(KIND, text, SHAPE);
    } catch (error) {
      this.#context.log.warn(`the choice of the embedded network cannot be read: ${asCniError(error).msg}`, {
        file: this.#file,
      });
      return {};
    }
  }

  async #remember(): Promise<ChosenSubnets> {
    const { stateDir, log } = this.#context;
    const choice = await this.#chosen();
    // What is usual needs no memory: while a pod is on it, the bridge of the network has its addresses.
    if (Object.keys(choice).length === 0) return choice;
    const dir = catalogsDir(stateDir);
    if (missingFlags({ read: [dir], write: [dir] }).length > 0) return choice;
    try {
      await ensureDir(dir, 0o700);
      const isFirst = await createExclusive(this.#file, await printChecksummed(KIND, encode(choice)));
      if (!isFirst) return await this.#remembered() ?? choice;
    } catch (error) {
      log.warn(`the choice of the embedded network cannot be written: ${asCniError(error).msg}`, {
        file: this.#file,
      });
    }
    return choice;
  }

  async #choose(): Promise<ChosenSubnets> {
    const { run, log } = this.#context;
    const kernel = kernelFor(run);
    const all = await subnetsOfHost(kernel);
    const isUsed = (usual: Cidr) =>
      all.some(({ subnet, device }) => device === EMBEDDED_BRIDGE && relation(subnet, usual) === "inside");
    const taken = all.filter(({ device }) => device !== EMBEDDED_BRIDGE);
    const choice: { ipv4?: string; ipv6?: string } = {};
    for (const usual of EMBEDDED_SUBNETS) {
      const { refused: [reason] } = overlapsOf(usual, taken);
      if (reason === undefined || isUsed(usual)) continue;
      const { family } = usual.ip;
      const subnet = formatCidr(chooseSubnet(EMBEDDED_POOLS[family], taken, { whole: true }));
      choice[family === 4 ? "ipv4" : "ipv6"] = subnet;
      const why = `${formatCidr(usual)} overlaps with ${describeTaken(reason)}`;
      log.warn(`the embedded network uses ${subnet}, because ${why}`);
    }
    return choice;
  }
}

/** With IPv6 an interface needs more than some tunnels take. */
function mtuFor({ ipv6 }: EmbeddedOptions, mtu: number | undefined): number | undefined {
  return mtu === undefined || !ipv6 ? mtu : Math.max(mtu, SMALLEST_IPV6_MTU);
}

function encode(choice: ChosenSubnets): JsonObject {
  return {
    ...(choice.ipv4 === undefined ? {} : { ipv4: choice.ipv4 }),
    ...(choice.ipv6 === undefined ? {} : { ipv6: choice.ipv6 }),
  };
}
