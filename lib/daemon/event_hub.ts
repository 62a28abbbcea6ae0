import type { JsonObject } from "../cni/json.ts";

/** What {@linkcode EventHub} takes. */
export interface EventHubOptions {
  /** How many events a reader may be behind before it is dropped. @default {1_024} */
  readonly backlog?: number | undefined;
  /** Milliseconds between two signs of life where nothing happens. @default {15_000} */
  readonly heartbeatMs?: number | undefined;
  /** Called when the first reader comes, and when the last one has gone. */
  readonly onAudience?: ((isThere: boolean) => void) | undefined;
}

interface Reader {
  readonly controller: ReadableStreamDefaultController<Uint8Array>;
  readonly heartbeat: ReturnType<typeof setInterval>;
}

/**
 * Tells readers what happens, as server-sent events. Nobody is waited for: a reader that is too far behind is dropped,
 * which it can tell from the end of its stream without an end.
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

  /** How many are listening. */
  get readers(): number {
    return this.#readers.size;
  }

  /** A stream of what happens from now on. */
  subscribe(): ReadableStream<Uint8Array> {
    let own: Reader | undefined;
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        // Something at once: the client waits for the head of the answer, which goes with the first bytes.
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
        if (own !== undefined) this.#forget(own);
      },
    }, new CountQueuingStrategy({ highWaterMark: this.#backlog }));
  }

  /** Tells all readers; what kind of event it is stands in its `type`, too. */
  publish(event: JsonObject & { readonly type: string }): void {
    if (this.#readers.size === 0) return;
    const data = JSON.stringify(event);
    const bytes = this.#encoder.encode(`id: ${++this.#id}\nevent: ${event.type}\ndata: ${data}\n\n`);
    for (const reader of [...this.#readers]) this.#send(reader, bytes);
  }

  /** Ends all streams, those to come too. */
  close(): void {
    this.#closed = true;
    for (const reader of [...this.#readers]) {
      this.#forget(reader);
      reader.controller.close();
    }
  }

  #send(reader: Reader, bytes: Uint8Array): void {
    if ((reader.controller.desiredSize ?? 0) <= 0) {
      this.#forget(reader);
      reader.controller.error(new Error("the reader of events is too slow"));
      return;
    }
    reader.controller.enqueue(bytes);
  }

  #forget(reader: Reader): void {
    clearInterval(reader.heartbeat);
    if (this.#readers.delete(reader) && this.#readers.size === 0) this.#onAudience(false);
  }
}
