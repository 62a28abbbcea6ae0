import { netnsOf } from "../host/netns.ts";
import { isRunning, type ProcessState, readProcesses } from "../host/process.ts";
import { repeat } from "../async/repeat.ts";
import { inParallel } from "../async/parallel.ts";
import { messageOf } from "../errors/to_cni_error.ts";
import type { SandboxContext } from "./context.ts";
import type { SandboxRecord } from "./record.ts";

/** A sandbox that lives as long as a process. */
export type HeldSandbox = SandboxRecord & { readonly pid: number };

/** What {@linkcode ProcessWatch} works with. */
export interface ProcessWatchOptions
  extends Pick<SandboxContext, "sandboxes" | "attachments" | "run" | "log"> {
  /** What the processes are, in the plural, for the log. */
  readonly what: string;
  /** The IDs of the sandboxes that may be held by a process. */
  readonly ids: () => Promise<readonly string[]>;
  /** Whether that one is. */
  readonly isHeld: (record: SandboxRecord) => boolean;
  /**
   * Called for each whose process has ended, with what was seen of all of them. Gives whether that was all there is to do;
   * else it is called again at the next look.
   */
  readonly onEnded: (
    sandbox: HeldSandbox,
    processes: ReadonlyMap<number, ProcessState>,
    signal: AbortSignal | undefined,
  ) => Promise<boolean>;
  /** Milliseconds between two looks. @default {2_000} */
  readonly pollMs?: number | undefined;
  /** The network namespace of a process, if there is such a process. @default {as the kernel shows it} */
  readonly namespaceOf?: ((pid: number) => Promise<string | undefined>) | undefined;
}

/** What is known of a process. */
interface Known {
  /** Of the sandbox, by which one is told from a later one of its ID. */
  readonly createdAt: string;
  readonly pid: number;
  /**
   * The namespace of its process, by which that is known again: one that has ended, its parent noticing or not, is in
   * none, and the next one of its ID in another one.
   */
  readonly namespace?: string | undefined;
  readonly hasEnded: boolean;
}

const LOOKS_AT_ONCE = 16;

/**
 * Follows the processes that sandboxes live as long as, whoever made them: this process or another one. They are no
 * children of ours, so nobody tells when they end.
 *
 * A look costs one question to the kernel for each of them, and a program and a record only where the answer is another
 * one than before.
 */
export class ProcessWatch implements AsyncDisposable {
  readonly #options: ProcessWatchOptions;
  readonly #known = new Map<string, Known>();
  #looking: AsyncDisposable | undefined;
  #hasFailed = false;

  constructor(options: ProcessWatchOptions) {
    this.#options = options;
  }

  /** Begins to look. */
  start(): void {
    const { pollMs = 2_000, log, what } = this.#options;
    this.#looking ??= repeat(pollMs, (signal) => this.look(signal), (error) => {
      // Not at every look.
      if (!this.#hasFailed) log.error(`the ${what} cannot be followed: ${messageOf(error)}`);
      this.#hasFailed = true;
    });
  }

  /** Looks no more. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#looking?.[Symbol.asyncDispose]();
  }

  /** One look at all of them. */
  async look(signal?: AbortSignal): Promise<void> {
    const ids = await this.#options.ids();
    const present = new Set(ids);
    for (const id of this.#known.keys()) if (!present.has(id)) this.#known.delete(id);
    if (ids.length === 0) return;
    const same = await inParallel(ids, LOOKS_AT_ONCE, (id) => this.#isAsBefore(id), signal);
    const others = ids.filter((_, index) => !same[index]);
    if (others.length > 0) await this.#lookClosely(others, signal);
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

  async #lookClosely(ids: readonly string[], signal: AbortSignal | undefined): Promise<void> {
    const { run } = this.#options;
    const found = await inParallel(ids, LOOKS_AT_ONCE, (id) => this.#heldBy(id), signal);
    const records = found.filter((record) => record !== undefined).filter((record) =>
      !this.#hasEnded(record)
    );
    // Before the look that they are to stand for.
    const namespaces = await inParallel(records, LOOKS_AT_ONCE, ({ pid }) => this.#namespaceOf(pid), signal);
    const processes = await readProcesses(records.map(({ pid }) => pid), { run, signal });
    for (const [index, { id, pid, pidStart: start, createdAt }] of records.entries()) {
      if (isRunning(processes, { pid, start })) {
        this.#known.set(id, { createdAt, pid, namespace: namespaces[index], hasEnded: false });
      } else await this.#ended(id, pid, processes, signal);
    }
  }

  #hasEnded({ id, pid, createdAt }: HeldSandbox): boolean {
    const known = this.#known.get(id);
    return known?.pid === pid && known.createdAt === createdAt && known.hasEnded;
  }

  /** The record of a sandbox that its process has to hold, if it is one. */
  async #heldBy(id: string): Promise<HeldSandbox | undefined> {
    const { sandboxes, attachments, isHeld } = this.#options;
    const record = await sandboxes.read(id);
    if (record?.phase !== "ready" || record.pid === undefined || !isHeld(record)) return undefined;
    // What another boot left was not ended by itself.
    return record.bootId === await attachments.boot() ? { ...record, pid: record.pid } : undefined;
  }

  async #ended(
    id: string,
    pid: number,
    processes: ReadonlyMap<number, ProcessState>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    // Whoever takes a sandbox down puts that on record first, and may have done so since.
    const record = await this.#heldBy(id);
    if (record?.pid !== pid) return;
    const hasEnded = await this.#options.onEnded(record, processes, signal);
    this.#known.set(id, { createdAt: record.createdAt, pid, hasEnded });
  }
}
