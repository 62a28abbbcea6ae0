import { ensureDir, statOf } from "../host/file.ts";
import type { Logger } from "../host/log.ts";
import { netnsId } from "../host/netns.ts";
import { repeat } from "../async/repeat.ts";
import { watchDirs } from "../host/watch.ts";
import { attachmentKey } from "../state/attachment_key.ts";
import type { AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import { messageOf } from "../errors/to_cni_error.ts";
import type { Sandbox } from "../sandbox/view.ts";
import { attachmentToJson, sandboxToJson } from "../runtime/json_view.ts";
import { isCniError } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";

/** What {@linkcode RecordWatch} works with. */
export interface RecordWatchOptions {
  readonly stateDir: string;
  readonly store: Pick<AttachmentStore, "ofContainer" | "containers">;
  /** A sandbox by its ID. */
  readonly sandbox: (id: string) => Promise<Sandbox>;
  /** Whether no operation on a sandbox is under way: what it looks like until then is told of by nobody. */
  readonly isSettled: (id: string) => Promise<boolean>;
  /** The IDs of all sandboxes. */
  readonly sandboxIds: () => Promise<readonly string[]>;
  readonly publish: (event: JsonObject & { readonly type: string }) => void;
  readonly log: Logger;
  /** Milliseconds for which changes of one container are gathered. @default {50} */
  readonly gatherMs?: number | undefined;
  /**
   * Milliseconds between two looks at the namespaces, of whose end nobody tells, and for other directories in the place
   * of those that are watched. @default {2_000}
   */
  readonly pollMs?: number | undefined;
}

/** What was told of a container last. */
interface Told {
  sandbox: string | undefined;
  /** Where its namespace was, if it was ready, and which that was. */
  netns: { readonly path: string; readonly id: string | undefined } | undefined;
  readonly attachments: Map<string, string>;
}

/**
 * Tells of sandboxes and attachments that came, changed or went, whoever did that: this process or the command line.
 * What follows too closely on one another is told as one change.
 */
export class RecordWatch implements AsyncDisposable {
  readonly #options: RecordWatchOptions;
  readonly #told = new Map<string, Told>();
  readonly #due = new Set<string>();
  readonly #dirs: readonly string[];
  #watch: Disposable | undefined;
  /** Which directories are watched; undefined once one of them went. */
  #watched: string | undefined;
  #polling: AsyncDisposable | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #working: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(options: RecordWatchOptions) {
    this.#options = options;
    this.#dirs = ["sandboxes", "attachments"].map((name) => `${options.stateDir}/${name}`);
  }

  /** Begins to look; what is there by then is told of only when it changes. */
  static start(options: RecordWatchOptions): RecordWatch {
    const watch = new RecordWatch(options);
    watch.#working = watch.#begin().catch((error) => watch.#failed(error));
    return watch;
  }

  /** Has a look at a sandbox of which it is known that it is not as it was, though its record may be. */
  changed(id: string): void {
    this.#gather([id]);
  }

  /** Looks no more. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#watch?.[Symbol.dispose]();
    await this.#working;
    await this.#polling?.[Symbol.asyncDispose]();
  }

  async #begin(): Promise<void> {
    for (const dir of this.#dirs) await ensureDir(dir, 0o700);
    // First, so that nothing is missed that changes while the records are read.
    await this.#follow();
    for (const id of await this.#all()) await this.#look(id, false);
    if (this.#closed) return;
    this.#polling = repeat(
      this.#options.pollMs ?? 2_000,
      () => this.#poll(),
      (error) => this.#failed(error),
    );
  }

  async #poll(): Promise<void> {
    if (await this.#follow()) this.#changedAt([]);
    await this.#lookAtNamespaces();
  }

  /** Watches the directories that are there now; false where they are watched already, or one of them is not there. */
  async #follow(): Promise<boolean> {
    const found = await Promise.all(this.#dirs.map((dir) => statOf(dir)));
    const ids = found.map((info) => info && `${info.dev}:${info.ino}`);
    if (this.#closed || ids.includes(undefined) || ids.join() === this.#watched) return false;
    this.#watched = ids.join();
    const watch = await watchDirs(this.#dirs, {
      changed: (paths) => this.#changedAt(paths),
      failed: (error) => {
        this.#watched = undefined;
        this.#failed(error);
      },
    }, { recursive: true }).catch((error) => {
      this.#watched = undefined;
      throw error;
    });
    this.#watch?.[Symbol.dispose]();
    this.#watch = watch;
    if (this.#closed) watch[Symbol.dispose]();
    return true;
  }

  /** What is unmounted, or mounted over, changes no record. */
  async #lookAtNamespaces(): Promise<void> {
    for (const [id, { netns }] of this.#told) {
      if (netns === undefined) continue;
      const now = await netnsId(netns.path);
      if (now === undefined || now !== netns.id) this.#gather([id]);
    }
  }

  #failed(error: unknown): void {
    if (!this.#closed) this.#options.log.error(`the records cannot be watched: ${messageOf(error)}`);
  }

  #changedAt(paths: readonly string[]): void {
    if (paths.length === 0) {
      void this.#all().then((ids) => this.#gather(ids), (error) => this.#failed(error));
      return;
    }
    if (paths.some((path) => this.#dirs.includes(path))) this.#watched = undefined;
    const { length } = this.#options.stateDir;
    this.#gather(paths.flatMap((path) => {
      const [, folder, name = ""] = path.slice(length).split("/");
      if (folder === "attachments") return name === "" ? [] : [name];
      return name.endsWith(".json") && !name.startsWith(".") ? [name.slice(0, -".json".length)] : [];
    }));
  }

  #gather(ids: readonly string[]): void {
    for (const id of ids) this.#due.add(id);
    if (this.#due.size === 0 || this.#closed) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const due = [...this.#due];
      this.#due.clear();
      this.#working = this.#working.then(async () => {
        for (const id of due) await this.#look(id, true);
      }).catch((error) => this.#failed(error));
    }, this.#options.gatherMs ?? 50);
  }

  /** Those that are there, and those that were. */
  async #all(): Promise<readonly string[]> {
    const { store, sandboxIds } = this.#options;
    return [...new Set([...this.#told.keys(), ...await sandboxIds(), ...await store.containers()])];
  }

  async #look(id: string, isNews: boolean): Promise<void> {
    if (this.#closed) return;
    const told = this.#told.get(id) ?? { sandbox: undefined, netns: undefined, attachments: new Map() };
    const time = new Date().toISOString();
    const tell = (event: JsonObject & { readonly type: string }) => {
      if (isNews) this.#options.publish({ ...event, time });
    };
    const records = await this.#options.store.ofContainer(id);
    const keys = new Set(records.map(keyOf));
    for (const record of records) {
      const now = `${record.state} ${record.since} ${record.attempts}`;
      if (told.attachments.get(keyOf(record)) === now) continue;
      told.attachments.set(keyOf(record), now);
      tell({ type: "attachment", ...attachmentKey(record), attachment: attachmentToJson(record) });
    }
    for (const key of [...told.attachments.keys()]) {
      if (keys.has(key)) continue;
      told.attachments.delete(key);
      const [network = "", ifName = ""] = key.split(" ");
      tell({ type: "attachment", containerId: id, network, ifName, attachment: null });
    }
    this.#told.set(id, told);
    if (!await this.#options.isSettled(id)) return;
    const sandbox = await this.#sandbox(id);
    // Somebody has begun since.
    if (sandbox?.underWay) return;
    told.netns = sandbox?.state === "ready"
      ? { path: sandbox.netns, id: await netnsId(sandbox.netns) }
      : undefined;
    const now = sandbox && `${sandbox.createdAt} ${sandbox.state} ${sandbox.reason} ${sandbox.ips.join()}`;
    if (now !== told.sandbox) {
      told.sandbox = now;
      tell({ type: "sandbox", id, sandbox: sandbox === undefined ? null : sandboxToJson(sandbox) });
    }
    if (now === undefined && told.attachments.size === 0) this.#told.delete(id);
  }

  async #sandbox(id: string): Promise<Sandbox | undefined> {
    try {
      const sandbox = await this.#options.sandbox(id);
      // Another one may be called so.
      return sandbox.id === id ? sandbox : undefined;
    } catch (error) {
      if (isCniError(error, "not-found")) return undefined;
      throw error;
    }
  }
}

/** Neither has a space. */
function keyOf({ network, ifName }: AttachmentRecord): string {
  return `${network} ${ifName}`;
}
