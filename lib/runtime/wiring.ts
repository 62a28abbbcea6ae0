import type { CallOptions } from "../async/call_options.ts";
import { freeLeftovers } from "../builtin/leftovers.ts";
import { builtins } from "../builtin/mod.ts";
import { type RunCommand, runCommand, withSystemDirs } from "../host/command.ts";
import { fnv1a } from "../host/fnv.ts";
import { type Logger, silentLogger } from "../host/log.ts";
import { RunningPrograms } from "../host/running_programs.ts";
import { withContainerLock } from "../state/container_locks.ts";
import { Locks } from "../state/locks.ts";
import { DamagedRecords } from "../gc/damaged_attachments.ts";
import { FailedBound } from "../attachment/failed_bound.ts";
import { FailedIndex } from "../state/failed_index.ts";
import {
  forgetAttachments,
  type ForgetParts,
  type ForgetReport,
  type ForgetRequest,
} from "../attachment/forget.ts";
import { GarbageCollector, WAIT_BEYOND_ADD_MS } from "../gc/collector.ts";
import type { GcReport, GcRequest } from "../gc/report.ts";
import { HostPorts } from "../state/host_ports.ts";
import { InterfaceClaims } from "../state/interface_claims.ts";
import { InterfaceGuard, type InterfaceGuardOptions } from "../attachment/interface_guard.ts";
import { findListenersWith } from "../state/listeners.ts";
import { LostAttachments } from "../state/lost_attachments.ts";
import { Attachments } from "../attachment/attachments.ts";
import { type AttachmentKey, AttachmentStore } from "../state/attachment_store.ts";
import type { BadRecord } from "../state/checksummed.ts";
import type { FreeLeftovers } from "../attachment/leftovers.ts";
import type { FindCurrentList } from "../attachment/removal.ts";
import { ResultCache } from "../state/result_cache.ts";
import { StateFormat } from "../state/state_format.ts";
import { probeNetwork } from "../readiness/status.ts";
import { DEFAULT_TIMEOUTS, type Timeouts } from "../plugin/deadline.ts";
import { PluginRunner } from "../plugin/exec.ts";
import { runWithContainerId } from "../plugin/run_with_container_id.ts";
import { NETNS_OVERRIDE, NetnsGuard } from "../plugin/netns_guard.ts";
import { Instrumentation } from "../plugin/instrumentation.ts";
import { requireSafeDirectories } from "../plugin/safety.ts";
import { VersionProbe } from "../plugin/versions.ts";
import type { Catalog } from "../catalog/catalog.ts";
import { CatalogOnDemand } from "../catalog/on_demand.ts";
import { CatalogReader } from "../catalog/reader.ts";
import type { CatalogSource } from "../catalog/source.ts";
import { CatalogWatch } from "../catalog/watch.ts";
import { embeddedNetwork, machineFacts } from "../catalog/embedded_network.ts";
import { PodNetworks } from "../pod/pod.ts";
import { ReadinessMemory } from "../readiness/memory.ts";
import type { ProbeNetwork } from "../readiness/status_check.ts";
import { DEFAULTS, type RuntimeOptions, withDefaults } from "./options.ts";
import { isContainerGone } from "../sandbox/container_end.ts";
import type { SandboxContext } from "../sandbox/context.ts";
import { NETNS_PREFIX } from "../sandbox/record.ts";
import type { SandboxCreator } from "../sandbox/create.ts";
import type { Recovery } from "../sandbox/recovery.ts";
import type { Sandboxes } from "../sandbox/sandbox.ts";
import { wireSandboxes } from "./sandbox_wiring.ts";
import { SandboxStore } from "../sandbox/store.ts";

