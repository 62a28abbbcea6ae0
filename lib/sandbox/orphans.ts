import { inParallel } from "../async/parallel.ts";
import { isContainerId } from "../cni/name.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import {
  addToReport,
  emptyReport,
  type GcItem,
  type HostSweep,
  type HostSweepOptions,
  type SweepReport,
  UNDER_WAY,
} from "../gc/report.ts";
import { listDir, statOf } from "../host/file.ts";
import { netnsId, netnsProcesses, nsProblem } from "../host/netns.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import type { AttachmentStore, ContainerRecords } from "../state/attachment_store.ts";
import { NEWER } from "../state/checksummed.ts";
import { tryContainerLock } from "../state/container_locks.ts";
import { formatOwner } from "../state/owner.ts";
import type { ResultCache } from "../state/result_cache.ts";
import { containerEnd } from "./container_end.ts";
import type { SandboxContext } from "./context.ts";
import type { DamagedSandboxes } from "./damaged_sandboxes.ts";
import { infraBundle, sweepInfra } from "./infra.ts";
import { removeNetworkStatus } from "./network_status_file.ts";
import { newerBundle } from "./infra_bundle.ts";
import { isOfOther } from "./netns_mark.ts";
import type { SandboxRecord } from "./record.ts";
import { tearDownHost } from "./tear_down.ts";

/** The dependencies of {@linkcode Orphans}. */
export interface OrphansContext extends
  Pick<
    SandboxContext,
    | "sandboxes"
    | "locks"
    | "inside"
    | "log"
    | "netnsDir"
    | "netnsPrefix"
    | "stateDir"
    | "path"
    | "timeouts"
    | "run"
    | "running"
  > {
  readonly store: AttachmentStore;
  readonly cache: Pick<ResultCache, "read">;
  readonly damagedSandboxes: Pick<DamagedSandboxes, "why">;
}

/** A namespace, an infra container, or the record of a pod. */
export interface HostItem extends GcItem {
  readonly kind: "sandbox" | "namespace" | "container";
  readonly containerId: string;
}

/** The report of a sweep of the host. */
export type HostFindings = SweepReport<HostItem>;

/** What exists before a sweep. */
interface Snapshot {
  /** IDs of namespaces and infra containers. */
  readonly ids: readonly string[];
  readonly pods: readonly SandboxRecord[];
  /** IDs of sandboxes that end with a container. */
  readonly held: readonly string[];
}

const AT_ONCE = 4;

/**
 * Namespaces and infra containers that podwire created and no sandbox owns, and records of pods that no longer exist in their
 * engine.
 */
export class Orphans implements HostSweep {
  readonly #context: OrphansContext;

  constructor(context: OrphansContext) {
    this.#context = context;
  }

  /** Returns the IDs of the namespaces that podwire created, whether a sandbox owns them or not. */
  async namespaces(): Promise<readonly string[]> {
    const { netnsDir, netnsPrefix } = this.#context;
    const names = (await listDir(netnsDir)).filter((name) => name.startsWith(netnsPrefix));
    // podwire did not create a namespace whose name has no valid ID.
    return names.map((name) => name.slice(netnsPrefix.length)).filter(isContainerId);
  }

  /** Returns the IDs of the infra containers that podwire created, whether a sandbox owns them or not. */
  async containers(): Promise<readonly string[]> {
    return (await listDir(`${this.#context.stateDir}/infra`)).filter(isContainerId);
  }

