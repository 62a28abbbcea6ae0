import { repeat } from "../async/repeat.ts";
import { isCniError } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { messageOf } from "../errors/to_cni_error.ts";
import { ensureDir, statOf } from "../host/file.ts";
import type { Logger } from "../host/log.ts";
import { netnsId } from "../host/netns.ts";
import { watchDirs } from "../host/watch.ts";
import { attachmentToJson, sandboxToJson } from "../runtime/json_view.ts";
import type { Sandbox } from "../sandbox/view.ts";
import { attachmentKey } from "../state/attachment_key.ts";
import type { AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import { containerOf, recordsDir } from "../state/record_files.ts";

/** Options of {@linkcode RecordWatch}. */
export interface RecordWatchOptions {
  readonly stateDir: string;
  readonly store: Pick<AttachmentStore, "ofContainer" | "containers">;
  /** Returns a sandbox by its ID. */
  readonly sandbox: (id: string) => Promise<Sandbox>;
  /** Whether no operation on the sandbox is in progress. Until then its events are suppressed. */
  readonly isSettled: (id: string) => Promise<boolean>;
  /** Returns the IDs of all sandboxes. */
  readonly sandboxIds: () => Promise<readonly string[]>;
  readonly publish: (event: JsonObject & { readonly type: string }) => void;
  /** Called after each event of a sandbox with its ID. */
  readonly onSandbox?: ((id: string) => void) | undefined;
  readonly log: Logger;
  /** Milliseconds for which changes are collected before the records are read. @default {50} */
  readonly collectMs?: number | undefined;
  /**
   * Milliseconds between two polls of what has no notification: whether namespaces are gone, and whether the watched
   * directories were replaced. @default {2_000}
   */
  readonly pollMs?: number | undefined;
}

/** The last published state of a container. */
interface Published {
  sandbox: string | undefined;
  /** The path and the identity of the namespace, if the sandbox was ready. */
  netns: { readonly path: string; readonly id: string | undefined } | undefined;
  attachments: readonly PublishedAttachment[];
}

/** The last published state of an attachment. Thousands are kept, so both texts are of one piece. */
interface PublishedAttachment {
  readonly key: string;
  readonly state: string;
}

/**
 * Publishes an event for each sandbox and attachment that is added, changed or removed, by this process or by the command
 * line. Changes that follow each other closely become one event.
 */
export class RecordWatch implements AsyncDisposable {
  readonly #options: RecordWatchOptions;
  readonly #published = new Map<string, Published>();
  readonly #due = new Set<string>();
  /** Whether any record may have changed. */
  #isAllDue = false;
  readonly #dirs: readonly string[];
  #watch: Disposable | undefined;
  /** Which directories are watched; undefined once one of them went. */
  #watched: string | undefined;
  #polling: AsyncDisposable | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #working: Promise<void> = Promise.resolve();
  #begun: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(options: RecordWatchOptions) {
    this.#options = options;
    this.#dirs = [recordsDir(options.stateDir)];
  }

  /** Starts the watch. What exists by then is published only when it changes. */
  static start(options: RecordWatchOptions): RecordWatch {
    const records = new RecordWatch(options);
    records.#begun = records.#begin();
    records.#working = records.#begun.catch((error) => records.#failed(error));
    return records;
  }

  /** Resolves once each later change is noticed; rejects if the records cannot be watched. */
  get begun(): Promise<void> {
    return this.#begun;
  }

  /** Call when a sandbox has changed although its record may not have. */
  changed(id: string): void {
    this.#collect([id]);
  }

  /** Ends the watch. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#watch?.[Symbol.dispose]();
    await this.#working;
    await this.#polling?.[Symbol.asyncDispose]();
  }

  async #begin(): Promise<void> {
    for (const dir of this.#dirs) await ensureDir(dir, 0o700);
    // First, so that no change is missed while the records are read.
    await this.#follow();
    for (const id of await this.#all()) await this.#check(id, false);
    if (this.#closed) return;
    this.#polling = repeat(
      this.#options.pollMs ?? 2_000,
      () => this.#poll(),
      (error) => this.#failed(error),
    );
  }

  async #poll(): Promise<void> {
    if (await this.#follow()) this.#changedAt([]);
    await this.#checkNamespaces();
  }

  /** Watches the current directories; false if they are watched already or one of them does not exist. */
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

  /** Collects the sandboxes whose namespace was unmounted or mounted over, which changes no record. */
  async #checkNamespaces(): Promise<void> {
    for (const [id, { netns }] of this.#published) {
      if (netns === undefined) continue;
      const now = await netnsId(netns.path);
      if (now === undefined || now !== netns.id) this.#collect([id]);
    }
  }

  #failed(error: unknown): void {
    if (!this.#closed) this.#options.log.error(`Cannot watch the records: ${messageOf(error)}`);
  }

  #changedAt(paths: readonly string[]): void {
    if (paths.length === 0) {
      // Collected as well: a flood of events says this again and again.
      this.#isAllDue = true;
      this.#arm();
      return;
    }
    if (paths.some((path) => this.#dirs.includes(path))) this.#watched = undefined;
    this.#collect(paths.flatMap((path) => containerOf(path) ?? []));
  }

  #collect(ids: readonly string[]): void {
    for (const id of ids) this.#due.add(id);
    if (this.#due.size > 0) this.#arm();
  }

  #arm(): void {
    if (this.#closed) return;
    this.#timer ??= setTimeout(() => {
      // What changes from here on is for the next time.
      this.#working = this.#working.then(() => this.#checkDue()).catch((error) => this.#failed(error));
    }, this.#options.collectMs ?? 50);
  }

  async #checkDue(): Promise<void> {
    this.#timer = undefined;
    if (this.#isAllDue) {
      this.#isAllDue = false;
      for (const id of await this.#all()) this.#due.add(id);
    }
    const due = [...this.#due];
    this.#due.clear();
    for (const id of due) await this.#check(id, true);
  }

  /** Returns the IDs of all containers that exist now or were published. */
  async #all(): Promise<readonly string[]> {
    const { store, sandboxIds } = this.#options;
    return [...new Set([...this.#published.keys(), ...await sandboxIds(), ...await store.containers()])];
  }

  async #check(id: string, publishes: boolean): Promise<void> {
    if (this.#closed) return;
    const last = this.#published.get(id) ?? { sandbox: undefined, netns: undefined, attachments: [] };
    const time = new Date().toISOString();
    const publish = (event: JsonObject & { readonly type: string }) => {
      if (publishes) this.#options.publish({ ...event, time });
    };
    const records = await this.#options.store.ofContainer(id);
    const before = new Map(last.attachments.map(({ key, state }) => [key, state]));
    last.attachments = records.map((record) => {
      const [key, state] = [keyOf(record), stateOf(record)];
      if (before.get(key) !== state) {
        publish({ type: "attachment", ...attachmentKey(record), attachment: attachmentToJson(record) });
      }
      before.delete(key);
      return { key, state };
    });
    for (const key of before.keys()) {
      const [network = "", ifName = ""] = key.split(" ");
      publish({ type: "attachment", containerId: id, network, ifName, attachment: null });
    }
    this.#published.set(id, last);
    if (!await this.#options.isSettled(id)) return;
    const sandbox = await this.#sandbox(id);
    // An operation has begun since.
    if (sandbox?.underWay) return;
    last.netns = sandbox?.state === "ready"
      ? { path: sandbox.netns, id: await netnsId(sandbox.netns) }
      : undefined;
    const now = sandbox &&
      [sandbox.createdAt, sandbox.state, sandbox.reason, ...sandbox.ips].join(" ");
    if (now !== last.sandbox) {
      last.sandbox = now;
      publish({ type: "sandbox", id, sandbox: sandbox === undefined ? null : sandboxToJson(sandbox) });
      if (publishes) this.#options.onSandbox?.(id);
    }
    if (now === undefined && last.attachments.length === 0) this.#published.delete(id);
  }

  async #sandbox(id: string): Promise<Sandbox | undefined> {
    try {
      const sandbox = await this.#options.sandbox(id);
      // It may be the name of another sandbox.
      return sandbox.id === id ? sandbox : undefined;
    } catch (error) {
      if (isCniError(error, "not-found")) return undefined;
      throw error;
    }
  }
}

/** A key of network and interface; neither contains a space. */
function keyOf({ network, ifName }: AttachmentRecord): string {
  return [network, ifName].join(" ");
}

function stateOf({ state, since, attempts }: AttachmentRecord): string {
  return [state, since, attempts].join(" ");
}
