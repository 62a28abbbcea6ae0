/** The bytes of a connection, in both directions. */
export interface ByteStream {
  read(buffer: Uint8Array): Promise<number | null>;
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
}

const READ_BYTES = 4 * 1024;
/** More is not read until what is there has been taken. */
const MOST_BUFFERED = 64 * 1024;

/**
 * What a client has sent and nobody has taken yet. It reads ahead, also while a request is being answered: only so is
 * noticed that the client has left.
 */
export class Inbox {
  readonly #stream: ByteStream;
  readonly #onEnd: () => void;
  #bytes = new Uint8Array(0);
  #isEnded = false;
  #changed = Promise.withResolvers<void>();
  #taken = Promise.withResolvers<void>();

  /** Calls `onEnd` once the client sends no more. */
  constructor(stream: ByteStream, onEnd: () => void) {
    this.#stream = stream;
    this.#onEnd = onEnd;
    void this.#pump();
  }

  /** What is there. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes;
  }

  /** Takes so many bytes of what is there. */
  take(count: number): Uint8Array<ArrayBuffer> {
    const taken = this.#bytes.slice(0, count);
    this.#bytes = this.#bytes.subarray(count);
    this.#taken.resolve();
    this.#taken = Promise.withResolvers<void>();
    return taken;
  }

  /** Waits for more than is there; false if no more comes. */
  async more(): Promise<boolean> {
    if (this.#isEnded) return false;
    const before = this.#bytes.byteLength;
    await this.#changed.promise;
    return this.#bytes.byteLength > before;
  }

  async #pump(): Promise<void> {
    const buffer = new Uint8Array(READ_BYTES);
    try {
      for (;;) {
        while (this.#bytes.byteLength >= MOST_BUFFERED) await this.#taken.promise;
        const count = await this.#stream.read(buffer);
        if (count === null) break;
        const next = new Uint8Array(this.#bytes.byteLength + count);
        next.set(this.#bytes);
        next.set(buffer.subarray(0, count), this.#bytes.byteLength);
        this.#bytes = next;
        this.#notify();
      }
    } catch {
      // A connection that was reset, or closed from this side, has ended too.
    }
    this.#isEnded = true;
    this.#notify();
    this.#onEnd();
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}
