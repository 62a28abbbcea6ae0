import { builtins } from "./builtin/mod.ts";
import { DEFAULT_PATH, type RunCommand, runCommand } from "./host/command.ts";
import { statOf } from "./host/file.ts";
import type { Logger } from "./host/log.ts";
import { nsProblem } from "./host/netns.ts";
import { ContainerLocks, withContainerLock } from "./network/container_lock.ts";
import { Attachments, type AttachRequest } from "./network/network.ts";
import { type AttachmentRecord, AttachmentStore, type BadRecord } from "./network/record.ts";
import { ResultCache } from "./network/result_cache.ts";
import { DEFAULT_TIMEOUTS, type Timeouts } from "./plugin/deadline.ts";
import { type BuiltinPolicy, PluginRunner } from "./plugin/exec.ts";
import { reported } from "./plugin/failure.ts";
import { Catalog, type CatalogEntry } from "./pod/catalog.ts";
import { embeddedNetwork, type EmbeddedOptions } from "./pod/embedded.ts";
import { Pods } from "./pod/pod.ts";
import { Recovery, type RecoveryReport } from "./sandbox/recovery.ts";
import { NETNS_PREFIX, SandboxStore } from "./sandbox/record.ts";
import { Sandboxes } from "./sandbox/sandbox.ts";
import type { NetworkConfigList } from "./spec/config.ts";
import { CniError, ERROR_CODES } from "./spec/error.ts";
import type { JsonObject } from "./spec/json.ts";
import { validateContainerId } from "./spec/name.ts";

/** The directories and settings of an installation. All paths are absolute. */
export interface RuntimeOptions {
  /** Network configuration. @default {"/etc/cni/net.d"} */
  readonly confDir?: string;
  /** Plugins, in the order of the search; `/opt/<type>/bin` comes last by itself. @default {["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"]} */
  readonly pluginDirs?: readonly string[];
  /** libcni's cache of results. @default {"/var/lib/cni"} */
  readonly cacheDir?: string;
  /** podwire's own records. @default {"/var/lib/podwire"} */
  readonly stateDir?: string;
  /** Locks. @default {"/run/podwire", or "run" in a state directory that is not the default one} */
  readonly runDir?: string;
  /** Where namespaces are made. @default {"/run/netns"} */
  readonly netnsDir?: string;
  /** The only network that stands in when a request names none. @default {the first usable one} */
  readonly defaultNetwork?: string;
  /** Uses the embedded network, whatever the configuration directory holds. @default {false} */
  readonly embeddedOnly?: boolean;
  /** When a built-in plugin stands in for an executable. @default {"fallback"} */
  readonly builtinPolicy?: BuiltinPolicy;
  /** Milliseconds a verb. @default {DEFAULT_TIMEOUTS} */
  readonly timeouts?: Partial<Timeouts>;
  /** What plugins get beside the six `CNI_*` variables. @default {{}} */
  readonly environment?: Readonly<Record<string, string>>;
  /** Takes what is not an error, such as what plugins write to standard error. @default {a logger that drops everything} */
  readonly log?: Logger;
  /** Runs programs. @default {runCommand} */
  readonly run?: RunCommand;
}

/** Where things are unless the options say otherwise. */
export const DEFAULTS = {
  confDir: "/etc/cni/net.d",
  pluginDirs: ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"],
  cacheDir: "/var/lib/cni",
  stateDir: "/var/lib/podwire",
  runDir: "/run/podwire",
  netnsDir: "/run/netns",
} as const;

const SILENT: Logger = { debug() {}, info() {}, warn() {}, error() {} };

/**
 * A whole CNI runtime: sandboxes, single attachments, the networks of a directory, recovery.
 *
 * Nothing is read or run before a method is called. Permissions: `--allow-read` and `--allow-write`
 * for the directories of the options, `--allow-run` for iproute2, util-linux and the plugins; what
 * changes namespaces needs root. No environment variable is read.
 *
 * @example
 * ```ts
 * import { Podwire } from "./runtime.ts";
 *
 * const podwire = new Podwire({ timeouts: { ADD: 10_000 } });
 * for (const { name, status } of await podwire.networks()) console.log(name, status);
 * ```
 */
