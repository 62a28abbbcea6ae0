import type { AddRequest, Attachments } from "../attachment/attachments.ts";
import { CniError } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { asResult } from "../cni/result.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { RunCommand } from "../host/command.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink } from "../kernel/links.ts";
import type { AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import type { DisplacedRoutes } from "../state/displaced_routes.ts";
import { type PublishedPort, publishedPortsOf } from "../state/host_port.ts";
import type { FoundLog } from "../state/record_files.ts";
import type { ResultCache } from "../state/result_cache.ts";
import { type AttachedNetwork, settleDefaultRoutes, undoing } from "./default_routes.ts";
import { networksOf, type PodNetwork, portsMember, titleMember } from "./pod_network.ts";
import { macDigits, type PlannedAttachment, type PodIdentity, wantedIp } from "./request.ts";

/** What {@linkcode PodNetworks} works with. */
export interface PodNetworksOptions {
  readonly attachments: Attachments;
  readonly store: AttachmentStore;
  readonly cache: ResultCache;
  readonly run: RunCommand;
}

/** Options of {@linkcode PodNetworks.setUp}. */
export interface PodSetUpOptions {
  readonly owner: string;
  /** Whether the namespace was just made. @default {false} */
  readonly isNewNetns?: boolean | undefined;
  /** What the pod is attached to already, in the order of attachment. @default none */
  readonly beside?: readonly PodNetwork[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Options of {@linkcode PodNetworks.tearDown}. */
export interface PodTearDownOptions {
  /** Skips attachments that could not be detached a moment ago. @default {false} */
  readonly attachedOnly?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Many networks for one pod: all of them or none.
 *
 * The caller holds the container's lock.
 */
export class PodNetworks {
  readonly #options: PodNetworksOptions;

  constructor(options: PodNetworksOptions) {
    this.#options = options;
  }

  /**
   * Attaches the pod to all planned networks, one after another as the specification demands, and leaves it one default
   * route for each family. If something fails, detaches what was attached, last first.
   *
   * @throws {CniError} the first failure
   */
  async setUp(
    pod: Pick<PodIdentity, "containerId" | "netns">,
    plan: readonly PlannedAttachment[],
    options: PodSetUpOptions,
  ): Promise<readonly PodNetwork[]> {
    const { containerId, netns } = pod;
    const { owner, isNewNetns = false, beside = [], signal } = options;
    const done: PodNetwork[] = [];
    try {
      for (const planned of plan) {
        const { list, ifName, args, capabilityArgs, automaticPorts, title } = planned;
        const target: AddRequest = {
          containerId,
          netns,
          ifName,
          args,
          capabilityArgs,
          automaticPorts,
          owner,
          title,
        };
        const result = await this.#options.attachments.add(list, target, { isNewNetns, signal });
        const ports = await this.#portsOf(containerId, planned);
        done.push({ name: list.name, ifName, result, ...portsMember(ports), ...titleMember(title) });
        requireWantedIps(planned, result);
        await this.#requireWantedMac(planned, result, target.netns, signal);
      }
      const added = done.map((network, index) => {
        const { settings, foreignRoutes } = plan[index] ?? {};
        return { ...network, defaultRoute: settings?.defaultRoute, foreignRoutes };
      });
      const settled = await this.settle(pod, [...beside, ...added], signal);
      return settled.slice(beside.length);
    } catch (error) {
      // Only these: the container may have attachments that another caller made.
      const own = new Set(done.map(({ name, ifName }) => `${ifName}@${name}`));
      const failures = await this.detach(
        containerId,
        ({ network, ifName }) => own.has(`${ifName}@${network}`),
      );
      throw withFailures(asCniError(error), failures);
    }
  }

  /** Those that were chosen are in the record alone. */
  async #portsOf(
    containerId: string,
    { list: { name: network }, ifName, capabilityArgs, automaticPorts }: PlannedAttachment,
  ): Promise<readonly PublishedPort[]> {
    if (automaticPorts.length === 0) return publishedPortsOf(capabilityArgs);
    const record = await this.#options.store.read({ containerId, network, ifName });
    return publishedPortsOf(record?.capabilityArgs ?? {});
  }

  /** Asks the kernel; if it has no interface of that name, the result may say what another one of the pod has. */
  async #requireWantedMac(
    { list, ifName, settings: { mac } }: PlannedAttachment,
    json: JsonObject,
    netns: string,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (mac === undefined) return;
    const { interfaces = [] } = asResult(json);
    const reported = interfaces.find(({ name, sandbox }) => name === ifName && sandbox)?.mac;
    const found = await findLink(kernelFor(this.#options.run), ifName, { netns, signal });
    const own = found?.mac ?? reported;
    if (own !== undefined && macDigits(own) === macDigits(mac)) return;
    throw new CniError(
      "plugin",
      `the network gave ${own ? `the MAC address ${own}` : "no MAC address"} instead of ${mac}`,
      {
        verb: "ADD",
        network: list.name,
        hint: "its plugins ignore a requested MAC address",
      },
    );
  }

  /**
   * Leaves the pod one default route for each family. CHECK and the look-up of the default route use the results on record, so
   * they become as the kernel is then. After a failure both are as before.
   *
   * @throws {CniError} as {@linkcode settleDefaultRoutes}
   */
  async settle(
    { containerId, netns }: Pick<PodIdentity, "containerId" | "netns">,
    attached: readonly (AttachedNetwork & Pick<PodNetwork, "ports" | "title">)[],
    signal?: AbortSignal,
  ): Promise<readonly PodNetwork[]> {
    const { store, cache, run } = this.#options;
    const onDisplace = async ({ name, ifName }: AttachedNetwork, displaced: DisplacedRoutes) => {
      const record = await store.read({ containerId, network: name, ifName });
      if (record !== undefined) await store.write({ ...record, displaced });
    };
    const { results, undo } = await settleDefaultRoutes(attached, { netns, run, signal, onDisplace });
    const settled: PodNetwork[] = [];
    const undos: (() => Promise<unknown>)[] = [undo];
    try {
      for (const [index, network] of attached.entries()) {
        const result = results[index] ?? network.result;
        const { name, ifName, ports, title } = network;
        settled.push({ name, ifName, result, ...portsMember(ports), ...titleMember(title) });
        if (result === network.result) continue;
        const record = await store.read({ containerId, network: name, ifName });
        if (record === undefined) continue;
        await cache.write({ ...record, result });
        undos.push(() => cache.write(record), () => store.write(record));
        await store.write({ ...record, result });
      }
      return settled;
    } catch (error) {
      throw await undoing(asCniError(error), undos);
    }
  }

  /**
   * Detaches the pod from these networks, last first. A failure does not stop the others. What could not be detached stays on
   * record.
   */
  async detach(
    containerId: string,
    which: (record: AttachmentRecord) => boolean,
    signal?: AbortSignal,
  ): Promise<readonly CniError[]> {
    const failures: CniError[] = [];
    const records = await this.#options.store.ofContainer(containerId);
    for (const record of records.filter(which).reverse()) {
      try {
        await this.#options.attachments.remove(record, signal);
      } catch (error) {
        failures.push(asCniError(error));
      }
    }
    return failures;
  }

  /**
   * Detaches the pod from everything on record, last attachment first. A failure does not stop the others. What could not
   * be detached stays on record.
   */
  async tearDown(
    containerId: string,
    { signal, attachedOnly = false }: PodTearDownOptions = {},
  ): Promise<readonly CniError[]> {
    return await this.detach(containerId, ({ state }) => !attachedOnly || state === "attached", signal);
  }

  /**
   * Returns the networks that the pod is attached to, in the order of attachment; `log` has its records, if the caller has
   * just read them.
   */
  async networks(containerId: string, log?: FoundLog): Promise<readonly PodNetwork[]> {
    return networksOf((await this.#options.store.scan(containerId, log)).records);
  }

  /** Same in the same turn of the event loop; undefined if only {@linkcode PodNetworks.networks} can find out. */
  networksNow(containerId: string, log?: FoundLog): readonly PodNetwork[] | undefined {
    const found = this.#options.store.scanNow(containerId, log);
    return found && networksOf(found.records);
  }
}

/** Refuses a result without an address that was asked for: a plugin may ignore CNI_ARGS. */
function requireWantedIps({ list, settings: { ips = [] } }: PlannedAttachment, json: JsonObject): void {
  const network = list.name;
  const result = asResult(json);
  const given = (result.ips ?? []).map(({ address }) => ({ address, ...wantedIp(address) }));
  const sameAddress = (text: string) => given.find(({ ip }) => ip === wantedIp(text).ip);
  const missing = ips.filter((text) => {
    const { prefix } = wantedIp(text);
    const same = sameAddress(text);
    return same === undefined || (prefix !== undefined && prefix !== same.prefix);
  });
  if (missing.length > 0) {
    const isPrefix = missing.every((text) => sameAddress(text) !== undefined);
    const all = given.map(({ address, ip }) => isPrefix ? address : ip).join(", ") || "no address";
    throw new CniError("plugin", `the network gave ${all} instead of ${missing.join(", ")}`, {
      verb: "ADD",
      network,
      hint: `its IPAM plugin ignores a requested ${isPrefix ? "prefix" : "address"}`,
    });
  }
}

function withFailures(cause: CniError, failures: readonly CniError[]): CniError {
  if (failures.length === 0) return cause;
  return cause.within({
    hint: `not everything could be undone: ${failures.map(({ message }) => message).join("; ")}; ` +
      "`podwire attachments` shows what is left, `podwire recover` retries it",
  });
}
