import type { SandboxContext } from "./context.ts";
import { ProcessWatch, type ProcessWatchOptions } from "./process_watch.ts";
import type { Recovery } from "./recovery.ts";

/** What {@linkcode ContainerWatch} works with. */
export interface ContainerWatchOptions
  extends
    Pick<SandboxContext, "sandboxes" | "attachments" | "run" | "log">,
    Pick<ProcessWatchOptions, "pollMs" | "namespaceOf"> {
  readonly recovery: Pick<Recovery, "tearDownEndedContainers">;
  /** Milliseconds, for tests. */
  readonly now?: (() => number) | undefined;
}

/** A container that has ended, and that its runtime has not deleted. */
interface Waiting {
  readonly createdAt: string;
  readonly tries: number;
  readonly askAt: number;
}

const FIRST_MS = 2_000;
const LONGEST_MS = 60_000;

/**
 * Takes down the sandboxes of containers whose start has failed, or whose runtime was killed, so that nobody calls the hook
 * at their end. One that its runtime still has is asked for again after a growing while.
 */
export class ContainerWatch implements AsyncDisposable {
  readonly #options: ContainerWatchOptions;
  readonly #watch: ProcessWatch;
  readonly #waiting = new Map<string, Waiting>();

  constructor(options: ContainerWatchOptions) {
    this.#options = options;
    this.#watch = new ProcessWatch({
      ...options,
      what: "containers that have called the hook",
      ids: () => this.#ids(),
      isHeld: ({ container }) => container !== undefined,
      onEnded: ({ id, createdAt }, _, signal) => this.#onEnded(id, createdAt, signal),
    });
  }

  /** Begins to look. */
  start(): void {
    this.#watch.start();
  }

  /** Looks no more. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#watch[Symbol.asyncDispose]();
  }

  /** One look at all of them. */
  async look(signal?: AbortSignal): Promise<void> {
    await this.#watch.look(signal);
  }

  async #ids(): Promise<readonly string[]> {
    const ids = await this.#options.sandboxes.containers.all();
    const present = new Set(ids);
    for (const id of this.#waiting.keys()) if (!present.has(id)) this.#waiting.delete(id);
    return ids;
  }

  async #onEnded(id: string, createdAt: string, signal: AbortSignal | undefined): Promise<boolean> {
    const { recovery, log, now = () => performance.now() } = this.#options;
    const before = this.#waiting.get(id);
    const tries = before?.createdAt === createdAt ? before.tries : 0;
    if (tries > 0 && now() < (before?.askAt ?? 0)) return false;
    const { removed, failed, kept } = await recovery.tearDownEndedContainers(signal, [id]);
    for (const { why, ...item } of removed) log.info(`taken down: ${why}`, { ...item });
    for (const { why, ...item } of failed) log.warn(`not taken down: ${why}`, { ...item });
    if (kept.length === 0) {
      this.#waiting.delete(id);
      return true;
    }
    const pauseMs = Math.min(FIRST_MS * 2 ** tries, LONGEST_MS);
    this.#waiting.set(id, { createdAt, tries: tries + 1, askAt: now() + pauseMs });
    return false;
  }
}
