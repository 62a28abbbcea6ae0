import {
  createExclusive,
  inEnsuredDir,
  listDir,
  readTextIfThere,
  removeIfThere,
  removeUnfinished,
  setAside,
  statOf,
  writeFileSynced,
  type WriteOptions,
} from "../host/file.ts";
import { inParallel } from "../network/parallel.ts";
import type { BadRecord } from "../network/record.ts";
import { optionalObject, optionalText, seal, textOf, unseal, wordOf } from "../network/sealed.ts";
import { CniError } from "../spec/error.ts";
import type { JsonObject } from "../spec/json.ts";

const FILES_AT_ONCE = 16;

/**
 * How far a sandbox is. `creating`, `stopping` and `removing` are on disk before anything is done, so
 * that what a crash interrupts is known: the first is undone, the others are finished.
 */
export const SANDBOX_PHASES = ["creating", "ready", "stopping", "stopped", "removing"] as const;

/** One of {@linkcode SANDBOX_PHASES}. */
export type SandboxPhase = typeof SANDBOX_PHASES[number];

/** The network namespace of a sandbox. */
export interface SandboxNetns {
  readonly path: string;
  /** Whether podwire made the path, and so removes it. */
  readonly owned: boolean;
  /** Device and inode, once it exists. */
  readonly id: string | undefined;
  /** When its file came to be, in seconds; tells it from a later one with the same inode. */
  readonly since?: number;
}

/** The infra container of a sandbox. */
export interface SandboxInfra {
  readonly runtime: string;
  readonly bundle: string;
}

/** A sandbox as it is kept on disk. */
export interface SandboxRecord {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly phase: SandboxPhase;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly bootId: string;
  readonly netns: SandboxNetns;
  readonly pid: number | undefined;
  readonly infra: SandboxInfra | undefined;
  readonly annotations: Readonly<Record<string, string>>;
  /** Who answers for its attachments, where that is not the sandbox itself. */
  readonly owner?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly sysctls?: Readonly<Record<string, string>>;
  /** When the process of `pid` was started, see `seeProcesses`. */
  readonly pidStart?: number;
  /** It has no namespace of its own: `netns` is the host's. */
  readonly hostNetwork?: true;
  /** What of a stopped sandbox could not be taken down, beside its attachments. */
  readonly reason?: string;
  /** It was made for whoever will want it, and belongs to the process that holds the lock of this pool. */
  readonly pool?: string;
}

/** A record that could not be read. */
export interface DamagedRecord {
  readonly id: string;
  /** Where it was moved to. */
  readonly file: string;
  /** When it was written, in ISO 8601. */
  readonly since: string;
}

/** A sandbox that was taken down, with what could not be. */
export function stopped({ reason: _, pidStart: __, ...record }: SandboxRecord, left?: string): SandboxRecord {
  return { ...record, phase: "stopped", pid: undefined, ...(left === undefined ? {} : { reason: left }) };
}

/** What the names of the namespaces that podwire makes begin with unless told otherwise; the ID follows. */
export const NETNS_PREFIX = "podwire-";

/** Whether what is written has to outlive a loss of power. */
export type Durability = Pick<WriteOptions, "durable">;

const KIND = "podwire.sandbox.v1";

/**
 * The records of sandboxes, `<state-dir>/sandboxes/<id>.json`, and the reservations of their names,
 * `<state-dir>/names/<namespace>/<name>`, each holding the ID of its owner.
 *
 * Permissions: `--allow-read` and `--allow-write` for the state directory.
 */
export class SandboxStore {
  readonly #stateDir: string;
  readonly #dir: string;
  readonly #names: string;
  readonly #onBad: (bad: BadRecord) => void;

  constructor(stateDir: string, onBad: (bad: BadRecord) => void = () => {}) {
    this.#stateDir = stateDir;
    this.#dir = `${stateDir}/sandboxes`;
    this.#names = `${stateDir}/names`;
    this.#onBad = onBad;
  }

