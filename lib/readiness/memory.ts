import type { JsonObject } from "../cni/json.ts";
import { anyText, flag, lenient, mapOf, mapped, oneOf, openObjectOf, type Shape } from "../cni/shape.ts";
import { messageOf, requirePermissions } from "../errors/to_cni_error.ts";
import { ensureDir, readTextIfThere, UnreadableFileError, writeFileSynced } from "../host/file.ts";
import { setAside } from "../host/set_aside.ts";
import type { Logger } from "../host/log.ts";
import { decodeChecksummed, printChecksummed, UnusableRecord } from "../state/checksummed.ts";
import type { ReadyCondition } from "./condition.ts";
import { STATUS_REASONS } from "./status.ts";

const KIND = "podwire.readiness.v1";

/** What {@linkcode ReadinessMemory.write} remembers. */
export interface Remembered {
  /** By the key of their targets. */
  readonly conditions: ReadonlyMap<string, ReadyCondition>;
  /** Whether these are all conditions: then others that are remembered are forgotten. */
  readonly all: boolean;
  /** Whether a damaged file is moved aside to write them. @default {false} */
  readonly repairs?: boolean | undefined;
}

/**
 * The conditions of networks, kept beyond the process in `<state-dir>/readiness.json`. They are shown, but nothing depends on
 * them: if the file cannot be read or written, for example without the rights, only what this process knows is used. It never
 * prompts for a permission.
 *
 * Permissions: `--allow-read` and `--allow-write` for the state directory, if they are granted.
 */
export class ReadinessMemory {
  readonly #dir: string;
  readonly #log: Logger;
  readonly #requireWritable: () => Promise<void>;
  /** The conditions that this process could not write. */
  #unsaved: Map<string, ReadyCondition> = new Map();
  /** Why the file cannot be used; undefined if it can. */
  #unusable: UnusableRecord | undefined;
  #last: Promise<unknown> = Promise.resolve();

  /** Writes nothing if `requireWritable` throws. */
  constructor(stateDir: string, log: Logger, requireWritable: () => Promise<void> = () => Promise.resolve()) {
    this.#dir = stateDir;
    this.#requireWritable = requireWritable;
    this.#log = log;
  }

  /** Returns the remembered conditions, by the key of the target. */
  async read(): Promise<ReadonlyMap<string, ReadyCondition>> {
    return new Map([...await this.#load(), ...this.#unsaved]);
  }

  /** Remembers conditions. Returns whether they are on disk. Writes only if something changed. */
  async write(remembered: Remembered): Promise<boolean> {
    const merged = this.#last.then(() => this.#merge(remembered));
    this.#last = merged;
    return await merged;
  }

  async #merge({ conditions, all, repairs = false }: Remembered): Promise<boolean> {
    const known = await this.#load();
    const merged = new Map(all ? conditions : [...known, ...this.#unsaved, ...conditions]);
    if (this.#unusable !== undefined && (this.#unusable.isNewer || !repairs)) {
      this.#unsaved = merged;
      return false;
    }
    if (isSame(known, merged)) {
      this.#unsaved = new Map();
      return true;
    }
    try {
      requirePermissions({ read: [this.#dir], write: [this.#dir] });
      await this.#requireWritable();
      await ensureDir(this.#dir);
      if (this.#unusable !== undefined) await this.#moveAside(this.#unusable.message);
      await writeFileSynced(this.#path, await printChecksummed(KIND, { networks: encode(merged) }));
      this.#unsaved = new Map();
      return true;
    } catch (error) {
      this.#unsaved = merged;
      this.#log.debug(`the conditions of networks cannot be written: ${messageOf(error)}`, {
        file: this.#path,
      });
      return false;
    }
  }

  async #load(): Promise<Map<string, ReadyCondition>> {
    this.#unusable = undefined;
    try {
      requirePermissions({ read: [this.#dir] });
      const text = await readTextIfThere(this.#path);
      return text === undefined ? new Map() : await decodeChecksummed(KIND, text, SHAPE);
    } catch (error) {
      const isUnusable = error instanceof UnusableRecord || error instanceof UnreadableFileError;
      if (isUnusable) this.#unusable = UnusableRecord.of(error);
      const msg = isUnusable
        ? "a record cannot be used, and is left as it is"
        : "the conditions of networks cannot be read";
      this.#log.debug(`${msg}: ${this.#unusable?.message ?? messageOf(error)}`, { file: this.#path });
      return new Map();
    }
  }

  async #moveAside(reason: string): Promise<void> {
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

/** The key of `lastTransition` in the file: the first release wrote this one. */
const LAST_TRANSITION = "lapsed";

function encode(conditions: ReadonlyMap<string, ReadyCondition>): JsonObject {
  return Object.fromEntries(
    [...conditions].map(([key, { ready, reason, since, lastTransition }]) => [key, {
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