  /** Begins a pass over many IDs, which reads the attachments at most once. */
  startPass(): OrphanPass {
    return new OrphanPass(this.#context);
  }

  async snapshot(
    podsOwner: string | undefined,
  ): Promise<(options: HostSweepOptions) => Promise<HostFindings>> {
    const { sandboxes } = this.#context;
    const ids = [...new Set([...await this.namespaces(), ...await this.containers()])];
    const pods = podsOwner === undefined ? [] : await this.#podsOf(podsOwner);
    const held = await sandboxes.containers.all();
    return (options) => this.#sweep({ ids, pods, held }, options);
  }

  async #podsOf(engine: string): Promise<readonly SandboxRecord[]> {
    const engineOwner = formatOwner({ kind: "pods", engine });
    return (await this.#context.sandboxes.all()).filter(({ owner }) => owner === engineOwner);
  }

  async #sweep({ ids, pods, held }: Snapshot, options: HostSweepOptions): Promise<HostFindings> {
    const gone = pods.filter(({ id }) => options.pods !== undefined && !options.pods.containerIds.has(id));
    const pass = this.startPass();
    const found = [
      ...await inParallel(ids, AT_ONCE, (id) => this.#sweepHost(id, pass, options), options.signal),
      ...await inParallel(gone, AT_ONCE, (pod) => this.#sweepPod(pod, options), options.signal),
      ...await inParallel(held, AT_ONCE, (id) => this.#sweepContainer(id, options), options.signal),
    ];
    const all = emptyReport<HostItem>();
    for (const findings of found) addToReport(all, findings);
    return all;
  }

  async #sweepHost(id: string, pass: OrphanPass, { dryRun }: HostSweepOptions): Promise<HostFindings> {
    const { sandboxes, netnsDir, netnsPrefix } = this.#context;
    const netns = `${netnsDir}/${netnsPrefix}${id}`;
    // The namespace existed before this check, and the record of a sandbox is written before its namespace is created.
    if (await sandboxes.has(id)) {
      const damaged = await sandboxes.damagedOf(id);
      if (damaged === undefined) return emptyReport<HostItem>();
      const why = this.#context.damagedSandboxes.why(damaged);
      return {
        ...emptyReport<HostItem>(),
        kept: [{ kind: "sandbox", containerId: id, netns, file: damaged.file, why }],
      };
    }
    return await this.#unlessBusy({ kind: "namespace", containerId: id, netns }, dryRun, async () => {
      return await sandboxes.has(id) ? emptyReport<HostItem>() : await pass.remove(id, dryRun);
    });
  }

  /** Removes the record of a pod that is gone. Its attachments were removed before, or are kept for another reason. */
  async #sweepPod(pod: SandboxRecord, { dryRun }: HostSweepOptions): Promise<HostFindings> {
    const { sandboxes, store } = this.#context;
    const item = { kind: "sandbox", containerId: pod.id, netns: pod.netns.path } as const;
    return await this.#unlessBusy(item, dryRun, async () => {
      const found = emptyReport<HostItem>();
      const record = await sandboxes.read(pod.id);
      if (record === undefined || record.owner !== pod.owner || record.createdAt !== pod.createdAt) {
        return found;
      }
      const attached = (await store.ofContainer(pod.id)).filter(({ state }) => state !== "failed");
      if (attached.length > 0 && !dryRun) {
        found.kept.push({ ...item, why: "some of its attachments are kept" });
        return found;
      }
      if (!dryRun) await sandboxes.remove(record);
      found.removed.push({ ...item, why: "its pod is gone" });
      return found;
    });
  }

  /** Removes the sandbox of a container that is gone. Its attachments were removed before, unless they are kept. */
  async #sweepContainer(id: string, { dryRun, signal }: HostSweepOptions): Promise<HostFindings> {
    const { sandboxes, store, inside } = this.#context;
    const readEnded = async () => {
      const record = await sandboxes.read(id);
      const end = record && await containerEnd(record, this.#context, signal);
      return end?.isOver ? { record, why: end.why } : undefined;
    };
    if (await readEnded() === undefined) return emptyReport<HostItem>();
    return await this.#unlessBusy({ kind: "sandbox", containerId: id }, dryRun, async () => {
      const found = emptyReport<HostItem>();
      const { record, why = "" } = await readEnded() ?? {};
      if (record === undefined) return found;
      const item = { kind: "sandbox", containerId: id, netns: record.netns.path, why } as const;
      const attached = (await store.ofContainer(id)).filter(({ state }) => state !== "failed");
      if (attached.length > 0 && !dryRun) {
        found.kept.push({ ...item, why: "some of its attachments are kept" });
        return found;
      }
      await attempt(item, found, async () => {
        if (dryRun) return;
        await inside.remove(id);
        removeNetworkStatus(id, this.#context);
        const { failures: [first] } = await tearDownHost(record, this.#context);
        if (first !== undefined) throw first;
        await sandboxes.remove(record);
      });
      return found;
    });
  }

  async #unlessBusy(
    item: Omit<HostItem, "why">,
    dryRun: boolean,
    body: () => Promise<HostFindings>,
  ): Promise<HostFindings> {
    const { locks } = this.#context;
    const busy = { ...emptyReport<HostItem>(), kept: [{ ...item, why: UNDER_WAY }] };
    try {
      if (dryRun) return await locks.containers.isBusy(item.containerId) ? busy : await body();
      const outcome = await tryContainerLock(locks, item.containerId, body);
      return outcome.isBusy ? busy : outcome.value;
    } catch (cause) {
      const error = asCniError(cause);
      return { ...emptyReport<HostItem>(), failed: [{ ...item, why: error.message, error }] };
    }
  }
}

