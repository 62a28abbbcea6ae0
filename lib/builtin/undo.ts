/** Undoing must get its time also when what it undoes failed because of the caller's deadline. */
const UNDO_MS = 10_000;

/** What to undo if a later step fails. */
export class Undo {
  readonly #steps: { readonly what: string; readonly step: (signal: AbortSignal) => Promise<unknown> }[] = [];

  /** `log` is told what could not be undone; the first failure is what the caller wants to hear of. */
  constructor(readonly log: (line: string) => void) {}

  /** Remembers how to undo what was done just now, or is about to be done. */
  push(what: string, step: (signal: AbortSignal) => Promise<unknown>): void {
    this.#steps.push({ what, step });
  }

  /** Undoes everything, the last first, and never throws. */
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