export class Podwire {
  /** Network namespaces that outlive the process. */
  readonly sandboxes: Sandboxes;
  readonly #options: RuntimeOptions;
  readonly #store: AttachmentStore;
  readonly #locks: ContainerLocks;
  readonly #attachments: Attachments;
  readonly #recovery: Recovery;

  /** Wires the parts; touches nothing. */
  constructor(options: RuntimeOptions = {}) {
    const { run = runCommand, log = SILENT } = options;
    const { cacheDir, stateDir, netnsDir } = { ...DEFAULTS, ...options };
    const runDir = options.runDir ?? defaultRunDir(stateDir);
    const onBad = ({ file, movedTo, reason }: BadRecord) =>
      log.warn(`a record could not be read and was moved aside: ${reason}`, { file, movedTo });
    this.#options = options;
    this.#store = new AttachmentStore(stateDir, onBad);
    this.#locks = new ContainerLocks(runDir);
    const store = this.#store;
    const locks = this.#locks;
    const runner = makeRunner(options, run, log);
    const timeouts = { ...DEFAULT_TIMEOUTS, ...options.timeouts };
    const cache = new ResultCache(cacheDir);
    this.#attachments = new Attachments({ runner, store, cache, log, run, timeouts });
    const attachments = this.#attachments;
    const pods = new Pods({ attachments, store, run });
    const sandboxes = new SandboxStore(stateDir, onBad);
    const path = options.environment?.PATH ?? DEFAULT_PATH;
    const netnsPrefix = prefixOf(stateDir, netnsDir);
    const dirs = { stateDir, cacheDir, runDir, netnsDir };
    const shared = { ...dirs, netnsPrefix, locks, attachments, pods, path, run, log };
    this.#recovery = new Recovery({ ...shared, sandboxes, store, cache });
    this.sandboxes = new Sandboxes({
      ...shared,
      store: sandboxes,
      recovery: this.#recovery,
      catalog: () => this.#catalog(),
    });
  }

  /**
   * Attaches a namespace to a network, as cnitool does, and gives the result in the network's version.
   *
   * Permissions: those of the class, and root.
   *
   * Source: CNI specification 1.1.0, section 3 "Attachment".
   *
   * @throws {CniError} with what failed; then nothing is attached, or a record says what is left
   *
   * @example
   * ```ts
   * import { Podwire } from "./runtime.ts";
   *
   * const podwire = new Podwire();
   * const target = {
   *   containerId: "c1",
   *   netns: "/run/netns/c1",
   *   ifName: "eth0",
   *   args: [],
   *   capabilityArgs: {},
   *   owner: "me",
   * };
   * console.log(await podwire.add("web", target));
   * await podwire.check("web", target);
   * await podwire.del("web", target);
   * ```
   */
  async add(network: string, request: AttachRequest): Promise<JsonObject> {
    return await reported(async () => {
      const problem = await nsProblem(request.netns);
      if (problem !== undefined) {
        const context = { verb: "ADD", network, code: ERROR_CODES.invalidNetns };
        throw new CniError("not-found", `${request.netns}: ${problem}`, context);
      }
      const list = await this.#load(network);
      await this.#recovery.beforeFirstAdd(request.signal);
      return await this.#locked(request, () => this.#attachments.add(list, request));
    });
  }

  /**
   * Asks the network's plugins whether the attachment is as it should be.
   *
   * Permissions: those of the class, and root. See {@linkcode Podwire.add} for an example.
   *
   * Source: CNI specification 1.1.0, section 3 "Checking".
   *
   * @throws {CniError} if it is not
   */
  async check(network: string, request: AttachRequest): Promise<void> {
    await reported(async () => {
      const list = await this.#load(network);
      await this.#locked(request, () => this.#attachments.check(list, request));
    });
  }