/** What a runtime consists of. */
export interface Parts {
  readonly sandboxes: Sandboxes;
  /** What all sandboxes are made with, those of engines too. */
  readonly common: SandboxContext;
  readonly creator: SandboxCreator;
  readonly store: AttachmentStore;
  /** How the state directory is laid out. */
  readonly format: StateFormat;
  readonly cache: ResultCache;
  readonly locks: Locks;
  readonly ports: HostPorts;
  readonly failed: FailedIndex;
  readonly attachments: Attachments;
  readonly recovery: Recovery;
  readonly garbage: GarbageCollector;
  /** Lets go of attachments that cannot be detached. */
  readonly forget: (request: ForgetRequest, options: CallOptions) => Promise<ForgetReport>;
  readonly runner: PluginRunner;
  readonly probe: VersionProbe;
  readonly timeouts: Timeouts;
  readonly watch: Instrumentation;
  /** Asks the plugins of a network whether it is ready. */
  readonly ask: ProbeNetwork;
  /** Since when networks are ready or not. */
  readonly readiness: ReadinessMemory;
  /** Reads the configuration directory each time that it is asked. */
  readonly catalogSource: CatalogSource;
  /** What that source gives now, for who attaches: what is new is remembered. */
  readonly catalog: (signal?: AbortSignal) => Promise<Catalog>;
  /** The same for who only looks: nothing is written. */
  readonly seenCatalog: (signal?: AbortSignal) => Promise<Catalog>;
  /** Watches the configuration directory until disposed of. */
  readonly watchCatalog: (options?: WatchCatalogOptions) => Promise<CatalogSource>;
}

/** What not every runtime has. */
export interface WireOptions {
  /** Whether the embedded network stands in where the directory holds no file. @default {true} */
  readonly embedded?: boolean | undefined;
  /** What sandboxes find their networks in. @default {the directory, read each time} */
  readonly catalog?: ((signal?: AbortSignal) => Promise<Catalog>) | undefined;
}

/** Makes the parts of a runtime for each other; touches nothing. */
export function wire(given: RuntimeOptions, { embedded = true, catalog }: WireOptions = {}): Parts {
  const options = withSearchPath(given);
  const { run = runCommand, log = silentLogger } = options;
  const { cacheDir, stateDir, netnsDir } = withDefaults(DEFAULTS, options);
  const runDir = options.runDir ?? defaultRunDir(stateDir);
  const onBad = reportOnce(log);
  const timeouts = withDefaults(DEFAULT_TIMEOUTS, options.timeouts ?? {});
  const watch = new Instrumentation(options);
  const running = new RunningPrograms(runDir, run);
  const runner = makeRunner(options, { run, running, log, watch });
  const probe = new VersionProbe(runner, timeouts.VERSION);
  const format = new StateFormat(stateDir, log);
  const store = new AttachmentStore(stateDir, onBad, format);
  const waiting = { instrumentation: watch, run, log, limitMs: options.lockTimeoutMs };
  const locks = new Locks(runDir, { ...waiting, requireKnownFormat: format.requireKnown });
  const cache = new ResultCache(cacheDir);
  const netnsGuard = new NetnsGuard({ override: given.environment?.[NETNS_OVERRIDE] });
  const disk = wireDisk({ stateDir, store, cache, locks, netnsGuard, run, log, onBad });
  const catalogs = wireCatalog(options, { stateDir, store, format, log, embedded });
  const freeLeftovers = freeingWith(run);
  const fallbacks = { freeLeftovers, currentList: currentListIn(catalog ?? catalogs.seenCatalog) };
  const attachments = new Attachments({ ...disk, ...fallbacks, runner, log, run, timeouts, probe });
  const pods = new PodNetworks({ attachments, store, cache, run });
  const sandboxStore = new SandboxStore(stateDir, onBad, (signal) => locks.machine.names(signal), format);
  const dirs = { stateDir, cacheDir, runDir, netnsDir, netnsPrefix: prefixOf(stateDir, netnsDir) };
  const netnsOf = (id: string) => `${dirs.netnsDir}/${dirs.netnsPrefix}${id}`;
  const damaged = new DamagedRecords({ ...disk, attachments, running, netnsOf });
  const host = { path: options.environment.PATH, timeouts, run, running, log };
  const made = { sandboxes: sandboxStore, locks, attachments, pods, damaged };
  const shared = { ...dirs, ...host, ...made, netnsGuard, failedBound: boundOf(options, disk, log) };
  const trusted = options.allowUnsafeFiles ? [] : [stateDir, cacheDir, runDir, netnsDir];
  const guards = guardingWith(format, trusted);
  const more = { instrumentation: watch, catalog: catalog ?? catalogs.catalog };
  const wired = wireSandboxes({ ...shared, ...disk, ...guards, ...more });
  const engine = { attachments, store, cache, locks, runner, probe };
  const garbage = new GarbageCollector({
    ...engine,
    running,
    hasSandbox: async (id) => await wired.damagedSandboxes.exists(id) && !await isContainerGone(id, shared),
    damaged,
    host: wired.orphans,
    timeoutMs: timeouts.GC,
    waitMs: timeouts.ADD + WAIT_BEYOND_ADD_MS,
  });
  return {
    ...{ format, common: shared, garbage, timeouts, watch },
    ...{ sandboxes: wired.sandboxes, creator: wired.creator, recovery: wired.recovery },
    ...{ ports: disk.ports, failed: disk.failed },
    forget: forgettingWith({ attachments, store, cache, freeLeftovers, run, log }, locks),
    ...engine,
    ask: (list, signal) => probeNetwork(list, { runner, probe, timeoutMs: timeouts.STATUS, signal }),
    readiness: new ReadinessMemory(stateDir, log, format.requireKnown),
    ...catalogs,
  };
}

