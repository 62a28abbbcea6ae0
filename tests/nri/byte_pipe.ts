/** Two ends of a connection in memory, on which a test can see and change the bytes. */
import type { ByteStream } from "../../lib/host/unix_stream.ts";

/** An end of the pipe. */
export interface PipeEnd extends ByteStream {
  /** Closes the direction towards the other end, as if the process had ended. */
  end(): void;
}

/** Makes a connection. What is written at one end is read at the other, in pieces of at most `most` bytes. */
export function bytePipe(most = 65_536): [PipeEnd, PipeEnd] {
  const [there, back] = [new Direction(most), new Direction(most)];
  return [endOf(back, there), endOf(there, back)];
}

class Direction {
  readonly #pieces: Uint8Array[] = [];
  #isEnded = false;
  #wake: (() => void) | undefined;

  constructor(readonly most: number) {}

  write(bytes: Uint8Array): void {
    if (this.#isEnded) throw new Deno.errors.BrokenPipe("the pipe is broken");
    this.#pieces.push(bytes.slice());
    this.#wake?.();
  }

  end(): void {
    this.#isEnded = true;
    this.#wake?.();
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    while (this.#pieces.length === 0) {
      if (this.#isEnded) return null;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
    const [first = new Uint8Array()] = this.#pieces;
    const taken = first.subarray(0, Math.min(this.most, buffer.length));
    buffer.set(taken);
    if (taken.length === first.length) this.#pieces.shift();
    else this.#pieces[0] = first.subarray(taken.length);
    return taken.length;
  }
}

function endOf(incoming: Direction, outgoing: Direction): PipeEnd {
  return {
    read: (buffer) => incoming.read(buffer),
    write: (bytes) => Promise.resolve(outgoing.write(bytes)),
    end: () => outgoing.end(),
    [Symbol.dispose]() {
      incoming.end();
      outgoing.end();
    },
  };
}
