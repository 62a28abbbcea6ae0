import { Attachments } from "../attachment/attachments.ts";
import { InterfaceGuard, type InterfaceGuardOptions } from "../attachment/interface_guard.ts";
import type { FreeLeftovers } from "../attachment/leftovers.ts";
import type { FindStoredAddresses } from "../attachment/unowned_addresses.ts";
import type { FindCurrentList } from "../attachment/removal.ts";
import { once } from "../async/once.ts";
import { builtins } from "../builtin/mod.ts";
import type { Catalog } from "../catalog/catalog.ts";
import { bootId } from "../host/boot.ts";
import { type RunCommand, runCommand, withSystemDirs } from "../host/command.ts";
import { type Logger, silentLogger } from "../host/log.ts";
import { RunningPrograms } from "../host/running_programs.ts";
import { DEFAULT_TIMEOUTS } from "../plugin/deadline.ts";
import { PluginRunner } from "../plugin/exec.ts";
import { Instrumentation } from "../plugin/instrumentation.ts";
import { NETNS_OVERRIDE, NetnsGuard } from "../plugin/netns_guard.ts";
import { runWithContainerId } from "../plugin/run_with_container_id.ts";
import { requireSafeDirectories } from "../plugin/safety.ts";
import { VersionProbe } from "../plugin/versions.ts";
import { type AttachmentKey, AttachmentStore } from "../state/attachment_store.ts";
import type { BadRecord } from "../state/checksummed.ts";
import { findLocalPortsWith } from "../state/automatic_ports.ts";
import { FailedIndex } from "../state/failed_index.ts";
import { HostPorts } from "../state/host_ports.ts";
import { InterfaceClaims } from "../state/interface_claims.ts";
import { findListenersWith } from "../state/listeners.ts";
import { Locks } from "../state/locks.ts";
import { LostAttachments } from "../state/lost_attachments.ts";
import { RecordFiles } from "../state/record_files.ts";
import { ResultCache } from "../state/result_cache.ts";
import { StateFormat } from "../state/state_format.ts";
import { wireCatalog } from "./catalog_wiring.ts";
import type { RuntimeContext } from "./context.ts";
import { DEFAULTS, type RuntimeOptions, withDefaults } from "./options.ts";

/** How a plugin begins a line that people have to see. */
const WARNING = /^(?:[\w.-]+: )?warning: /i;

/** What differs between runtimes. */
export interface WireOptions {
  /** Whether the embedded network is used if the directory holds no file. @default {true} */
  readonly embedded?: boolean | undefined;
  /** Returns the catalog that sandboxes find their networks in. @default {the directory, read each time} */
  readonly catalog?: ((signal?: AbortSignal) => Promise<Catalog>) | undefined;
}

/** Creates each collaborator of attachments once. It reads, writes and runs nothing. */
export function wireAttachments(given: RuntimeOptions, { embedded = true, catalog }: WireOptions = {}) {
  const options = withSearchPath(given);
  const { run = runCommand, log = silentLogger } = options;
  const { cacheDir, stateDir, netnsDir } = withDefaults(DEFAULTS, options);
  const runDir = options.runDir ?? defaultRunDir(stateDir);
  const dirs = { stateDir, cacheDir, runDir, netnsDir };
  const onBad = reportOnce(log);
  const timeouts = withDefaults(DEFAULT_TIMEOUTS, options.timeouts ?? {});
  const instrumentation = new Instrumentation(options);
  const running = new RunningPrograms(runDir, run);
  const runner = makeRunner(options, { run, running, log, instrumentation });
  const probe = new VersionProbe(runner, timeouts.VERSION);
  const format = new StateFormat(stateDir, log);
  const files = new RecordFiles(stateDir, (id) => locks.containers.holdOf(id));
  const reading = { files, boot: once(() => bootId(run)), onBad, format };
  const store = new AttachmentStore(reading.files, reading);
  const waiting = { instrumentation, run, log, limitMs: options.lockTimeoutMs };
  const locks = new Locks(runDir, { ...waiting, requireKnownFormat: format.requireKnown });
  const cache = new ResultCache(cacheDir);
  const netnsGuard = new NetnsGuard({ override: given.environment?.[NETNS_OVERRIDE] });
  const disk = wireDisk({ ...reading, stateDir, store, cache, locks, netnsGuard, run, log });
  const catalogs = wireCatalog(options, { stateDir, store, format, log, embedded });
  const freeLeftovers = freeingWith(run);
  const storedAddresses = findStoredAddresses;
  const fallbacks = {
    freeLeftovers,
    storedAddresses,
    currentList: currentListIn(catalog ?? catalogs.readOnlyCatalog),
  };
  const attachments = new Attachments({ ...disk, ...fallbacks, runner, log, run, timeouts, probe });
  const guards = guardingWith(format, options.allowUnsafeFiles ? [] : Object.values(dirs));
  const records = { attachments, store, cache, locks, probe };
  const host = { path: options.environment.PATH, timeouts, run, running, log };
  const plugins = { runner, netnsGuard, instrumentation, freeLeftovers, storedAddresses };
  return { options, dirs, reading, disk, guards, records, host, plugins, catalogs, catalog };
}