/** One pass over many IDs. The attachments are read once, when the first namespace needs them. */
export class OrphanPass {
  readonly #context: OrphansContext;
  #records: Promise<ContainerRecords> | undefined;

  constructor(context: OrphansContext) {
    this.#context = context;
  }

  /**
   * Removes the infra container and the namespace with that ID, if they exist. The caller holds the container's lock, and the
   * sandbox has no record.
   */
  async remove(id: string, dryRun = false): Promise<HostFindings> {
    const { netnsDir, netnsPrefix, stateDir, run, path, timeouts } = this.#context;
    const netns = `${netnsDir}/${netnsPrefix}${id}`;
    const item = { containerId: id, netns, why: "no sandbox owns it" };
    const found = emptyReport<HostItem>();
    const bundle = infraBundle(stateDir, id);
    const hasContainer = await statOf(bundle) !== undefined;
    if (await newerBundle(bundle) !== undefined) {
      // Its namespace is kept too.
      found.kept.push({ ...item, kind: "container", file: bundle, why: `its bundle ${bundle} ${NEWER}` });
      return found;
    }
    if (hasContainer) {
      await attempt({ ...item, kind: "container" }, found, async () => {
        if (!dryRun) await sweepInfra(id, bundle, { run, path, timeoutMs: timeouts.DEL });
      });
    }
    if (await statOf(netns) === undefined) return found;
    const namespace = { ...item, kind: "namespace" } as const;
    // In a real run, the container would be removed first, and its processes with it.
    const why = await this.#whyKept(netns, !(dryRun && hasContainer));
    if (why !== undefined) found.kept.push({ ...namespace, why });
    else {
      await attempt(namespace, found, async () => {
        if (!dryRun) await kernelFor(run).removeNetns(netns);
      });
    }
    return found;
  }

  async #whyKept(netns: string, countsProcesses: boolean): Promise<string | undefined> {
    const problem = await nsProblem(netns);
    if (problem !== undefined) {
      const stat = await statOf(netns);
      // A run that was killed before it mounted the namespace leaves an empty file.
      return stat === undefined || (stat.isFile && stat.size === 0) ? undefined : problem;
    }
    const { stateDir, run } = this.#context;
    if (await isOfOther(netns, stateDir, run)) {
      return "another installation of podwire, with another state directory, created it";
    }
    const pids = countsProcesses ? await netnsProcesses(netns) : [];
    if (pids.length > 0) return `processes are in it: ${pids.toSorted((a, b) => a - b).join(", ")}`;
    return await this.#findAttachment(netns);
  }

  async #findAttachment(netns: string): Promise<string | undefined> {
    const { store, cache } = this.#context;
    const id = await netnsId(netns);
    const { records, damaged } = await (this.#records ??= store.scanAll());
    for (const each of damaged) {
      const entry = await cache.read(each).catch(() => undefined);
      const place = entry?.netns || each.netns;
      // If its namespace is unknown, the attachment may be in this one.
      if (place !== undefined && place !== netns && (id === undefined || await netnsId(place) !== id)) {
        continue;
      }
      if (await store.look(each) === undefined) continue;
      return `an attachment may be in it: its record ${each.file} cannot be read (${each.reason})`;
    }
    for (const record of records) {
      if (record.netns !== netns && (id === undefined || record.netnsId !== id)) continue;
      const now = await store.read(record);
      // An attachment that could not be detached keeps no namespace, as with `podwire rm -f`.
      if (now === undefined || now.state === "failed") continue;
      return `the attachment of "${now.containerId}" to network "${now.network}" is in it`;
    }
    return undefined;
  }
}

async function attempt(item: HostItem, found: HostFindings, body: () => Promise<void>): Promise<void> {
  try {
    await body();
    found.removed.push(item);
  } catch (cause) {
    const error = asCniError(cause);
    found.failed.push({ ...item, why: error.message, error });
  }
}
