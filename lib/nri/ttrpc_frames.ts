// The frames of ttrpc, over logical connections that share a Unix socket, as containerd and CRI-O speak it with their NRI plugins.
// All numbers are big-endian.
//
// A frame of the socket: number of the logical connection (4 bytes), length (4), bytes. The bytes of a logical connection
// are a stream of messages: length (4), number of the call (4), kind (1), flags (1), data. A frame may end within a message.
//
// Source: containerd/nri `pkg/net/multiplex`, containerd/ttrpc `PROTOCOL.md`.
/** The bytes do not follow the protocol, or end within a message; nothing after them can be understood. */
export class TtrpcProtocolError extends Error {
  override readonly name = "TtrpcProtocolError";
}

/** The largest message, in bytes: 4 MiB. */
export const LARGEST_MESSAGE = 4 * 1024 * 1024;
const FRAME_HEADER = 8;
const MESSAGE_HEADER = 10;
const LARGEST_FRAME = MESSAGE_HEADER + LARGEST_MESSAGE;
/** The buffer of the other side when it reads the start of a message: a larger frame there ends its connection. */
const FIRST_FRAME = 4_096;

/** The kinds of messages. */
export const MESSAGE_KINDS = { request: 1, response: 2, data: 3 } as const;

/** A message of a logical connection. */
export interface TtrpcMessage {
  /** Number of the call that it belongs to. */
  readonly stream: number;
  /** One of {@linkcode MESSAGE_KINDS}, or a kind of a newer version. */
  readonly kind: number;
  /** Undefined if the message was larger than {@linkcode LARGEST_MESSAGE}, and was skipped. */
  readonly data: Uint8Array | undefined;
}

/** Collects a fixed number of bytes out of pieces. */
class Collector {
  readonly bytes: Uint8Array;
  #have = 0;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
  }

  get isWhole(): boolean {
    return this.#have === this.bytes.length;
  }

  get isEmpty(): boolean {
    return this.#have === 0;
  }

  /** Takes what is missing from the start of the piece; returns the rest of the piece. */
  take(piece: Uint8Array): Uint8Array {
    const taken = piece.subarray(0, this.bytes.length - this.#have);
    this.bytes.set(taken, this.#have);
    this.#have += taken.length;
    return piece.subarray(taken.length);
  }

  number(at: number): number {
    return new DataView(this.bytes.buffer).getUint32(at);
  }

  reset(): void {
    this.#have = 0;
  }
}

/** Reads frames out of the pieces of a stream. */
export class FrameReader {
  readonly #header = new Collector(FRAME_HEADER);
  readonly #onBytes: (connection: number, bytes: Uint8Array) => void;
  #left = 0;

  /** `onBytes` gets what a frame carries, in pieces that are valid during the call only. */
  constructor(onBytes: (connection: number, bytes: Uint8Array) => void) {
    this.#onBytes = onBytes;
  }

  /** Whether a frame has begun that has not ended. */
  get isWithin(): boolean {
    return this.#left > 0 || !this.#header.isEmpty;
  }

  /**
   * Reads a piece.
   *
   * @throws {TtrpcProtocolError} if a frame is too large
   */
  push(piece: Uint8Array): void {
    for (let rest = piece; rest.length > 0;) {
      if (this.#left === 0) {
        rest = this.#header.take(rest);
        if (!this.#header.isWhole) return;
        this.#left = this.#header.number(4);
        if (this.#left > LARGEST_FRAME) {
          throw new TtrpcProtocolError(
            `Cannot read a frame: it has ${this.#left} bytes, and ${LARGEST_FRAME} are allowed`,
          );
        }
        if (this.#left === 0) this.#header.reset();
        continue;
      }
      const bytes = rest.subarray(0, this.#left);
      rest = rest.subarray(bytes.length);
      this.#left -= bytes.length;
      const connection = this.#header.number(0);
      if (this.#left === 0) this.#header.reset();
      this.#onBytes(connection, bytes);
    }
  }
}

/** Reads the messages of a logical connection out of its bytes. */
export class MessageReader {
  readonly #header = new Collector(MESSAGE_HEADER);
  readonly #onMessage: (message: TtrpcMessage) => void;
  #data: Collector | undefined;
  #skip = 0;

  constructor(onMessage: (message: TtrpcMessage) => void) {
    this.#onMessage = onMessage;
  }

  /** Whether a message has begun that has not ended. */
  get isWithin(): boolean {
    return !this.#header.isEmpty;
  }

  /** Reads a piece. */
  push(piece: Uint8Array): void {
    for (let rest = piece; rest.length > 0;) {
      if (!this.#header.isWhole) {
        rest = this.#header.take(rest);
        if (this.#header.isWhole) this.#begin(this.#header.number(0));
      } else if (this.#data !== undefined) {
        rest = this.#data.take(rest);
      } else {
        const skipped = Math.min(this.#skip, rest.length);
        this.#skip -= skipped;
        rest = rest.subarray(skipped);
      }
      if (this.#header.isWhole && this.#skip === 0 && this.#data?.isWhole !== false) this.#end();
    }
  }

  #begin(length: number): void {
    if (length <= LARGEST_MESSAGE) this.#data = new Collector(length);
    else this.#skip = length;
  }

  #end(): void {
    const stream = this.#header.number(4);
    const [kind = 0] = this.#header.bytes.subarray(8);
    const data = this.#data?.bytes;
    this.#header.reset();
    this.#data = undefined;
    this.#onMessage({ stream, kind, data });
  }
}

/** Returns the frames of a message: what the other side reads at once must fit into its buffer. */
export function framesOf(
  connection: number,
  { stream, kind, data }: Omit<TtrpcMessage, "data"> & { readonly data: Uint8Array },
): Uint8Array {
  const message = new Uint8Array(MESSAGE_HEADER + data.length);
  const header = new DataView(message.buffer);
  header.setUint32(0, data.length);
  header.setUint32(4, stream);
  message[8] = kind;
  message.set(data, MESSAGE_HEADER);
  const parts = [message.subarray(0, FIRST_FRAME), message.subarray(FIRST_FRAME)];
  const frames = parts.filter(({ length }) => length > 0).map((part) => frameOf(connection, part));
  const bytes = new Uint8Array(frames.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const frame of frames) {
    bytes.set(frame, at);
    at += frame.length;
  }
  return bytes;
}

function frameOf(connection: number, part: Uint8Array): Uint8Array {
  const frame = new Uint8Array(FRAME_HEADER + part.length);
  const header = new DataView(frame.buffer);
  header.setUint32(0, connection);
  header.setUint32(4, part.length);
  frame.set(part, FRAME_HEADER);
  return frame;
}
