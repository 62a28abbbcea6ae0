import {
  ensureDir,
  listDir,
  readTextIfThere,
  removeIfThere,
  removeUnfinished,
  setAside,
  writeFileSynced,
} from "../host/file.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import { Semaphore } from "../async/semaphore.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { CniError, isCniError } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { type AttachmentKey, attachmentKey, isSameAttachment } from "./attachment_key.ts";
import type { Locks } from "./locks.ts";
import { formatHostPort, type HostPort, hostPortsOf, overlap } from "./host_port.ts";
import { type Claim, type Claims, claimsBody, type PortKey, readClaims } from "./host_port_claim.ts";
import { inParallel } from "../async/parallel.ts";
import type { FindListeners, Listener } from "./listeners.ts";
import type { AttachmentRecord, AttachmentStore, BadRecord, DamagedAttachment } from "./attachment_store.ts";
import { listOnRecord } from "./recorded_config.ts";
import type { ResultCache } from "./result_cache.ts";
import {
  decodeChecksummed,
  newerRecord,
  printChecksummed,
  requireFile,
  UnusableRecord,
} from "./checksummed.ts";

const CLAIMS_AT_ONCE = 16;

/** The parts that {@linkcode HostPorts} works with. */
export interface HostPortsOptions {
  readonly stateDir: string;
  readonly store: AttachmentStore;
  readonly locks: Locks;
  /** What is asked for the ports of attachments whose records cannot be read. @default nothing */
  readonly cache?: Pick<ResultCache, "read"> | undefined;
  readonly onBad?: ((bad: BadRecord) => void) | undefined;
  /** Whether an attachment is there of which the record is lost. @default {none is} */
  readonly isLost?: ((key: AttachmentKey) => Promise<boolean>) | undefined;
  /** The sockets of the host's own programs. @default none is known */
  readonly findListeners?: FindListeners | undefined;
}

/** Ports that an attachment wants. */
export interface WantedPorts {
  /** Whose own claims are not in its way. @default {nobody's} */
  readonly key?: AttachmentKey | undefined;
  readonly capabilityArgs: JsonObject;
}

/** How {@linkcode HostPorts.requireFree} looks. */
export interface RequireFreeOptions {
  /** Containers that will be gone by then: their claims are in nobody's way. */
  readonly leaving?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The claims of one port, and those that are wanted in addition. */
interface PortFile extends Claims {
  readonly path: string;
}

const KIND = "podwire.port.v1";
const FILE_NAME = /^([a-z][a-z0-9]{0,15})-(\d{1,5})\.json$/;

/**
 * Which attachment has which port of the host, `<state-dir>/ports/<protocol>-<port>.json`: a file for each port, so that
 * no look-up depends on how many others there are.
 *
 * The record of an attachment is on disk before its claims are, and is gone before they are: a claim whose attachment
 * is not on record was left by a crash and is in nobody's way. They change under a lock of their own, under which no
 * plugin runs.
 *
 * Permissions: `--allow-read` and `--allow-write` for the state directory and the run directory.
 */
export class HostPorts {
  readonly #options: HostPortsOptions;
  readonly #dir: string;
  readonly #turns = new Semaphore(1);

  constructor(options: HostPortsOptions) {
    this.#options = options;
    this.#dir = `${options.stateDir}/ports`;
  }

  /**
   * Refuses ports that are taken, by an attachment or by a program of the host, or wanted twice. It changes nothing: only {@linkcode claim} holds a port against
   * others.
   *
   * @throws {CniError} kind `conflict`, naming port and owner
   */
  async requireFree(
    wanted: readonly WantedPorts[],
    { leaving = [], signal }: RequireFreeOptions = {},
  ): Promise<void> {
    const ports = wanted.flatMap(({ capabilityArgs }) => hostPortsOf(capabilityArgs));
    if (ports.length === 0) return;
    requireDistinct(ports);
    await this.#requireNoListener(ports, signal);
    using _alone = await this.#alone(signal);
    for (const { key, capabilityArgs } of wanted) {
      const isOther = (claim: Claim) =>
        !leaving.includes(claim.key.containerId) && (key === undefined || !isSameAttachment(claim.key, key));
      for (const port of hostPortsOf(capabilityArgs)) {
        const { claims } = await this.#open(port);
        await this.#requireNone(claims.filter(isOther), port);
      }
    }
  }