/** What is on disk of attachments, and who has which interface and which port of the host. */
function wireDisk(
  parts:
    & Omit<InterfaceGuardOptions, "claims">
    & Pick<Parts, "store" | "cache" | "locks">
    & { readonly stateDir: string; readonly onBad: (bad: BadRecord) => void },
) {
  const { stateDir, store, cache, locks, run } = parts;
  const claims = new InterfaceClaims(parts);
  const interfaces = new InterfaceGuard({ ...parts, claims });
  const lost = new LostAttachments({ store, cache, claims });
  const isLost = (key: AttachmentKey) => lost.has(key);
  const ports = new HostPorts({ ...parts, isLost, findListeners: findListenersWith(run) });
  return { store, cache, ports, failed: new FailedIndex(stateDir), locks, lost, claims, interfaces };
}

function boundOf(
  { maxFailed: max = DEFAULTS.maxFailed }: RuntimeOptions,
  { store, failed }: Pick<Parts, "store" | "failed">,
  log: Logger,
): FailedBound {
  return new FailedBound({ store, failed, log, max });
}

function guardingWith({ requireKnown }: StateFormat, trusted: readonly string[]) {
  const requireSafe = async () => {
    await requireSafeDirectories(trusted);
    await requireKnown();
  };
  return { requireSafe, requireKnown };
}

function currentListIn(catalog: (signal?: AbortSignal) => Promise<Catalog>): FindCurrentList {
  return async (network, signal) => (await catalog(signal)).lists.find(({ name }) => name === network);
}

function freeingWith(run: RunCommand): FreeLeftovers {
  return (attachment, { dryRun, signal = new AbortController().signal }) =>
    freeLeftovers(attachment, { run: runWithContainerId(run, attachment.containerId), signal }, { dryRun });
}

function forgettingWith(parts: ForgetParts, locks: Locks): Parts["forget"] {
  return (request, options) =>
    withContainerLock(
      locks,
      request.containerId,
      options.signal,
      () => forgetAttachments(request, parts, options),
    );
}

/** One search path for plugins, for what built-in ones run, and for the look at what there is to run. */
function withSearchPath(options: RuntimeOptions) {
  return {
    ...options,
    environment: { ...options.environment, PATH: withSystemDirs(options.environment?.PATH) },
  };
}

/** A record that cannot be used stays where it is, and is read again and again: it is said once. */
function reportOnce(log: Logger): (bad: BadRecord) => void {
  const said = new Set<string>();
  return ({ file, movedTo, reason }) => {
    const key = `${file} ${movedTo} ${reason}`;
    if (said.has(key)) return;
    said.add(key);
    if (movedTo === undefined) log.warn(`a record cannot be used, and is left as it is: ${reason}`, { file });
    else log.warn(`a record could not be read and was moved aside: ${reason}`, { file, movedTo });
  };
}

/** Options of {@linkcode Parts.watchCatalog}. */
export interface WatchCatalogOptions {
  /** How often is looked without an event, in milliseconds. @default {10_000} */
  readonly pollMs?: number | undefined;
  /** Ends the opening. */
  readonly signal?: AbortSignal | undefined;
}

