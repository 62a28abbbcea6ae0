import { listDir } from "../host/file.ts";
import type { ProcessState } from "../host/process.ts";
import { infraBundles, infraEndWords } from "./infra.ts";
import type { SandboxContext } from "./context.ts";
import { type HeldSandbox, ProcessWatch, type ProcessWatchOptions } from "./process_watch.ts";
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
  extends
    Pick<SandboxContext, "sandboxes" | "attachments" | "stateDir" | "run" | "log">,
    Pick<ProcessWatchOptions, "pollMs" | "namespaceOf"> {
  /** Called once for each. */
  readonly onEnded: (ended: InfraEnded) => void;
}

/**
 * Follows the infra containers of all sandboxes. Nothing of what it sees is put on record: by the start of the process,
 * which is there, everybody sees what is said here, also when another one has its ID.
 */
export class InfraWatch implements AsyncDisposable {
  readonly #options: InfraWatchOptions;
  readonly #watch: ProcessWatch;

  constructor(options: InfraWatchOptions) {
    this.#options = options;
    this.#watch = new ProcessWatch({
      ...options,
      what: "infra containers",
      ids: () => listDir(infraBundles(options.stateDir)),
      isHeld: ({ infra }) => infra !== undefined,
      onEnded: (sandbox, processes) => this.#onEnded(sandbox, processes),
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

  async #onEnded(sandbox: HeldSandbox, processes: ReadonlyMap<number, ProcessState>): Promise<boolean> {
    const { id, pid } = sandbox;
    const reason = await infraProblem(sandbox, this.#options, processes) ?? "its infra container has ended";
    this.#options.onEnded({ id, pid, reason: `${reason}${await infraEndWords(id, this.#options)}` });
    return true;
  }
}
