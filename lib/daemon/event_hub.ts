import type { JsonObject } from "../cni/json.ts";

/** Options of {@linkcode EventHub}. */
export interface EventHubOptions {
  /** How many unread events a reader may have before it is dropped. @default {1_024} */
  readonly backlog?: number | undefined;
  /** Milliseconds between two heartbeats. @default {15_000} */
  readonly heartbeatMs?: number | undefined;
  /** Called when the first reader connects, and when the last one has disconnected. */
  readonly onAudience?: ((isThere: boolean) => void) | undefined;
}

interface Reader {
  readonly controller: ReadableStreamDefaultController<Uint8Array>;
  readonly heartbeat: ReturnType<typeof setInterval>;
}

/**
 * Sends events to readers, as server-sent events. It waits for no reader: one that is too slow is dropped. Such a reader
 * notices it, because its stream breaks off without the last chunk.
 *
 * Source: HTML Living Standard, section 9.2 "Server-sent events".
 */
export class EventHub {
  readonly #backlog: number;
  readonly #heartbeatMs: number;
  readonly #onAudience: (isThere: boolean) => void;
  readonly #readers = new Set<Reader>();
  readonly #encoder = new TextEncoder();
  #id = 0;
  #closed = false;

  constructor({ backlog = 1_024, heartbeatMs = 15_000, onAudience = () => {} }: EventHubOptions = {}) {
    this.#backlog = backlog;
    this.#heartbeatMs = heartbeatMs;
    this.#onAudience = onAudience;
  }

  /** Number of readers. */
  get readers(): number {
    return this.#readers.size;
  }

  /** Returns a stream of the events from now on. */
  subscribe(): ReadableStream<Uint8Array> {
    let own: Reader | undefined;
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        // Sent at once: the client waits for the head of the response, which is sent with the first bytes.
        controller.enqueue(this.#encoder.encode(": podwire\n\n"));
        if (this.#closed) return controller.close();
        const heartbeat = setInterval(() => {
          if (own !== undefined) this.#send(own, this.#encoder.encode(":\n\n"));
        }, this.#heartbeatMs);
        own = { controller, heartbeat };
        this.#readers.add(own);
        if (this.#readers.size === 1) this.#onAudience(true);
      },
      cancel: () => {
        if (own !== undefined) this.#drop(own);
      },
    }, new CountQueuingStrategy({ highWaterMark: this.#backlog }));
  }

  /** Sends an event to all readers. Its `type` is also the name of the server-sent event. */
  publish(event: JsonObject & { readonly type: string }): void {
    if (this.#readers.size === 0) return;
    const data = JSON.stringify(event);
    const bytes = this.#encoder.encode(`id: ${++this.#id}\nevent: ${event.type}\ndata: ${data}\n\n`);
    for (const reader of [...this.#readers]) this.#send(reader, bytes);
  }

  /** Ends all streams, and each later one at once. */
  close(): void {
    this.#closed = true;
    for (const reader of [...this.#readers]) {
      this.#drop(reader);
      reader.controller.close();
    }
  }

  #send(reader: Reader, bytes: Uint8Array): void {
    if ((reader.controller.desiredSize ?? 0) <= 0) {
      this.#drop(reader);
      reader.controller.error(new Error("the reader of events is too slow"));
      return;
    }
    reader.controller.enqueue(bytes);
  }

  #drop(reader: Reader): void {
    clearInterval(reader.heartbeat);
    if (this.#readers.delete(reader) && this.#readers.size === 0) this.#onAudience(false);
  }
}