function wireCatalog(
  options: RuntimeOptions,
  { log, ...rest }: {
    stateDir: string;
    store: AttachmentStore;
    format: StateFormat;
    embedded: boolean;
    log: Logger;
  },
): Pick<Parts, "catalogSource" | "catalog" | "seenCatalog" | "watchCatalog"> {
  const { pluginDirs = DEFAULTS.pluginDirs } = options;
  const catalogSource = new CatalogOnDemand(makeReader(options, rest), log);
  const seenSource = new CatalogOnDemand(makeReader(options, { ...rest, remembers: false }), log);
  return {
    catalogSource,
    catalog: (signal) => catalogSource.current(signal),
    seenCatalog: async (signal) => {
      await rest.format.warnIfNewer();
      return await seenSource.current(signal);
    },
    watchCatalog: ({ pollMs, signal } = {}) => {
      const reader = makeReader(options, rest);
      const poll = pollMs === undefined ? {} : { pollMs };
      return CatalogWatch.open({ reader, pluginDirs, log, ...poll }, signal);
    },
  };
}

function makeReader(
  options: RuntimeOptions,
  { stateDir, store, embedded, remembers = true }: {
    stateDir: string;
    store: AttachmentStore;
    embedded: boolean;
    remembers?: boolean | undefined;
  },
): CatalogReader {
  const { confDir = DEFAULTS.confDir, embeddedOnly = false, defaultNetwork, environment, log } = options;
  const mayEmbed = embeddedOnly || (embedded && (options.embedded ?? true));
  return new CatalogReader({
    confDir: embeddedOnly ? undefined : confDir,
    stateDir,
    remembers,
    isAttached: (network) => store.hasNetwork(network),
    confDirRequired: options.confDir !== undefined,
    allowUnsafeFiles: options.allowUnsafeFiles ?? false,
    ...(mayEmbed ? { embedded: async () => embeddedNetwork(await machineFacts(environment?.PATH)) } : {}),
    ...(defaultNetwork === undefined ? {} : { defaultNetwork }),
    ...(log === undefined ? {} : { log }),
  });
}

/**
 * A lock guards records, so it belongs to their directory: a lock file that a crash left behind would
 * be taken for its own, and cleared away, by an installation whose records know nothing of it.
 */
function defaultRunDir(stateDir: string): string {
  return stateDir === DEFAULTS.stateDir ? DEFAULTS.runDir : `${stateDir}/run`;
}

/**
 * Recovery removes namespaces of which it has no record. In the directory that everybody uses, those of
 * another state directory must not look like our own.
 */
function prefixOf(stateDir: string, netnsDir: string): string {
  if (stateDir === DEFAULTS.stateDir || netnsDir !== DEFAULTS.netnsDir) return NETNS_PREFIX;
  // No ID has an "@", so this is not the beginning of another's name either.
  return `${NETNS_PREFIX.slice(0, -1)}@${fnv1a(stateDir, 32).toString(16).padStart(8, "0")}-`;
}

function makeRunner(
  options: RuntimeOptions,
  { run, running, log, watch }: {
    run: RunCommand;
    running: RunningPrograms;
    log: Logger;
    watch: Instrumentation;
  },
): PluginRunner {
  const { pluginDirs = DEFAULTS.pluginDirs, builtinPolicy = "fallback", environment = {} } = options;
  return new PluginRunner({
    pluginDirs,
    builtins,
    builtinPolicy,
    allowUnsafeFiles: options.allowUnsafeFiles ?? false,
    environment,
    run,
    running,
    watch,
    onStderrLine: ({ line, ...fields }) => log.info(line, fields),
    onWait: ({ plugin, verb, network, ...fields }) =>
      log.warn(`still waiting for plugin "${plugin}", ${verb} of network "${network}"`, fields),
  });
}

/**
 * One sweep over the networks of a catalogue and those on record.
 *
 * @throws {CniError} kind `not-found` for a network that is neither
 */
export async function collectGarbage(
  { store, garbage, format }: Pick<Parts, "store" | "garbage" | "format">,
  catalog: Catalog,
  request: GcRequest,
  options: CallOptions = {},
): Promise<GcReport> {
  if (!request.dryRun) await format.requireKnown();
  const { network } = request;
  const isKnown = network === undefined || catalog.lists.some(({ name }) => name === network) ||
    (await store.ofNetwork(network)).length > 0;
  // Throws what there is to say about the files.
  if (!isKnown) catalog.asCnitool(network);
  return await garbage.collect(catalog.lists, request, options);
}
