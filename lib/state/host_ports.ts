import {
  AUTOMATIC_PORTS,
  type AutomaticPort,
  chooseHostPorts,
  type ChosenPort,
  type FindLocalPorts,
} from "./automatic_ports.ts";
import { inParallel } from "../async/parallel.ts";
import { Semaphore } from "../async/semaphore.ts";
import { CniError } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import type { AttachmentKey } from "./attachment_key.ts";
import { type HostPort, hostPortsOf, overlap } from "./host_port.ts";
import {
  blockName,
  blockOf,
  byBlock,
  type Claim,
  claimsFor,
  isClaimOf,
  overlapsClaim,
  type PortBlock,
  withoutPort,
} from "./host_port_claim.ts";
import { requireDistinct, takenByAttachment, takenByListener, takenByLost } from "./host_port_conflict.ts";
import { type BlockFile, HostPortFiles, type HostPortFilesOptions } from "./host_port_files.ts";
import type { FindListeners } from "./listeners.ts";
import type { Locks } from "./locks.ts";

const CLAIMS_AT_ONCE = 16;

/** Dependencies of {@linkcode HostPorts}. */
export interface HostPortsOptions extends HostPortFilesOptions {
  readonly locks: Locks;
  /** Whether the attachment exists but its record is lost. @default {no record is lost} */
  readonly isLost?: ((key: AttachmentKey) => Promise<boolean>) | undefined;
  /** Finds the sockets of the host's own programs. @default {finds none} */
  readonly findListeners?: FindListeners | undefined;
  /** Finds the ports that the kernel gives to connections of the host. @default {those are unknown} */
  readonly findLocalPorts?: FindLocalPorts | undefined;
}

/** Ports that an attachment wants. */
export interface WantedPorts {
  /** The attachment, whose own claims do not conflict. @default {every claim conflicts} */
  readonly key?: AttachmentKey | undefined;
  readonly capabilityArgs: JsonObject;
}

/** Options of {@linkcode HostPorts.requireFree}. */
export interface RequireFreeOptions {
  /** Containers that are removed before the ports are claimed: their claims do not conflict. */
  readonly leaving?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Which attachment has which port of the host.
 *
 * The record of an attachment is on disk before its claims, and is removed before them: a claim without a record was left
 * by a crash and is ignored. Claims change while the lock of the ports is held. No plugin runs while it is held.
 *
 * Permissions: `--allow-read` and `--allow-write` for the state directory and the run directory.
 */
export class HostPorts {
  readonly #options: HostPortsOptions;
  readonly #files: HostPortFiles;
  readonly #inProcess = new Semaphore(1);

  constructor(options: HostPortsOptions) {
    this.#options = options;
    this.#files = new HostPortFiles(options);
  }

  /**
   * Refuses ports that an attachment or a program of the host has, or that are requested twice. It reserves nothing: only
   * {@linkcode claim} does.
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
    using _locked = await this.#lock(signal);
    const older = await this.#files.older();
    for (const { key, capabilityArgs } of wanted) {
      const isOther = (claim: Claim) =>
        !leaving.includes(claim.key.containerId) && (key === undefined || !isClaimOf(claim, key));
      for (const { block, ports } of groupsOf(hostPortsOf(capabilityArgs))) {
        const { claims } = await this.#files.open(block, older);
        await this.#withoutStale(claims.filter(isOther), ports);
      }
    }
  }

  /**
   * Claims the ports for an attachment that is on record already: all of them or none.
   *
   * @throws {CniError} kind `conflict`, naming port and owner; or the failure of a write
   */
  async claim(key: AttachmentKey, capabilityArgs: JsonObject, signal?: AbortSignal): Promise<void> {
    const ports = hostPortsOf(capabilityArgs);
    if (ports.length === 0) return;
    requireDistinct(ports);
    await this.#requireNoListener(ports, signal);
    using _locked = await this.#lock(signal);
    const older = await this.#files.older();
    const files: BlockFile[] = [];
    for (const { block, ports: wanted } of groupsOf(ports)) {
      const file = await this.#files.open(block, older);
      const others = file.claims.filter((claim) => !isClaimOf(claim, key));
      const live = await this.#withoutStale(others, wanted);
      files.push({ ...file, claims: [...live, ...claimsFor(key, wanted)] });
    }
    await this.#writeAll(key, files);
  }

  /**
   * Chooses free ports of the host for an attachment that is on record already, and claims them: all of them or none. Nothing
   * else gets them in between.
   *
   * @throws {CniError} kind `exhausted` if too few are free; or the failure of a write
   */
  async claimAutomatic(
    key: AttachmentKey,
    wanted: readonly AutomaticPort[],
    signal?: AbortSignal,
  ): Promise<readonly ChosenPort[]> {
    if (wanted.length === 0) return [];
    const { findListeners, findLocalPorts } = this.#options;
    const [listeners = [], local] = await Promise.all([findListeners?.(signal), findLocalPorts?.(signal)]);
    using _locked = await this.#lock(signal);
    const older = await this.#files.older();
    const files = new Map<string, BlockFile>();
    const fileOf = async (block: PortBlock) => {
      const name = blockName(block);
      const file = files.get(name) ?? await this.#files.open(block, older);
      files.set(name, file);
      return file;
    };
    const isFree = async (port: HostPort) =>
      !listeners.some((each) => overlap(each, port)) &&
      !(await fileOf(blockOf(port))).claims.some((claim) => overlapsClaim(port, claim));
    const start = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
    const chosen = await chooseHostPorts(wanted, isFree, { local, start });
    if (chosen === undefined) throw noneFree(wanted);
    const changed: BlockFile[] = [];
    for (const { block, ports } of groupsOf(chosen)) {
      const file = await fileOf(block);
      changed.push({ ...file, claims: [...file.claims, ...claimsFor(key, ports)] });
    }
    await this.#writeAll(key, changed);
    return chosen;
  }