/** What {@linkcode wireAttachments} creates. */
export type AttachmentWiring = ReturnType<typeof wireAttachments>;

/** Creates what keeps records of attachments, and of the interfaces and host ports that they claim. */
function wireDisk(
  context:
    & Omit<InterfaceGuardOptions, "claims">
    & Pick<RuntimeContext, "store" | "cache" | "locks">
    & {
      readonly stateDir: string;
      readonly boot: () => Promise<string>;
      readonly onBad: (bad: BadRecord) => void;
    },
) {
  const { stateDir, boot, store, cache, locks, run } = context;
  const claims = new InterfaceClaims(context);
  const interfaces = new InterfaceGuard({ ...context, claims });
  const lost = new LostAttachments({ store, cache, claims });
  const isLost = (key: AttachmentKey) => lost.has(key);
  const used = { findListeners: findListenersWith(run), findLocalPorts: findLocalPortsWith(run) };
  const ports = new HostPorts({ ...context, ...used, isLost });
  return { boot, store, cache, ports, failed: new FailedIndex(stateDir), locks, lost, claims, interfaces };
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
  return async (attachment, { dryRun, signal = new AbortController().signal }) => {
    const { freeLeftovers } = await import("../builtin/leftovers.ts");
    const host = { run: runWithContainerId(run, attachment.containerId), signal };
    return await freeLeftovers(attachment, host, { dryRun });
  };
}

const findStoredAddresses: FindStoredAddresses = async ({ name, plugins }) => {
  const { heldAddresses } = await import("../builtin/held_addresses.ts");
  return await heldAddresses(plugins.map(({ json }) => json), name);
};

/** Gives plugins, the programs that built-in plugins run, and the search for programs one and the same `PATH`. */
function withSearchPath(options: RuntimeOptions) {
  return {
    ...options,
    environment: { ...options.environment, PATH: withSystemDirs(options.environment?.PATH) },
  };
}

/** Logs each unusable record once: it stays where it is, and is read again and again. */
function reportOnce(log: Logger): (bad: BadRecord) => void {
  const reported = new Set<string>();
  return ({ file, movedTo, reason }) => {
    const key = `${file} ${movedTo} ${reason}`;
    if (reported.has(key)) return;
    reported.add(key);
    if (movedTo === undefined) log.warn(`a record cannot be used, and is left as it is: ${reason}`, { file });
    else log.warn(`a record could not be read and was moved aside: ${reason}`, { file, movedTo });
  };
}

/**
 * Returns the directory of the locks of a state directory. Locks guard its records: if two state directories shared their
 * locks, one of them would clear away a lock file that a crash of the other left behind.
 */
function defaultRunDir(stateDir: string): string {
  return stateDir === DEFAULTS.stateDir ? DEFAULTS.runDir : `${stateDir}/run`;
}

function makeRunner(
  options: RuntimeOptions,
  { run, running, log, instrumentation }: {
    run: RunCommand;
    running: RunningPrograms;
    log: Logger;
    instrumentation: Instrumentation;
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
    instrumentation,
    // Such a line says what limits a container that is attached all the same.
    onStderrLine: ({ line, ...fields }) => log[WARNING.test(line) ? "warn" : "info"](line, fields),
    onWait: ({ plugin, verb, network, ...fields }) =>
      log.warn(`still waiting for plugin "${plugin}", ${verb} of network "${network}"`, fields),
  });
}
