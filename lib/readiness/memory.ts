import { ensureDir, readTextIfThere, setAside, UnreadableFileError, writeFileSynced } from "../host/file.ts";
import type { Logger } from "../host/log.ts";
import { decodeChecksummed, printChecksummed, UnusableRecord } from "../state/checksummed.ts";
import { STATUS_REASONS } from "./status.ts";
import { messageOf, requirePermissions } from "../errors/to_cni_error.ts";
import type { JsonObject } from "../cni/json.ts";
import { anyText, flag, lenient, mapOf, mapped, oneOf, openObjectOf, type Shape } from "../cni/shape.ts";
import type { ReadyCondition } from "./condition.ts";

const KIND = "podwire.readiness.v1";

/** What {@linkcode ReadinessMemory.write} remembers. */
export interface Remembered {
  /** By the key of their subjects. */
  readonly standings: ReadonlyMap<string, ReadyCondition>;
  /** Whether these are all there are, so that what else is remembered is of the past. */
  readonly all: boolean;
  /** Whether a damaged file is moved aside to write them. @default {false} */
  readonly mends?: boolean;
}

/**
 * Since when networks stand as they do, beyond the process: `<state-dir>/readiness.json`. It is told, not relied on:
 * where it cannot be read or written, as by a user who may not, what this process knows is all there is. Nobody is asked
 * for a permission.
 *
 * Permissions: `--allow-read` and `--allow-write` for the state directory, if they are to be had.
 */
export class ReadinessMemory {
  readonly #dir: string;
  readonly #log: Logger;
  readonly #permit: () => Promise<void>;
  /** What this process knows and could not write. */
  #unsaved: Map<string, ReadyCondition> = new Map();
  /** Why the file is not used, if it is not. */
  #unusable: UnusableRecord | undefined;
  #last: Promise<unknown> = Promise.resolve();

  /** Nothing is written that `permit` throws at. */
  constructor(stateDir: string, log: Logger, permit: () => Promise<void> = () => Promise.resolve()) {
    this.#dir = stateDir;
    this.#permit = permit;
    this.#log = log;
  }

  /** What is remembered, by the key of the subject. */
  async read(): Promise<ReadonlyMap<string, ReadyCondition>> {
    return new Map([...await this.#load(), ...this.#unsaved]);
  }

  /** Remembers how networks stand, and tells whether that is on disk. Writes only what is new. */
  async write(remembered: Remembered): Promise<boolean> {
    const turn = this.#last.then(() => this.#merge(remembered));
    this.#last = turn;
    return await turn;
  }

  async #merge({ standings, all, mends = false }: Remembered): Promise<boolean> {
    const known = await this.#load();
    const merged = new Map(all ? standings : [...known, ...this.#unsaved, ...standings]);
    if (this.#unusable !== undefined && (this.#unusable.isNewer || !mends)) {
      this.#unsaved = merged;
      return false;
    }
    if (isSame(known, merged)) {
      this.#unsaved = new Map();
      return true;
    }
    try {
      await requirePermissions({ read: [this.#dir], write: [this.#dir] });
      await this.#permit();
      await ensureDir(this.#dir);
      if (this.#unusable !== undefined) await this.#makeRoom(this.#unusable.message);
      await writeFileSynced(this.#path, await printChecksummed(KIND, { networks: encode(merged) }));
      this.#unsaved = new Map();
      return true;
    } catch (error) {
      this.#unsaved = merged;
      this.#log.debug(`since when networks are ready cannot be written: ${messageOf(error)}`, {
        file: this.#path,
      });
      return false;
    }
  }

  async #load(): Promise<Map<string, ReadyCondition>> {
    this.#unusable = undefined;
    try {
      await requirePermissions({ read: [this.#dir] });
      const text = await readTextIfThere(this.#path);
      return text === undefined ? new Map() : await decodeChecksummed(KIND, text, SHAPE);
    } catch (error) {
      const isOfRecord = error instanceof UnusableRecord || error instanceof UnreadableFileError;
      if (isOfRecord) this.#unusable = UnusableRecord.of(error);
      const words = isOfRecord
        ? "a record cannot be used, and is left as it is"
        : "since when networks are ready cannot be read";
      this.#log.debug(`${words}: ${this.#unusable?.message ?? messageOf(error)}`, { file: this.#path });
      return new Map();
    }
  }

  async #makeRoom(reason: string): Promise<void> {
    const movedTo = await setAside(this.#path);
    const file = this.#path;
    this.#log.warn(`a record could not be read and was moved aside: ${reason}`, { file, movedTo });
  }

  get #path(): string {
    return `${this.#dir}/readiness.json`;
  }
}

function isSame(a: ReadonlyMap<string, ReadyCondition>, b: ReadonlyMap<string, ReadyCondition>): boolean {
  return a.size === b.size && [...b].every(([key, { ready, reason, since, lastTransition }]) => {
    const known = a.get(key);
    return known?.ready === ready && known.reason === reason && known.since === since &&
      known.lastTransition === lastTransition;
  });
}

/** What `lastTransition` is called in the file: the first release wrote it so. */
const LAST_TRANSITION = "lapsed";

function encode(standings: ReadonlyMap<string, ReadyCondition>): JsonObject {
  return Object.fromEntries(
    [...standings].map(([key, { ready, reason, since, lastTransition }]) => [key, {
      ready,
      ...(reason === undefined ? {} : { reason }),
      since,
      ...(lastTransition === undefined ? {} : { [LAST_TRANSITION]: lastTransition }),
    }]),
  );
}

const SHAPE: Shape<Map<string, ReadyCondition>> = mapped(
  openObjectOf({
    networks: mapOf(openObjectOf({ since: anyText }, {
      ready: lenient(flag),
      reason: lenient(oneOf(STATUS_REASONS)),
      [LAST_TRANSITION]: anyText,
    })),
  }, {}),
  ({ networks }) =>
    new Map(
      Object.entries(networks).map((
        [key, { ready = false, reason, since, [LAST_TRANSITION]: lastTransition }],
      ) => [
        key,
        { ready, reason, since, lastTransition },
      ]),
    ),
);