  /** Releases the ports of an attachment that is no longer on record. */
  async release(key: AttachmentKey, capabilityArgs: JsonObject, signal?: AbortSignal): Promise<void> {
    const ports = hostPortsOf(capabilityArgs);
    if (ports.length === 0) return;
    using _locked = await this.#lock(signal);
    const older = await this.#files.older();
    for (const { block } of groupsOf(ports)) await this.#drop(key, await this.#files.open(block, older));
  }

  /**
   * Packets to a published port, including those to 127.0.0.1, are redirected to the pod before a socket receives them: a
   * program that listens on it would lose its traffic without notice.
   */
  async #requireNoListener(ports: readonly HostPort[], signal: AbortSignal | undefined): Promise<void> {
    const listeners = await this.#options.findListeners?.(signal) ?? [];
    for (const port of ports) {
      const listener = listeners.find((each) => overlap(each, port));
      if (listener !== undefined) throw takenByListener(port, listener);
    }
  }

  /** Removes the unfinished writes of killed processes. */
  async removeUnfinished(): Promise<void> {
    await this.#files.removeUnfinished();
  }

  /** Removes what crashes left: claims of attachments that are not on record, and unfinished writes. */
  async sweep(signal?: AbortSignal): Promise<void> {
    await this.removeUnfinished();
    for (const block of await this.#files.blocks()) {
      // Locks for each file anew: an ADD in between waits for one file, not for all.
      using _locked = await this.#lock(signal);
      const file = await this.#files.openOwn(block, await this.#files.older());
      if (file === undefined) continue;
      const { claims, absorbed } = file;
      // An attachment whose record cannot be read may have the port.
      const isOnRecord = async ({ key }: Claim) => {
        return await this.#options.store.look(key) !== undefined || await this.#isLost(key);
      };
      const onRecord = await inParallel(claims, CLAIMS_AT_ONCE, isOnRecord);
      const live = claims.filter((_, index) => onRecord[index]);
      if (live.length < claims.length || absorbed.length > 0) {
        await this.#files.write({ ...file, claims: live });
      }
    }
  }

  /** Operations of this process queue in order: many that compete for the file lock can keep one waiting for long. */
  async #lock(signal: AbortSignal | undefined): Promise<Disposable> {
    using held = new DisposableStack();
    held.use(await this.#inProcess.acquire(signal));
    held.use(await this.#options.locks.machine.ports(signal));
    return held.move();
  }

  /** Writes the claims of an attachment: all of them or none. */
  async #writeAll(key: AttachmentKey, files: readonly BlockFile[]): Promise<void> {
    try {
      for (const file of files) await this.#files.write(file);
    } catch (error) {
      // The caller removes the record next, so a claim that stays is ignored.
      for (const file of files) await this.#drop(key, file).catch(() => {});
      throw error;
    }
  }

  /** Takes from an attachment what it has in a block. */
  async #drop(key: AttachmentKey, file: BlockFile): Promise<void> {
    const others = file.claims.filter((claim) => !isClaimOf(claim, key));
    if (others.length < file.claims.length) await this.#files.write({ ...file, claims: others });
  }

  /** Refuses ports that conflict with a claim. Returns the claims without what is stale in them and overlaps a port. */
  async #withoutStale(claims: readonly Claim[], wanted: readonly HostPort[]): Promise<readonly Claim[]> {
    const live: Claim[] = [];
    const waiting = [...claims];
    for (let claim = waiting.shift(); claim !== undefined; claim = waiting.shift()) {
      const current = claim;
      const port = wanted.find((port) => overlapsClaim(port, current));
      if (port === undefined) {
        live.push(current);
        continue;
      }
      const owner = await this.#options.store.look(current.key);
      const holds = (held: HostPort) => held.port === port.port && overlapsClaim(held, current);
      if (owner !== undefined && ("file" in owner || hostPortsOf(owner.capabilityArgs).some(holds))) {
        throw takenByAttachment(port, current, owner);
      }
      if (owner === undefined && await this.#isLost(current.key)) throw takenByLost(port, current);
      // Of an attachment that has other ports of it only this one is stale.
      if (owner !== undefined) waiting.push(...withoutPort(current, port.port));
    }
    return live;
  }

  async #isLost(key: AttachmentKey): Promise<boolean> {
    return await this.#options.isLost?.(key) ?? false;
  }
}

function noneFree(wanted: readonly AutomaticPort[]): CniError {
  const { first, last } = AUTOMATIC_PORTS;
  const what = wanted.length === 1 ? "no port" : `fewer than ${wanted.length} ports`;
  return new CniError(
    "exhausted",
    `${what} of the host from ${first} to ${last} ${wanted.length === 1 ? "is" : "are"} free`,
    {
      hint: "name a port of the host, or remove sandboxes with published ports",
    },
  );
}

/** Returns the ports by their blocks. */
function groupsOf(
  ports: readonly HostPort[],
): readonly { readonly block: PortBlock; readonly ports: readonly HostPort[] }[] {
  return [...byBlock(ports).values()].flatMap((group) => {
    const [first] = group;
    return first === undefined ? [] : [{ block: blockOf(first), ports: group }];
  });
}
