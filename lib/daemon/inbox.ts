/** The bytes of a connection, in both directions. */
export interface ByteStream {
  read(buffer: Uint8Array): Promise<number | null>;
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
}

/** How the client stopped sending: it closed its direction, or the connection is broken. */
export type InboxEnd = "finished" | "broken";

const LEAST_ROOM = 4 * 1024;
/** At this size, it reads no more until bytes have been taken. */
const MOST_BUFFERED = 64 * 1024;

/**
 * The bytes that a client has sent and that have not been taken yet. It reads ahead, also while a request is being
 * answered: this is the only way to notice that the client has disconnected.
 */
export class Inbox {
  readonly #stream: ByteStream;
  readonly #onEnd: (end: InboxEnd) => void;
  #room = new Uint8Array(LEAST_ROOM);
  #from = 0;
  #to = 0;
  #end: InboxEnd | undefined;
  #changed = Promise.withResolvers<void>();
  #taken = Promise.withResolvers<void>();

  /** Calls `onEnd` once the client sends no more. */
  constructor(stream: ByteStream, onEnd: (end: InboxEnd) => void) {
    this.#stream = stream;
    this.#onEnd = onEnd;
    void this.#pump();
  }

  /** The bytes that have arrived. Valid until some are taken or more are awaited. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#room.subarray(this.#from, this.#to);
  }

  /** How the client stopped sending; undefined as long as more may arrive. */
  get end(): InboxEnd | undefined {
    return this.#end;
  }

  /** Takes up to `count` of the bytes that have arrived. */
  take(count: number): Uint8Array<ArrayBuffer> {
    const taken = this.bytes.slice(0, count);
    this.#from += taken.byteLength;
    this.#taken.resolve();
    this.#taken = Promise.withResolvers<void>();
    return taken;
  }

  /** Waits for more bytes; false if no more arrive. */
  async more(): Promise<boolean> {
    if (this.#end !== undefined) return false;
    const before = this.#to - this.#from;
    await this.#changed.promise;
    return this.#to - this.#from > before;
  }

  async #pump(): Promise<void> {
    let end: InboxEnd = "finished";
    try {
      for (;;) {
        while (this.#to - this.#from >= MOST_BUFFERED) await this.#taken.promise;
        this.#makeRoom();
        const count = await this.#stream.read(this.#room.subarray(this.#to));
        if (count === null) break;
        this.#to += count;
        this.#notify();
      }
    } catch {
      // The connection was reset, or closed from this side.
      end = "broken";
    }
    this.#end = end;
    this.#notify();
    this.#onEnd(end);
  }

  /** Makes room for more bytes. The room is doubled, so that each byte is moved only a few times. */
  #makeRoom(): void {
    if (this.#from === this.#to) this.#from = this.#to = 0;
    if (this.#room.byteLength - this.#to >= LEAST_ROOM) return;
    const { bytes } = this;
    const isSparse = bytes.byteLength * 2 <= this.#room.byteLength - LEAST_ROOM;
    // A new array, because callers may still hold `bytes`.
    const room = new Uint8Array(this.#room.byteLength * (isSparse ? 1 : 2));
    room.set(bytes);
    this.#room = room;
    this.#from = 0;
    this.#to = bytes.byteLength;
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}