  /**
   * Takes the ports for an attachment that is on record already: all of them or none.
   *
   * @throws {CniError} kind `conflict`, naming port and owner, or with why they could not be written
   */
  async claim(key: AttachmentKey, capabilityArgs: JsonObject, signal?: AbortSignal): Promise<void> {
    const ports = hostPortsOf(capabilityArgs);
    if (ports.length === 0) return;
    requireDistinct(ports);
    await this.#requireNoListener(ports, signal);
    using _alone = await this.#alone(signal);
    const files: PortFile[] = [];
    for (const group of Map.groupBy(ports, (port) => this.#path(port)).values()) {
      const file = await this.#open(group[0] as HostPort);
      let others = file.claims.filter((claim) => !isSameAttachment(claim.key, key));
      for (const port of group) others = await this.#requireNone(others, port);
      files.push({
        ...file,
        claims: [...others, ...group.map((port) => ({ ...port, key: attachmentKey(key) }))],
      });
    }
    try {
      for (const file of files) await this.#write(file);
    } catch (error) {
      // Its record goes next, so what cannot be taken back here is in nobody's way.
      for (const port of ports) await this.#drop(key, port).catch(() => {});
      throw error;
    }
  }

  /** Gives the ports of an attachment back that is no longer on record. */
  async release(key: AttachmentKey, capabilityArgs: JsonObject, signal?: AbortSignal): Promise<void> {
    const ports = hostPortsOf(capabilityArgs);
    if (ports.length === 0) return;
    using _alone = await this.#alone(signal);
    for (const port of ports) await this.#drop(key, port);
  }

  /**
   * A port that is published is led to the pod before a socket sees its packets, those to 127.0.0.1 included: the
   * program that listens would lose its traffic without a word.
   */
  async #requireNoListener(ports: readonly HostPort[], signal: AbortSignal | undefined): Promise<void> {
    const listeners = await this.#options.findListeners?.(signal) ?? [];
    for (const port of ports) {
      const listener = listeners.find((each) => overlap(each, port));
      if (listener !== undefined) throw listening(port, listener);
    }
  }

  /** Removes what writes of killed processes left. */
  async removeUnfinished(): Promise<void> {
    await removeUnfinished(this.#dir);
  }

  /** Removes what crashes left: claims of attachments that are not on record, and unfinished writes. */
  async sweep(signal?: AbortSignal): Promise<void> {
    await this.removeUnfinished();
    for (const name of await listDir(this.#dir)) {
      const [, protocol, port] = FILE_NAME.exec(name) ?? [];
      if (protocol === undefined) continue;
      // For each anew: whoever attaches meanwhile waits for one file, not for all.
      using _alone = await this.#alone(signal);
      const file = await this.#openOwn({ protocol, port: Number(port) });
      if (file === undefined) continue;
      const { claims } = file;
      // What cannot be read may have it.
      const isThere = async ({ key }: Claim) => {
        return await this.#options.store.look(key) !== undefined || await this.#isLost(key);
      };
      const there = await inParallel(claims, CLAIMS_AT_ONCE, isThere);
      const live = claims.filter((_, index) => there[index]);
      if (live.length < claims.length) await this.#write({ ...file, claims: live });
    }
  }

  /** In this process in the order of asking: many that ask for the lock again and again let one wait for long. */
  async #alone(signal: AbortSignal | undefined): Promise<Disposable> {
    using held = new DisposableStack();
    held.use(await this.#turns.take(signal));
    held.use(await this.#options.locks.machine.ports(signal));
    return held.move();
  }

  async #drop(key: AttachmentKey, port: HostPort): Promise<void> {
    const file = await this.#open(port);
    const left = file.claims.filter((claim) => !isSameAttachment(claim.key, key));
    if (left.length < file.claims.length) await this.#write({ ...file, claims: left });
  }

  /** Refuses a port that one of the claims is in the way of; gives those that are not of the past. */
  async #requireNone(claims: readonly Claim[], wanted: HostPort): Promise<Claim[]> {
    const left: Claim[] = [];
    for (const claim of claims) {
      if (!overlap(claim, wanted)) {
        left.push(claim);
        continue;
      }
      const owner = await this.#options.store.look(claim.key);
      const holds = (port: HostPort) => overlap(port, claim);
      if (owner !== undefined && ("file" in owner || hostPortsOf(owner.capabilityArgs).some(holds))) {
        throw taken(wanted, claim, owner);
      }
      if (owner === undefined && await this.#isLost(claim.key)) throw takenByLost(wanted, claim);
    }
    return left;
  }

  async #isLost(key: AttachmentKey): Promise<boolean> {
    return await this.#options.isLost?.(key) ?? false;
  }

  async #open(port: PortKey): Promise<PortFile> {
    const path = this.#path(port);
    try {
      const text = await readTextIfThere(path);
      if (text === undefined) return { path, claims: [] };
      return { path, ...await decodeChecksummed(KIND, text, (body) => readClaims(body, port)) };
    } catch (error) {
      const { message: reason, isNewer } = UnusableRecord.of(error);
      if (isNewer) throw newerRecord(path, reason);
      await requireFile(path).catch((refusal) => {
        this.#options.onBad?.({ file: path, reason });
        throw refusal;
      });
      const file = { path, claims: await this.#onRecord(port) };
      this.#options.onBad?.({ file: path, movedTo: await setAside(path), reason });
      await this.#write(file);
      return file;
    }
  }

  /** As {@linkcode #open}; nothing if a newer version wrote the file, or there is something else in its place. */
  async #openOwn(port: PortKey): Promise<PortFile | undefined> {
    try {
      return await this.#open(port);
    } catch (error) {
      if (isCniError(error, "conflict")) return undefined;
      throw error;
    }
  }