  /** Writes, or replaces, the record; it is on disk when this returns, unless it need not be. */
  async write(record: SandboxRecord, options?: Durability): Promise<void> {
    const text = await seal(KIND, encode(record));
    await inEnsuredDir(this.#dir, 0o700, () => writeFileSynced(this.#path(record.id), text, options));
  }

  /** The record of that ID. */
  async read(id: string): Promise<SandboxRecord | undefined> {
    const text = await readTextIfThere(this.#path(id));
    if (text === undefined) return undefined;
    try {
      const record = decode(await unseal(KIND, text));
      if (record.id === id) return record;
      throw new Error("it is of another sandbox");
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#onBad({ file: this.#path(id), movedTo: await setAside(this.#path(id)), reason });
      return undefined;
    }
  }

  /** Forgets a sandbox; its name goes first, so that none stays reserved for nobody. */
  async remove(record: SandboxRecord): Promise<void> {
    if (await this.isNamed(record)) await removeIfThere(this.#namePath(record.namespace, record.name));
    await removeIfThere(this.#path(record.id));
  }

  /** Whether there is a record of that ID, be it one that cannot be read. */
  async has(id: string): Promise<boolean> {
    return await statOf(this.#path(id)) !== undefined;
  }

  /** The IDs on record, in byte order. */
  async ids(): Promise<readonly string[]> {
    const names = await listDir(this.#dir);
    return names.filter((name) => name.endsWith(".json")).map((name) => name.slice(0, -".json".length));
  }

  /** All sandboxes, oldest first. */
  async all(): Promise<readonly SandboxRecord[]> {
    const records: SandboxRecord[] = [];
    for (const id of await this.ids()) {
      const record = await this.read(id);
      if (record !== undefined) records.push(record);
    }
    return records.sort((a, b) => a.createdAt < b.createdAt ? -1 : a.createdAt > b.createdAt ? 1 : 0);
  }

  /** The records that were moved aside and have no successor, each by its last copy. */
  async damaged(): Promise<readonly DamagedRecord[]> {
    const last = new Map<string, string>();
    const names = await listDir(this.#dir);
    const present = new Set(names);
    for (const name of names) {
      const [, id] = /^(.+)\.json\.bad-\d+$/.exec(name) ?? [];
      if (id !== undefined && !present.has(`${id}.json`)) last.set(id, `${this.#dir}/${name}`);
    }
    return await inParallel([...last], FILES_AT_ONCE, async ([id, file]) => {
      const since = new Date((await statOf(file))?.mtimeMs ?? 0).toISOString();
      return { id, file, since };
    });
  }

  /** Forgets a sandbox whose record was moved aside, with the name that is reserved for it. */
  async forgetDamaged(id: string): Promise<void> {
    const files = (await listDir(this.#dir)).filter((name) => name.startsWith(`${id}.json.bad-`));
    if (files.length === 0) return;
    await this.forgetName(id);
    for (const name of files) await removeIfThere(`${this.#dir}/${name}`);
  }

  /** The name that is reserved for a sandbox. */
  async nameOf(id: string): Promise<Pick<SandboxRecord, "name" | "namespace"> | undefined> {
    for (const namespace of await listDir(this.#names)) {
      for (const name of await listDir(`${this.#names}/${namespace}`)) {
        if (await this.ownerOf(namespace, name) === id) return { name, namespace };
      }
    }
    return undefined;
  }

  /** Frees the name that is reserved for a sandbox. */
  async forgetName(id: string): Promise<void> {
    const reserved = await this.nameOf(id);
    if (reserved !== undefined) await removeIfThere(this.#namePath(reserved.namespace, reserved.name));
  }

  /** The ID of the sandbox that has the name. */
  async ownerOf(namespace: string, name: string): Promise<string | undefined> {
    return (await readTextIfThere(this.#namePath(namespace, name)))?.trim();
  }

  /**
   * Gives the name to the sandbox. The caller holds the lock over the names, and the sandbox's record is
   * on disk: a name whose owner has none was left by a crash and is free.
   *
   * @throws {CniError} kind `conflict` if another sandbox has it
   */
  async reserve({ id, name, namespace }: SandboxRecord, options?: Durability): Promise<void> {
    const path = this.#namePath(namespace, name);
    const create = () => createExclusive(path, id, options);
    if (await inEnsuredDir(`${this.#names}/${namespace}`, 0o700, create)) return;
    const owner = (await readTextIfThere(path))?.trim() ?? "";
    if (owner !== "" && await this.read(owner) !== undefined) {
      throw new CniError(
        "conflict",
        `the name "${name}" in namespace "${namespace}" is taken by sandbox ${owner}`,
        {
          hint: "choose another name, or take its place with --replace",
        },
      );
    }
    await writeFileSynced(path, id, options);
  }

  /** Whether its name is its own: a loss of power may have taken that of a sandbox which was just handed out. */
  async isNamed({ id, name, namespace }: SandboxRecord): Promise<boolean> {
    return await this.ownerOf(namespace, name) === id;
  }

  /**
   * Removes what writes of killed processes left among the records and the names, and the names of nobody that a loss of
   * power left. The caller holds the lock over the names.
   */
  async removeUnfinished(): Promise<void> {
    for (const dir of [this.#dir, this.#stateDir]) await removeUnfinished(dir);
    for (const namespace of await listDir(this.#names)) {
      const dir = `${this.#names}/${namespace}`;
      await removeUnfinished(dir);
      for (const name of await listDir(dir)) {
        if ((await statOf(`${dir}/${name}`))?.size === 0) await removeIfThere(`${dir}/${name}`);
      }
    }
  }

  #path(id: string): string {
    return `${this.#dir}/${id}.json`;
  }

  #namePath(namespace: string, name: string): string {
    return `${this.#names}/${namespace}/${name}`;
  }
}

function encode({ netns, pid, infra, ...record }: SandboxRecord): JsonObject {
  const { id, ...place } = netns;
  return {
    ...record,
    netns: { ...place, ...(id === undefined ? {} : { id }) },
    ...(pid === undefined ? {} : { pid }),
    ...(infra === undefined ? {} : { infra: { ...infra } }),
  };
}

function decode(body: JsonObject): SandboxRecord {
  const netns = optionalObject(body, "netns") ?? {};
  const infra = optionalObject(body, "infra");
  return {
    id: textOf(body, "id"),
    name: textOf(body, "name"),
    namespace: textOf(body, "namespace"),
    uid: textOf(body, "uid"),
    phase: wordOf(body, "phase", SANDBOX_PHASES),
    createdAt: textOf(body, "createdAt"),
    bootId: textOf(body, "bootId"),
    netns: netnsOf(netns),
    pid: typeof body.pid === "number" ? body.pid : undefined,
    infra: infra && { runtime: textOf(infra, "runtime"), bundle: textOf(infra, "bundle") },
    annotations: textsOf(body, "annotations") ?? {},
    ...optionalMembers(body),
  };
}

function netnsOf(netns: JsonObject): SandboxNetns {
  const { owned, since } = netns;
  return {
    path: textOf(netns, "path"),
    owned: owned === true,
    id: optionalText(netns, "id"),
    ...(typeof since === "number" ? { since } : {}),
  };
}

/** What records of earlier versions lack. */
function optionalMembers(body: JsonObject): Partial<SandboxRecord> {
  const labels = textsOf(body, "labels");
  const sysctls = textsOf(body, "sysctls");
  const reason = optionalText(body, "reason");
  return {
    ...(body.owner === undefined ? {} : { owner: textOf(body, "owner") }),
    ...(labels === undefined ? {} : { labels }),
    ...(sysctls === undefined ? {} : { sysctls }),
    ...(typeof body.pidStart === "number" ? { pidStart: body.pidStart } : {}),
    ...(body.hostNetwork === true ? { hostNetwork: true } : {}),
    ...(reason === undefined ? {} : { reason }),
    ...(body.pool === undefined ? {} : { pool: textOf(body, "pool") }),
  };
}

function textsOf(body: JsonObject, key: string): Readonly<Record<string, string>> | undefined {
  const texts = optionalObject(body, key);
  return texts && Object.fromEntries(Object.keys(texts).map((name) => [name, textOf(texts, name)]));
}
