import type { JsonObject } from "../cni/json.ts";
import { isContainerId } from "../cni/name.ts";
import { anyText, mapped, openObjectOf, type Shape } from "../cni/shape.ts";
import {
  createExclusive,
  inEnsuredDir,
  listDir,
  removeIfThere,
  removeUnfinished,
  statOwn,
} from "../host/file.ts";
import type { OciRuntime } from "./oci_runtime.ts";

/** Container of an OCI runtime. Its sandbox was created for it and ends with it. The sandbox's `pid` is its first process. */
export interface SandboxContainer {
  /** Path of its bundle. */
  readonly bundle: string;
  /** PID namespace of `pid`. */
  readonly pidNamespace: string;
  /** Runtime that created it, if known. */
  readonly runtime?: OciRuntime;
}

/** Encodes the container as a member of the sandbox record. */
export function encodeContainer({ runtime, ...container }: SandboxContainer): JsonObject {
  return { ...container, ...(runtime && { runtime: { ...runtime } }) };
}

/** What {@linkcode encodeContainer} returns. */
export const CONTAINER: Shape<SandboxContainer> = openObjectOf({ bundle: anyText, pidNamespace: anyText }, {
  runtime: mapped(openObjectOf({ program: anyText }, { root: anyText }), ({ program, root }) => ({
    program,
    ...(root && { root }),
  })),
});

/**
 * Index of the sandboxes that end with a container, `<state-dir>/containers/<id>`, so that they can be watched without
 * reading all records. An entry without a record has no effect.
 */
export class ContainerIndex {
  readonly #dir: string;

  constructor(stateDir: string) {
    this.#dir = `${stateDir}/containers`;
  }

  /** Adds a sandbox; called before its record is written. */
  async add(id: string): Promise<void> {
    if (await this.has(id)) return;
    const create = () => createExclusive(`${this.#dir}/${id}`, "", { durable: false });
    await inEnsuredDir(this.#dir, 0o700, create);
  }

  /** Removes a sandbox; called after its record is removed. */
  async remove(id: string): Promise<void> {
    await removeIfThere(`${this.#dir}/${id}`);
  }

  /** Whether the sandbox ends with a container. */
  async has(id: string): Promise<boolean> {
    return await statOwn(`${this.#dir}/${id}`) !== undefined;
  }

  /** Returns the IDs of all such sandboxes, in byte order. */
  async all(): Promise<readonly string[]> {
    return (await listDir(this.#dir)).filter(isContainerId);
  }

  /** Removes unfinished files of killed processes. */
  async removeUnfinished(): Promise<void> {
    await removeUnfinished(this.#dir);
  }
}