  /** The claims as the records tell them. */
  async #onRecord({ port, protocol }: PortKey): Promise<readonly Claim[]> {
    const { store, cache } = this.#options;
    const { records, damaged } = await store.scanAll();
    const published: (readonly [AttachmentKey, JsonObject])[] = records.map((record) =>
      [record, publishedOnRecord(record)] as const
    );
    for (const each of damaged) {
      const entry = await cache?.read(each).catch(() => undefined);
      if (entry !== undefined) published.push([entry, entry.capabilityArgs]);
    }
    return published.flatMap(([key, capabilityArgs]) =>
      hostPortsOf(capabilityArgs)
        .filter((claimed) => claimed.port === port && claimed.protocol === protocol)
        .map((claimed) => ({ ...claimed, key: attachmentKey(key) }))
    );
  }

  async #write({ path, claims, ...more }: PortFile): Promise<void> {
    await withCniErrors(async () => {
      if (claims.length === 0) return void await removeIfThere(path);
      await ensureDir(this.#dir, 0o700);
      await writeFileSynced(path, await printChecksummed(KIND, claimsBody({ claims, ...more })));
    }, { file: path });
  }

  #path({ protocol, port }: PortKey): string {
    return `${this.#dir}/${protocol}-${port}.json`;
  }
}

/** The arguments that can come to a claim: where no plugin of the network publishes ports, none is taken. */
export function published(list: NetworkConfigList, capabilityArgs: JsonObject): JsonObject {
  return list.plugins.some(({ capabilities }) => capabilities.includes("portMappings")) ? capabilityArgs : {};
}

function publishedOnRecord(record: AttachmentRecord): JsonObject {
  try {
    return published(listOnRecord(record), record.capabilityArgs);
  } catch {
    // What cannot be read may have published all of them.
    return record.capabilityArgs;
  }
}

function requireDistinct(ports: readonly HostPort[]): void {
  for (const [index, port] of ports.entries()) {
    const twin = ports.slice(0, index).find((earlier) => overlap(earlier, port));
    if (twin === undefined) continue;
    const [one, other] = [formatHostPort(twin), formatHostPort(port)];
    const words = one === other
      ? `the host port ${one} is asked for twice`
      : `the host ports ${one} and ${other} are one, asked for twice`;
    throw new CniError("conflict", words);
  }
}

function taken(wanted: HostPort, claim: Claim, owner: AttachmentRecord | DamagedAttachment): CniError {
  const { containerId, network, ifName } = owner;
  const state = "file" in owner ? "its record cannot be read" : owner.state;
  const hint = state === "failed"
    ? "that attachment could not be detached; `podwire recover` tries again"
    : `\`podwire attachments ${containerId}\` shows the owner`;
  const msg = `the host port ${formatHostPort(wanted)} is taken by container "${containerId}" on network ` +
    `"${network}" (${ifName}, ${state})`;
  const other = formatHostPort(claim);
  const details = other === formatHostPort(wanted) ? {} : { details: `it has ${other}` };
  return new CniError("conflict", msg, { ...details, hint });
}

function takenByLost(wanted: HostPort, { key: { containerId, network, ifName } }: Claim): CniError {
  const msg = `the host port ${formatHostPort(wanted)} is taken by container "${containerId}" on network ` +
    `"${network}" (${ifName}), of which the record is lost`;
  return new CniError("conflict", msg, { hint: "`podwire recover` detaches it once nobody uses it" });
}

function listening(wanted: HostPort, { program, pid, ...port }: Listener): CniError {
  const owner = program === undefined ? "a program of the host" : `"${program}" (process ${pid})`;
  const msg = `the host port ${formatHostPort(wanted)} is taken: ${owner} listens on ${formatHostPort(port)}`;
  return new CniError("conflict", msg, { hint: "publish another port, or stop that program" });
}
