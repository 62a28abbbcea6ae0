import { statOf } from "../host/file.ts";
import { inParallel } from "../network/parallel.ts";
import type { AttachmentStore } from "../network/record.ts";
import { isContainerId } from "../spec/name.ts";
import { infraBundle, runtimeOf } from "./infra.ts";
import type { SandboxParts } from "./parts.ts";
import type { DamagedRecord, SandboxRecord } from "./record.ts";

const LOOKS_AT_ONCE = 16;

/** What {@linkcode Remains} looks with. */
export interface RemainsOptions
  extends Pick<SandboxParts, "sandboxes" | "stateDir" | "netnsDir" | "netnsPrefix"> {
  readonly store: AttachmentStore;
}

/**
 * Sandboxes whose records could not be read and were moved aside, as far as there is something of them: a namespace, an
 * infra container, attachments. They can be shown and removed like others.
 */
export class Remains {
  readonly #options: RemainsOptions;

  constructor(options: RemainsOptions) {
    this.#options = options;
  }

  /** All of them. */
  async all(): Promise<readonly SandboxRecord[]> {
    const damaged = await this.#options.sandboxes.damaged();
    const found = await inParallel(damaged, LOOKS_AT_ONCE, (record) => this.#look(record));
    return found.filter((record) => record !== undefined);
  }

  /** That of the ID, if there is something of it and no record. */
  async of(id: string): Promise<SandboxRecord | undefined> {
    const { sandboxes } = this.#options;
    if (await sandboxes.has(id)) return undefined;
    const damaged = (await sandboxes.damaged()).find((record) => record.id === id);
    return damaged && await this.#look(damaged);
  }

  /** A record as far as it can be told from what is there. */
  async #look({ id, file, since }: DamagedRecord): Promise<SandboxRecord | undefined> {
    const { sandboxes, store, stateDir, netnsDir, netnsPrefix } = this.#options;
    if (!isContainerId(id)) return undefined;
    const bundle = infraBundle(stateDir, id);
    const hasInfra = await statOf(bundle) !== undefined;
    const path = `${netnsDir}/${netnsPrefix}${id}`;
    const hasNetns = await statOf(path) !== undefined;
    // What could not be detached is nobody's any more, as with `podwire rm -f`.
    const [attachment] = (await store.ofContainer(id)).filter(({ owner, state }) =>
      owner === `sandbox:${id}` && state !== "failed"
    );
    if (!hasInfra && !hasNetns && attachment === undefined) return undefined;
    const netns = attachment?.netns ?? path;
    return {
      id,
      ...await sandboxes.nameOf(id) ?? { name: id, namespace: "default" },
      uid: id,
      phase: "stopped",
      createdAt: since,
      bootId: attachment?.bootId ?? "",
      netns: { path: netns, owned: netns === path, id: attachment?.netnsId },
      pid: undefined,
      infra: hasInfra ? { runtime: await runtimeOf(bundle), bundle } : undefined,
      annotations: {},
      reason: `its record could not be read and was moved aside to ${file}; not all of it is taken down`,
    };
  }
}
