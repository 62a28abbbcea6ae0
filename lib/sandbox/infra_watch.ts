import { listDir } from "../host/file.ts";
import { netnsOf } from "../host/netns.ts";
import { isRunning, type ProcessSeen, seeProcesses } from "../host/process.ts";
import { repeat } from "../host/repeat.ts";
import { inParallel } from "../network/parallel.ts";
import { wordsOf } from "../plugin/failure.ts";
import { infraBundles, infraEndWords } from "./infra.ts";
import type { SandboxParts } from "./parts.ts";
import type { SandboxRecord } from "./record.ts";
import { infraProblem } from "./view.ts";

/** An infra container that has ended though nobody took its sandbox down. */
export interface InfraEnded {
  /** Of the sandbox. */
  readonly id: string;
  /** The process that held its namespaces. */
  readonly pid: number;
  /** Why the sandbox is broken. */
  readonly reason: string;
}

/** What {@linkcode InfraWatch} works with. */
export interface InfraWatchOptions
  extends Pick<SandboxParts, "sandboxes" | "attachments" | "stateDir" | "run" | "log"> {
  /** Called once for each. */
  readonly onEnded: (ended: InfraEnded) => void;
  /** Milliseconds between two looks. @default {2_000} */
  readonly pollMs?: number;
  /** The network namespace of a process, if there is such a process. @default {as the kernel shows it} */
  readonly namespaceOf?: (pid: number) => Promise<string | undefined>;
}

type Held = SandboxRecord & { readonly pid: number };

/** What is known of a container. */
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
 * Follows the infra containers of all sandboxes, whoever made them: this process or another one. They are no children of
 * ours, so nobody tells when they end.
 *
 * A look costs one question to the kernel for each of them, and a program and a record only where the answer is another
 * one than before. Nothing of what it sees is put on record: by the start of the process, which is there, everybody sees
 * what is said here, also when another one has its ID.
 */
export class InfraWatch implements AsyncDisposable {
  readonly #options: InfraWatchOptions;
  readonly #known = new Map<string, Known>();
  #looking: AsyncDisposable | undefined;
  #hasFailed = false;

  constructor(options: InfraWatchOptions) {
    this.#options = options;
  }

  /** Begins to look. */
  start(): void {
    const { pollMs = 2_000, log } = this.#options;
    this.#looking ??= repeat(pollMs, (signal) => this.look(signal), (error) => {
      // Not at every look.
      if (!this.#hasFailed) log.error(`the infra containers cannot be followed: ${wordsOf(error)}`);
      this.#hasFailed = true;
    });
  }

  /** Looks no more. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#looking?.[Symbol.asyncDispose]();
  }

  /** One look at all of them. */
  async look(signal?: AbortSignal): Promise<void> {
    const ids = await listDir(infraBundles(this.#options.stateDir));
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
    const processes = await seeProcesses(records.map(({ pid }) => pid), { run, ...(signal && { signal }) });
    for (const [index, { id, pid, pidStart: start, createdAt }] of records.entries()) {
      if (isRunning(processes, { pid, start })) {
        this.#known.set(id, { createdAt, pid, namespace: namespaces[index], hasEnded: false });
      } else await this.#ended(id, pid, processes);
    }
  }

  #hasEnded({ id, pid, createdAt }: Held): boolean {
    const known = this.#known.get(id);
    return known?.pid === pid && known.createdAt === createdAt && known.hasEnded;
  }

  /** The record of a sandbox that its container has to hold, if it is one. */
  async #heldBy(id: string): Promise<Held | undefined> {
    const { sandboxes, attachments } = this.#options;
    const record = await sandboxes.read(id);
    if (record?.phase !== "ready" || record.infra === undefined || record.pid === undefined) return undefined;
    // What another boot left was not ended by itself.
    return record.bootId === await attachments.boot() ? { ...record, pid: record.pid } : undefined;
  }

  async #ended(id: string, pid: number, processes: ReadonlyMap<number, ProcessSeen>): Promise<void> {
    // Whoever takes a sandbox down puts that on record first, and may have done so since.
    const record = await this.#heldBy(id);
    if (record?.pid !== pid) return;
    this.#known.set(id, { createdAt: record.createdAt, pid, hasEnded: true });
    const reason = await infraProblem(record, this.#options, processes) ?? "its infra container has ended";
    this.#options.onEnded({ id, pid, reason: `${reason}${await infraEndWords(id, this.#options)}` });
  }
}
