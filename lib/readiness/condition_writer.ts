import type { ReadyCondition } from "./condition.ts";
import type { ReadinessMemory } from "./memory.ts";

/** Writes conditions to the memory: once for all changes of one turn, and never two writes at the same time. */
export class ConditionWriter {
  readonly #memory: ReadinessMemory | undefined;
  readonly #current: () => ReadonlyMap<string, ReadyCondition>;
  #writing: Promise<unknown> = Promise.resolve();
  #isWriteDue = false;

  /** `current` returns all conditions at the time of the write. */
  constructor(memory: ReadinessMemory | undefined, current: () => ReadonlyMap<string, ReadyCondition>) {
    this.#memory = memory;
    this.#current = current;
  }

  /** Schedules a write. */
  schedule(): void {
    const memory = this.#memory;
    if (memory === undefined || this.#isWriteDue) return;
    this.#isWriteDue = true;
    this.#writing = this.#writing.then(() => {
      this.#isWriteDue = false;
      return memory.write({ conditions: this.#current(), all: true, repairs: true });
    });
  }

  /** Resolves when no write is in progress or due. */
  async idle(): Promise<void> {
    await this.#writing;
  }
}
