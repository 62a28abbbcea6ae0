import type { SandboxContext } from "./context.ts";
import { ProcessWatch, type ProcessWatchOptions } from "./process_watch.ts";
import type { Recovery } from "./recovery.ts";
import { logReport, TEAR_DOWN_WORDS } from "./recovery_report.ts";

/** Options of {@linkcode ContainerWatch}. */
export interface ContainerWatchOptions
  extends
    Pick<SandboxContext, "sandboxes" | "attachments" | "run" | "log">,
    Pick<ProcessWatchOptions, "pollMs" | "namespaceOf"> {
  readonly recovery: Pick<Recovery, "tearDownEndedContainers">;
  /** Returns the time in milliseconds; for tests. @default {performance.now} */
  readonly now?: (() => number) | undefined;
}

/** A container that has ended, but that its runtime has not deleted yet. */
interface EndedContainer {
  readonly createdAt: string;
  readonly tries: number;
  readonly nextAt: number;
}

const FIRST_MS = 2_000;
const LONGEST_MS = 60_000;

/**
 * Tears down the sandboxes of containers whose start failed, or whose runtime was killed, so that no `poststop` hook follows.
 * While the runtime still has the container, the check is repeated after growing pauses.
 */
export class ContainerWatch extends ProcessWatch {
  readonly #options: ContainerWatchOptions;
  readonly #waiting = new Map<string, EndedContainer>();

  constructor(options: ContainerWatchOptions) {
    super({
      ...options,
      what: "containers of the OCI hook",
      ids: () => this.#currentIds(),
      isHeld: ({ container }) => container !== undefined,
      onEnded: ({ id, createdAt }, _, signal) => this.#tearDown(id, createdAt, signal),
    });
    this.#options = options;
  }

  async #currentIds(): Promise<readonly string[]> {
    const ids = await this.#options.sandboxes.containers.all();
    const present = new Set(ids);
    for (const id of this.#waiting.keys()) if (!present.has(id)) this.#waiting.delete(id);
    return ids;
  }

  async #tearDown(id: string, createdAt: string, signal: AbortSignal | undefined): Promise<boolean> {
    const { recovery, log, now = () => performance.now() } = this.#options;
    const before = this.#waiting.get(id);
    const tries = before?.createdAt === createdAt ? before.tries : 0;
    if (tries > 0 && now() < (before?.nextAt ?? 0)) return false;
    const report = await recovery.tearDownEndedContainers(signal, [id]);
    logReport(report, log, TEAR_DOWN_WORDS);
    if (report.kept.length === 0) {
      this.#waiting.delete(id);
      return true;
    }
    const pauseMs = Math.min(FIRST_MS * 2 ** tries, LONGEST_MS);
    this.#waiting.set(id, { createdAt, tries: tries + 1, nextAt: now() + pauseMs });
    return false;
  }
}
