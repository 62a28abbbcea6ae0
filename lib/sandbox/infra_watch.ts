import { listDir } from "../host/file.ts";
import type { ProcessState } from "../host/process.ts";
import type { SandboxContext } from "./context.ts";
import { infraBundles, infraEndDetails } from "./infra.ts";
import { type HeldSandbox, ProcessWatch, type ProcessWatchOptions } from "./process_watch.ts";
import { infraProblem } from "./problem.ts";

/** An infra container that has ended although its sandbox was not torn down. */
export interface InfraEnded {
  /** ID of the sandbox. */
  readonly id: string;
  /** The process that held its namespaces. */
  readonly pid: number;
  /** Why the sandbox is broken. */
  readonly reason: string;
}

/** Options of {@linkcode InfraWatch}. */
export interface InfraWatchOptions
  extends
    Pick<SandboxContext, "sandboxes" | "attachments" | "stateDir" | "run" | "log">,
    Pick<ProcessWatchOptions, "pollMs" | "namespaceOf"> {
  /** Called once for each such container. */
  readonly onEnded: (ended: InfraEnded) => void;
}

/**
 * Watches the infra containers of all sandboxes. It writes no record: the record has the start time of the process, so every
 * reader sees that the container has ended, even if another process has the same ID.
 */
export class InfraWatch extends ProcessWatch {
  readonly #options: InfraWatchOptions;

  constructor(options: InfraWatchOptions) {
    super({
      ...options,
      what: "infra containers",
      ids: () => listDir(infraBundles(options.stateDir)),
      isHeld: ({ infra }) => infra !== undefined,
      onEnded: (sandbox, processes) => this.#report(sandbox, processes),
    });
    this.#options = options;
  }

  async #report(sandbox: HeldSandbox, processes: ReadonlyMap<number, ProcessState>): Promise<boolean> {
    const { id, pid } = sandbox;
    const reason = await infraProblem(sandbox, this.#options, processes) ?? "its infra container has ended";
    this.#options.onEnded({ id, pid, reason: `${reason}${await infraEndDetails(sandbox, this.#options)}` });
    return true;
  }
}
