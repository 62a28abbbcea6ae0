import {
  createExclusive,
  inEnsuredDir,
  listDir,
  removeIfThere,
  removeUnfinished,
  statOf,
} from "../host/file.ts";
import { optionalObject, optionalText, textOf } from "../state/checksummed.ts";
import type { JsonObject } from "../cni/json.ts";
import { isContainerId } from "../cni/name.ts";
import type { OciRuntime } from "./oci_runtime.ts";

/** The container of an OCI runtime that a sandbox was made for, and ends with. The sandbox's `pid` is its first process. */
export interface SandboxContainer {
  /** The path of its bundle. */
  readonly bundle: string;
  /** In which `pid` counts. */
  readonly pidNamespace: string;
  /** What made it, where that is known. */
  readonly runtime?: OciRuntime;
}

/** As a member of the record of the sandbox. */
export function encodeContainer({ runtime, ...container }: SandboxContainer): JsonObject {
  return { ...container, ...(runtime && { runtime: { ...runtime } }) };
}

/** What {@linkcode encodeContainer} has written. */
export function decodeContainer(container: JsonObject): SandboxContainer {
  const runtime = optionalObject(container, "runtime");
  const root = runtime && optionalText(runtime, "root");
  return {
    bundle: textOf(container, "bundle"),
    pidNamespace: textOf(container, "pidNamespace"),
    ...(runtime && { runtime: { program: textOf(runtime, "program"), ...(root && { root }) } }),
  };
}

/**
 * Which sandboxes end with a container, `<state-dir>/containers/<id>`, so that these are followed without a look at all
 * records. One without a record is of no consequence.
 */
export class ContainerIndex {
  readonly #dir: string;

  constructor(stateDir: string) {
    this.#dir = `${stateDir}/containers`;
  }

  /** Before the record is written. */
  async add(id: string): Promise<void> {
    if (await this.has(id)) return;
    const create = () => createExclusive(`${this.#dir}/${id}`, "", { durable: false });
    await inEnsuredDir(this.#dir, 0o700, create);
  }

  /** After the record is gone. */
  async remove(id: string): Promise<void> {
    await removeIfThere(`${this.#dir}/${id}`);
  }

  async has(id: string): Promise<boolean> {
    return await statOf(`${this.#dir}/${id}`) !== undefined;
  }

  /** Their IDs, in byte order. */
  async all(): Promise<readonly string[]> {
    return (await listDir(this.#dir)).filter(isContainerId);
  }

  /** Removes what writes of killed processes left. */
  async removeUnfinished(): Promise<void> {
    await removeUnfinished(this.#dir);
  }
}