  /**
   * Detaches a namespace from a network. The configuration of its ADD is used where it is on record, so
   * this works when the file is gone.
   *
   * Permissions: those of the class, and root. See {@linkcode Podwire.add} for an example.
   *
   * Source: CNI specification 1.1.0, section 3 "Deletion".
   *
   * @throws {CniError} with what failed; then the record stays
   */
  async del(network: string, request: AttachRequest): Promise<void> {
    const { containerId, ifName, signal } = request;
    await reported(() =>
      this.#locked(request, async () => {
        const record = await this.#store.read({ network, containerId, ifName });
        if (record !== undefined) await this.#attachments.remove(record, signal);
        else await this.#attachments.del(await this.#load(network), request);
      })
    );
  }

  /**
   * What became of each file of the configuration directory.
   *
   * Permissions: `--allow-read` for the configuration directory; where that is empty, for `/proc` and the folders
   * of `PATH` too.
   *
   * @throws {CniError} if the directory cannot be read; a bad file is an entry, not an error
   */
  async networks(): Promise<readonly CatalogEntry[]> {
    return await reported(async () => (await this.#catalog()).entries);
  }

  /**
   * All attachments on record, those among them that could not be detached too.
   *
   * Permissions: `--allow-read` and, to set bad records aside, `--allow-write` for the state directory.
   *
   * @throws {CniError} if the records cannot be read
   */
  async attachments(): Promise<readonly AttachmentRecord[]> {
    return await reported(() => this.#store.all());
  }

  /**
   * Finishes or undoes what a crash or a reboot interrupted, and retries failed removals.
   *
   * Permissions: those of the class, and root.
   *
   * @throws {CniError} if the records cannot be read; what could not be removed is reported, not thrown
   *
   * @example
   * ```ts
   * import { Podwire } from "./runtime.ts";
   *
   * const { removed, failed } = await new Podwire().recover();
   * console.log(`${removed.length} removed, ${failed.length} left`);
   * ```
   */
  async recover(signal?: AbortSignal): Promise<RecoveryReport> {
    return await reported(() => this.#recovery.recover(signal));
  }

  async #locked<T>({ containerId, signal }: AttachRequest, body: () => Promise<T>): Promise<T> {
    // Before it becomes the name of a lock file.
    validateContainerId(containerId);
    using _sweep = await this.#locks.sweep({ shared: true, ...(signal && { signal }) });
    return await withContainerLock(this.#locks, containerId, signal, body);
  }

  async #load(network: string): Promise<NetworkConfigList> {
    return (await this.#catalog()).getByName(network);
  }

  async #catalog(): Promise<Catalog> {
    const { confDir = DEFAULTS.confDir, embeddedOnly = false, defaultNetwork } = this.#options;
    return await Catalog.load({
      confDir: embeddedOnly ? undefined : confDir,
      embedded: async () => embeddedNetwork(await machineFacts(this.#options.environment?.PATH)),
      ...(defaultNetwork === undefined ? {} : { defaultNetwork }),
    });
  }
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
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(stateDir)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  // No ID has an "@", so this is not the beginning of another's name either.
  return `${NETNS_PREFIX.slice(0, -1)}@${hash.toString(16).padStart(8, "0")}-`;
}

function makeRunner(options: RuntimeOptions, run: RunCommand, log: Logger): PluginRunner {
  const { pluginDirs = DEFAULTS.pluginDirs, builtinPolicy = "fallback", environment = {} } = options;
  return new PluginRunner({
    pluginDirs,
    builtins,
    builtinPolicy,
    environment,
    run,
    onStderrLine: ({ line, ...fields }) => log.info(line, fields),
  });
}

/** What the embedded network can count on here. */
async function machineFacts(path = DEFAULT_PATH): Promise<EmbeddedOptions> {
  const ipv6 = await statOf("/proc/sys/net/ipv6") !== undefined;
  if (await isOnPath("nft", path)) return { ipv6, masquerade: "nftables" };
  return { ipv6, masquerade: await isOnPath("iptables", path) ? "iptables" : undefined };
}

async function isOnPath(program: string, path: string): Promise<boolean> {
  for (const dir of path.split(":")) {
    // A directory that this user may not look into holds nothing that it could run.
    const found = dir === "" ? undefined : await statOf(`${dir}/${program}`).catch(() => undefined);
    if (found?.isFile) return true;
  }
  return false;
}
