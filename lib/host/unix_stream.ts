/** A connection that carries bytes in both directions. Disposing of it closes it. */
export interface ByteStream extends Disposable {
  /** Reads what is there into `buffer`, or waits; returns how many bytes, or null if the other side has closed. */
  read(buffer: Uint8Array): Promise<number | null>;
  /** Writes all of the bytes. */
  write(bytes: Uint8Array): Promise<void>;
}

/** Returns an open connection as a stream of bytes. */
export function byteStream(connection: Pick<Deno.Conn, "read" | "write" | "close">): ByteStream {
  let isOpen = true;
  return {
    read: (buffer) => connection.read(buffer),
    async write(bytes) {
      for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
    },
    [Symbol.dispose]() {
      if (isOpen) connection.close();
      isOpen = false;
    },
  };
}
