/** The undo has its own time limit, because the deadline of the caller may be the reason of the failure. */
const UNDO_MS = 10_000;

/** Steps to undo if a later step fails. */
export class Undo {
  readonly #steps: { readonly what: string; readonly step: (signal: AbortSignal) => Promise<unknown> }[] = [];

  /** Failures of the undo go to `log` only, because the caller needs the first failure. */
  constructor(readonly log: (line: string) => void) {}

  /** Registers how to undo the last step, or the next one. */
  push(what: string, step: (signal: AbortSignal) => Promise<unknown>): void {
    this.#steps.push({ what, step });
  }

  /** Undoes everything, the last step first, and never throws. */
  async run(): Promise<void> {
    for (const { what, step } of this.#steps.toReversed()) {
      try {
        await step(AbortSignal.timeout(UNDO_MS));
      } catch (error) {
        this.log(`Cannot undo ${what}: ${error instanceof Error ? error.message : error}`);
      }
    }
  }
}
