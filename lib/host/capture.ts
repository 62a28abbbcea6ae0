/**
 * Collects what a program writes to one of its pipes, up to a limit; the rest is read and dropped. With the limit undefined
 * nothing is kept, and only `lines` gets it.
 */
export class Capture {
  readonly done: Promise<void>;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #chunks: Uint8Array[] = [];
  readonly #limit: number;
  readonly #isKept: boolean;
  #received = 0;

  constructor(
    stream: ReadableStream<Uint8Array>,
    limit: number | undefined,
    onOverflow: () => void,
    onFailure: (error: unknown) => void,
    lines?: LineSplitter,
  ) {
    this.#reader = stream.getReader();
    this.#limit = limit ?? Infinity;
    this.#isKept = limit !== undefined;
    this.done = this.#pump(onOverflow, lines).catch(onFailure);
  }

  get received(): number {
    return this.#received;
  }

  text(): string {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    const text = this.#chunks.map((chunk) => decoder.decode(chunk, { stream: true })).join("");
    // The limit may be in the middle of a character, which is then left out.
    return this.#received > this.#limit ? text : text + decoder.decode();
  }

  async drop(): Promise<void> {
    await this.#reader.cancel();
    await this.done;
  }

  async #pump(onOverflow: () => void, lines: LineSplitter | undefined): Promise<void> {
    for (;;) {
      const { value } = await this.#reader.read();
      if (value === undefined) return;
      const kept = value.subarray(0, Math.max(0, this.#limit - this.#received));
      this.#received += value.byteLength;
      if (kept.byteLength > 0 && this.#isKept) this.#chunks.push(kept);
      if (kept.byteLength < value.byteLength) onOverflow();
      lines?.push(kept);
    }
  }
}

/** Passes on each line when it is complete. */
export class LineSplitter {
  readonly #decoder = new TextDecoder();
  #rest = "";

  constructor(readonly onLine: (line: string) => void) {}

  push(bytes: Uint8Array): void {
    const lines = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.onLine(line);
  }

  end(): void {
    const rest = this.#rest + this.#decoder.decode();
    this.#rest = "";
    if (rest !== "") this.onLine(rest);
  }
}
