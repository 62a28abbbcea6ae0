/** Reads the events of a daemon, so that a test waits for what happens and not for time. */
import { type DaemonProcess, writeAll } from "./daemon_world.ts";

/** One event. */
// deno-lint-ignore no-explicit-any
export type DaemonEvent = any;

const PATIENCE_MS = 120_000;

export class EventReader implements Disposable {
  readonly #decoder = new TextDecoder();
  readonly #buffer = new Uint8Array(64 * 1024);
  readonly #events: DaemonEvent[] = [];
  #text = "";

  private constructor(private readonly connection: Deno.Conn) {}

  /** Connects; events from now on are read. */
  static async open(daemon: DaemonProcess): Promise<EventReader> {
    const reader = new EventReader(await daemon.connect());
    await writeAll(reader.connection, "GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n");
    // The daemon subscribes before it answers.
    while (!reader.#text.includes(": podwire")) await reader.#read();
    return reader;
  }

  /** Returns the next event for which `select` is true; those before it are dropped. */
  async next(what: string, select: (event: DaemonEvent) => boolean): Promise<DaemonEvent> {
    const late = setTimeout(() => this.connection.close(), PATIENCE_MS);
    try {
      for (;;) {
        for (let event = this.#events.shift(); event !== undefined; event = this.#events.shift()) {
          if (select(event)) return event;
        }
        await this.#read();
      }
    } catch (error) {
      throw new Error(`no event came: ${what}`, { cause: error });
    } finally {
      clearTimeout(late);
    }
  }

  async #read(): Promise<void> {
    const read = await this.connection.read(this.#buffer);
    if (read === null) throw new Error("the daemon has closed the stream");
    this.#text += this.#decoder.decode(this.#buffer.subarray(0, read), { stream: true });
    const lines = this.#text.split("\n");
    this.#text = lines.pop() ?? "";
    for (const line of lines) if (line.startsWith("data: ")) this.#events.push(JSON.parse(line.slice(6)));
    // Kept for the first answer.
    if (this.#events.length === 0 && lines.some((line) => line.includes(": podwire"))) {
      this.#text = ": podwire";
    }
  }

  [Symbol.dispose](): void {
    try {
      this.connection.close();
    } catch {
      // It was too late for an event.
    }
  }
}
