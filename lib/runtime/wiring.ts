import { FailedLimit } from "../attachment/failed_limit.ts";
import { forgetAttachments, type ForgetContext } from "../attachment/forget.ts";
import { GarbageCollector, WAIT_BEYOND_ADD_MS } from "../gc/collector.ts";
import { DamagedRecords } from "../gc/damaged_attachments.ts";

import type { RunCommand } from "../host/command.ts";
import { fnv1a } from "../host/fnv.ts";
import type { Logger } from "../host/log.ts";
import { EmbeddedMtu } from "../network/embedded_mtu.ts";
import { warningsOf } from "../network/embedded_warnings.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { InsideFiles } from "../inside/inside_files.ts";
import { PodNetworks } from "../pod/pod.ts";
import { ReadinessMemory } from "../readiness/memory.ts";
import { probeNetwork } from "../readiness/status.ts";
import { isContainerGone } from "../sandbox/container_end.ts";
import type { DamagedSandboxes } from "../sandbox/damaged_sandboxes.ts";
import { NETNS_PREFIX } from "../sandbox/record.ts";
import { SandboxStore } from "../sandbox/store.ts";
import { DEFAULT_LOCK_TIMEOUT_MS } from "../state/lock_waiter.ts";
import type { Locks } from "../state/locks.ts";
import { type AttachmentWiring, wireAttachments, type WireOptions } from "./attachment_wiring.ts";
import type { RuntimeContext } from "./context.ts";
import { DEFAULTS, type RuntimeOptions } from "./options.ts";
import { wireRuleRepair } from "./rule_repair_wiring.ts";
import { wireSandboxes } from "./sandbox_wiring.ts";

/** Creates each collaborator of a runtime once. It reads, writes and runs nothing. */
export function wire(options: RuntimeOptions, more: WireOptions = {}): RuntimeContext {
  return wireOnto(wireAttachments(options, more));
}

/** Creates what a runtime has beside its attachments. */
export function wireOnto(wiring: AttachmentWiring): RuntimeContext {
  const { options, reading, disk, guards, records, host, catalogs } = wiring;
  const { attachments, store, cache, locks, probe } = records;
  const { timeouts, run, running, log } = host;
  const { runner, netnsGuard, instrumentation, freeLeftovers, storedAddresses } = wiring.plugins;
  const { format } = reading;
  const { stateDir, netnsDir } = wiring.dirs;
  const pods = new PodNetworks({ attachments, store, cache, run });
  const lockNames = (signal?: AbortSignal) => locks.machine.names(signal);
  const sandboxStore = new SandboxStore({ ...reading, stateDir, lockNames });
  const dirs = { ...wiring.dirs, netnsPrefix: prefixOf(stateDir, netnsDir) };
  const netnsOf = (id: string) => `${dirs.netnsDir}/${dirs.netnsPrefix}${id}`;
  const damaged = new DamagedRecords({ ...disk, attachments, running, netnsOf });
  const inside = new InsideFiles({ stateDir, lock: (signal) => locks.machine.files(signal), log });
  const made = { inside, sandboxes: sandboxStore, locks, attachments, pods, damaged };
  const shared = { ...dirs, ...host, ...made, netnsGuard, failedLimit: failedLimitOf(options, disk, log) };
  const rules = wireRuleRepair({ attachments, store, locks, runner, run, path: host.path });
  const more = { instrumentation, rules, catalog: wiring.catalog ?? catalogs.catalog };
  const wired = wireSandboxes({ ...shared, ...disk, ...guards, ...more });
  const garbage = new GarbageCollector({
    ...{ ...records, runner, running, damaged, host: wired.orphans, storedAddresses },
    hasSandbox: (id) => hasSandbox(id, wired.damagedSandboxes, shared),
    timeoutMs: timeouts.GC,
    waitMs: timeouts.ADD + WAIT_BEYOND_ADD_MS,
  });
  return {
    ...catalogs,
    ...records,
    sandboxes: wired.sandboxes,
    sandboxContext: shared,
    creator: wired.creator,
    recovery: wired.recovery,
    beforeFirstAdd: (signal) => wired.recovery.beforeFirstAdd(signal),
    garbage,
    forget: forgettingWith({ attachments, store, cache, freeLeftovers, run, log }, locks),
    failed: disk.failed,
    rules,
    format,
    probeNetwork: async (list, signal) => {
      const answer = await probeNetwork(list, { runner, probe, timeoutMs: timeouts.STATUS, signal });
      return { ...answer, warnings: await warningsOf(list, kernelFor(run), { signal }) };
    },
    readinessMemory: new ReadinessMemory(stateDir, log, format.requireKnown),
    instrumentation,
    runner,
    networks: {
      ...{ store, cache, locks, probe, run, failed: disk.failed },
      confDir: options.confDir ?? DEFAULTS.confDir,
      lockMs: options.lockTimeoutMs ?? DEFAULT_LOCK_TIMEOUT_MS,
      removeBridge: removingBridges(run),
      removeAddressFolders,
      embeddedMtu: new EmbeddedMtu({ stateDir, run, log }),
      requireWritable: format.requireKnown,
    },
  };
}

function removingBridges(run: RunCommand): RuntimeContext["networks"]["removeBridge"] {
  return async (bridge, signal = new AbortController().signal) => {
    const { removeEmptyBridge } = await import("../builtin/bridge_removal.ts");
    await removeEmptyBridge({ run, signal }, bridge);
  };
}

const removeAddressFolders: RuntimeContext["networks"]["removeAddressFolders"] = async (
  { name, plugins },
  signal = new AbortController().signal,
) => {
  const { removeEmptyAddressFolders } = await import("../builtin/address_folder_removal.ts");
  await removeEmptyAddressFolders(plugins.map(({ json }) => json), name, signal);
};

/** Whether a sandbox is on record whose container, if it has one, is not gone. */
async function hasSandbox(
  id: string,
  damaged: DamagedSandboxes,
  context: Parameters<typeof isContainerGone>[1],
): Promise<boolean> {
  const record = context.sandboxes.readNow(id);
  // Nearly always. A look for a file that is not there takes as long as all of this.
  if (record !== undefined && record.container === undefined) return true;
  return await damaged.exists(id) && !await isContainerGone(id, context);
}

function failedLimitOf(
  { maxFailed: max = DEFAULTS.maxFailed }: RuntimeOptions,
  { store, failed }: Pick<RuntimeContext, "store" | "failed">,
  log: Logger,
): FailedLimit {
  return new FailedLimit({ store, failed, log, max });
}

function forgettingWith(context: ForgetContext, locks: Locks): RuntimeContext["forget"] {
  return async (request, options) => {
    await using _lock = await locks.containers.hold(request.containerId, options.signal);
    return await forgetAttachments(request, context, options);
  };
}

/**
 * Returns the prefix of the names of namespaces. Recovery removes namespaces that are not on record, so in the shared
 * directory those of another state directory must not have the same prefix.
 */
function prefixOf(stateDir: string, netnsDir: string): string {
  if (stateDir === DEFAULTS.stateDir || netnsDir !== DEFAULTS.netnsDir) return NETNS_PREFIX;
  // No ID has an "@", so no name of the default state directory begins with this prefix.
  return `${NETNS_PREFIX.slice(0, -1)}@${fnv1a(stateDir, 32).toString(16).padStart(8, "0")}-`;
}
