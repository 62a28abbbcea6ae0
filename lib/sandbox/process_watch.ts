import { inParallel } from "../async/parallel.ts";
import { repeat } from "../async/repeat.ts";
import { messageOf } from "../errors/to_cni_error.ts";
import { netnsOf } from "../host/netns.ts";
import { isRunning, type ProcessState, readProcesses } from "../host/process.ts";
import type { SandboxContext } from "./context.ts";
import type { SandboxRecord } from "./record.ts";

/** A sandbox that exists as long as a process. */
export type HeldSandbox = SandboxRecord & { readonly pid: number };

/** Options of {@linkcode ProcessWatch}. */
export interface ProcessWatchOptions
  extends Pick<SandboxContext, "sandboxes" | "attachments" | "run" | "log"> {
  /** Name of the processes for the log, in the plural. */
  readonly what: string;
  /** Returns the IDs of the sandboxes that a process may hold. */
  readonly ids: () => Promise<readonly string[]>;
  /** Whether a process holds this sandbox. */
  readonly isHeld: (record: SandboxRecord) => boolean;
  /**
   * Called for each sandbox whose process has ended, with the state of all processes. Returns whether nothing is left to do;
   * otherwise it is called again at the next check.
   */
  readonly onEnded: (
    sandbox: HeldSandbox,
    processes: ReadonlyMap<number, ProcessState>,
    signal: AbortSignal | undefined,
  ) => Promise<boolean>;
  /** Milliseconds between two checks. @default {2_000} */
  readonly pollMs?: number | undefined;
  /** Returns the network namespace of a process; undefined if the process does not exist. @default {reads `/proc`} */
  readonly namespaceOf?: ((pid: number) => Promise<string | undefined>) | undefined;
}

/** A process at the last check. */
interface KnownProcess {
  /** Creation time of the sandbox. It differs for a later sandbox with the same ID. */
  readonly createdAt: string;
  readonly pid: number;
  /**
   * Namespace of the process. It identifies the process: one that has ended, even as a zombie, has no namespace, and the next
   * process with the same ID has another one.
   */
  readonly namespace?: string | undefined;
  readonly hasEnded: boolean;
}

const CHECKS_AT_ONCE = 16;

/**
 * Watches the processes that hold sandboxes, whether this process created the sandbox or another one. They are not children of
 * this process, so the kernel does not notify it when they end.
 *
 * A check costs one system call for each of them. It runs a program and reads the record only if the answer has changed.
 */
export class ProcessWatch implements AsyncDisposable {
  readonly #options: ProcessWatchOptions;
  readonly #known = new Map<string, KnownProcess>();
  #repeating: AsyncDisposable | undefined;
  #hasFailed = false;

  constructor(options: ProcessWatchOptions) {
    this.#options = options;
  }

  /** Begins to watch. */
  start(): void {
    const { pollMs = 2_000, log, what } = this.#options;
    this.#repeating ??= repeat(pollMs, (signal) => this.check(signal), (error) => {
      // Logged once, not at every check.
      if (!this.#hasFailed) log.error(`Cannot watch the ${what}: ${messageOf(error)}`);
      this.#hasFailed = true;
    });
  }

  /** Ends the watching. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#repeating?.[Symbol.asyncDispose]();
  }

  /** Checks all of them once. */
  async check(signal?: AbortSignal): Promise<void> {
    const ids = await this.#options.ids();
    const present = new Set(ids);
    for (const id of this.#known.keys()) if (!present.has(id)) this.#known.delete(id);
    if (ids.length === 0) return;
    const same = await inParallel(ids, CHECKS_AT_ONCE, (id) => this.#isAsBefore(id), signal);
    const others = ids.filter((_, index) => !same[index]);
    if (others.length > 0) await this.#checkClosely(others, signal);
    this.#hasFailed = false;
  }

  async #isAsBefore(id: string): Promise<boolean> {
    const { pid, namespace } = this.#known.get(id) ?? {};
    if (pid === undefined || namespace === undefined) return false;
    return namespace === await this.#namespaceOf(pid);
  }

  async #namespaceOf(pid: number): Promise<string | undefined> {
    const { namespaceOf = netnsOf } = this.#options;
    return await namespaceOf(pid);
  }

  async #checkClosely(ids: readonly string[], signal: AbortSignal | undefined): Promise<void> {
    const { run } = this.#options;
    const found = await inParallel(ids, CHECKS_AT_ONCE, (id) => this.#readHeld(id), signal);
    const records = found.filter((record) => record !== undefined).filter((record) =>
      !this.#hasEnded(record)
    );
    // Read before the processes, because a namespace stands for the process that had it then.
    const namespaces = await inParallel(records, CHECKS_AT_ONCE, ({ pid }) => this.#namespaceOf(pid), signal);
    const processes = await readProcesses(records.map(({ pid }) => pid), { run, signal });
    for (const [index, { id, pid, pidStart: start, createdAt }] of records.entries()) {
      if (isRunning(processes, { pid, start })) {
        this.#known.set(id, { createdAt, pid, namespace: namespaces[index], hasEnded: false });
      } else await this.#onEnded(id, pid, processes, signal);
    }
  }

  #hasEnded({ id, pid, createdAt }: HeldSandbox): boolean {
    const known = this.#known.get(id);
    return known?.pid === pid && known.createdAt === createdAt && known.hasEnded;
  }

  /** Returns the record of a ready sandbox that its process holds; undefined for any other. */
  async #readHeld(id: string): Promise<HeldSandbox | undefined> {
    const { sandboxes, attachments, isHeld } = this.#options;
    const record = await sandboxes.read(id);
    if (record?.phase !== "ready" || record.pid === undefined || !isHeld(record)) return undefined;
    // A process of another boot ended with that boot, and not by itself.
    return record.bootId === await attachments.boot() ? { ...record, pid: record.pid } : undefined;
  }

  async #onEnded(
    id: string,
    pid: number,
    processes: ReadonlyMap<number, ProcessState>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    // A tear-down changes the phase on record first, and may have done so since the first read.
    const record = await this.#readHeld(id);
    if (record?.pid !== pid) return;
    const hasEnded = await this.#options.onEnded(record, processes, signal);
    this.#known.set(id, { createdAt: record.createdAt, pid, hasEnded });
  }
}
