import { delay, settled } from "../async/wait.ts";
import { CniError } from "../cni/error.ts";
import {
  BadMessage,
  bodyLength,
  bodyPieces,
  type HttpHead,
  type HttpRequest,
  printHead,
  readHead,
  urlOf,
} from "./http_message.ts";
import { type ByteStream, Inbox, type InboxEnd } from "./inbox.ts";

/** How long a connection waits for its client, in milliseconds. */
export interface ConnectionLimits {
  /** For the first byte of the next request. @default {60_000} */
  readonly idleMs?: number | undefined;
  /** For the rest of a head of which a part has arrived. @default {10_000} */
  readonly headMs?: number | undefined;
  /** For the client to read more of a response. @default {30_000} */
  readonly writeMs?: number | undefined;
  /** Before each check whether a client that sends no more still reads. @default {500} */
  readonly probeMs?: number | undefined;
}

/** A request that is being answered. */
interface UnderWay {
  readonly head: HttpHead;
  readonly controller: AbortController;
  /** Aborted when the request has been answered. */
  readonly over: AbortController;
  /** Whether its response has begun. */
  hasBegun: boolean;
  /** Whether the response lasts for as long as the client reads. */
  isStream: boolean;
}

/** Answers one request. It never throws. */
export type Handle = (request: HttpRequest) => Promise<Response>;

/**
 * For so long, the rest of a body that is not needed is read and dropped, so that the client gets to read the response.
 */
const DRAIN_MS = 1_000;

/**
 * One connection: answers its requests one after another, until either side ends it or the client is silent for too
 * long.
 */
export class HttpConnection {
  readonly #stream: ByteStream;
  readonly #handle: Handle;
  readonly #limits: ConnectionLimits;
  readonly #inbox: Inbox;
  /**
   * What ends the current waits. One promise for all of them would keep memory of each wait until the connection ends.
   */
  readonly #waiting = new Set<() => void>();
  #request: UnderWay | undefined;
  /** The interim response that is being sent. */
  #interim: Promise<void> = Promise.resolve();
  #idleSince: number | undefined = performance.now();
  #isLast = false;
  #isClosed = false;

  constructor(stream: ByteStream, handle: Handle, limits: ConnectionLimits = {}) {
    this.#stream = stream;
    this.#handle = handle;
    this.#limits = limits;
    this.#inbox = new Inbox(stream, (end) => this.#onEnd(end));
  }

  /** Since when it waits for a request, by `performance.now()`; undefined while one is answered. */
  get idleSince(): number | undefined {
    return this.#idleSince;
  }

  /** Answers requests until the connection has ended. */
  async serve(): Promise<void> {
    try {
      while (!this.#isLast && await this.#next());
    } catch {
      // The client has disconnected or does not read. The signal of its request has been aborted.
    } finally {
      this.close();
    }
  }

  /** Ends the connection after the request that is being answered. */
  finish(): void {
    this.#isLast = true;
    if (this.#idleSince !== undefined) this.close();
  }

  /** Ends the connection at once. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stream.close();
    for (const end of this.#waiting) end();
  }

  /** Answers the next request; false if there is none. */
  async #next(): Promise<boolean> {
    const { idleMs = 60_000, headMs = 10_000 } = this.#limits;
    this.#idleSince = performance.now();
    if (this.#inbox.bytes.byteLength === 0 && !await this.#within(this.#inbox.more(), idleMs)) return false;
    let head: HttpHead | undefined;
    try {
      head = await this.#within(readHead(this.#inbox), headMs);
      if (head === undefined) return false;
      this.#idleSince = undefined;
      return await this.#answer(head);
    } catch (error) {
      if (!(error instanceof BadMessage)) throw error;
      await this.#refuse(error);
      return false;
    }
  }

  /** Resolves with the value of `promise`, or with undefined if it takes longer or the connection has ended. */
  async #within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
    const ended = Promise.withResolvers<undefined>();
    const end = () => ended.resolve(undefined);
    this.#waiting.add(end);
    if (this.#isClosed) end();
    try {
      return await settled(Promise.race([promise, ended.promise]), ms);
    } finally {
      this.#waiting.delete(end);
    }
  }

  async #answer(head: HttpHead): Promise<boolean> {
    const length = bodyLength(head);
    const controller = new AbortController();
    const over = new AbortController();
    const underWay = this.#request = { head, controller, over, hasBegun: false, isStream: false };
    if (this.#inbox.end !== undefined) this.#onEnd(this.#inbox.end);
    const body = { isRead: length === 0 };
    const request: HttpRequest = {
      method: head.method,
      url: urlOf(head),
      headers: head.headers,
      body: length === 0 ? null : this.#bodyOf(head, length, () => body.isRead = true),
      signal: controller.signal,
    };
    try {
      const response = await this.#handle(request);
      const wantsMore = head.isVersion1_1 && !/\bclose\b/i.test(head.headers.get("connection") ?? "");
      const isLast = this.#isLast || !wantsMore || !body.isRead ||
        /\bclose\b/i.test(response.headers.get("connection") ?? "");
      await this.#send(underWay, response, isLast);
      if (!body.isRead) await this.#drain();
      return !isLast;
    } finally {
      over.abort();
      this.#request = undefined;
    }
  }

  /**
   * A client that sends no more may have closed only its own direction, and still read. Only a write shows whether it
   * does: a request without a response gets interim responses, which each client of HTTP/1.1 skips (RFC 9110, section
   * 15.2). A stream is ended, since otherwise it would be kept for a client that is gone until there is something to
   * write. HTTP/1.0 has no interim responses, and its clients that wait keep both directions open, as podwire's own
   * does.
   */
  #onEnd(end: InboxEnd): void {
    const request = this.#request;
    if (request === undefined) return;
    if (end === "broken" || request.isStream || !request.head.isVersion1_1) return this.#cancel(request);
    void this.#probe(request);
  }

  async #probe(request: UnderWay): Promise<void> {
    const { probeMs = 500 } = this.#limits;
    const { signal } = request.over;
    try {
      await delay(probeMs, signal);
      while (!request.hasBegun) {
        await (this.#interim = this.#write(printHead(102, [])));
        await delay(probeMs, signal);
      }
    } catch {
      if (!signal.aborted) this.#cancel(request);
    }
  }

  #cancel({ controller }: UnderWay): void {
    controller.abort(new CniError("cancelled", "the client has disconnected"));
  }

  #bodyOf(
    head: HttpHead,
    length: ReturnType<typeof bodyLength>,
    onRead: () => void,
  ): ReadableStream<Uint8Array<ArrayBuffer>> {
    const pieces = bodyPieces(this.#inbox, length);
    let isExpected = head.isVersion1_1 && /^100-continue$/i.test(head.headers.get("expect") ?? "");
    return new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull: async (controller) => {
        if (isExpected) await this.#write(printHead(100, []));
        isExpected = false;
        const { done, value } = await pieces.next();
        if (!done) return controller.enqueue(value);
        onRead();
        controller.close();
      },
    }, { highWaterMark: 0 });
  }

  async #send(request: UnderWay, response: Response, isLast: boolean): Promise<void> {
    const { method, isVersion1_1 } = request.head;
    const { status, headers, body } = response;
    const isEmpty = body === null || method === "HEAD" || status === 204 || status === 304;
    const isWhole = isEmpty || headers.has("content-length");
    const more: [string, string][] = [["date", new Date().toUTCString()]];
    if (isEmpty && method !== "HEAD" && status !== 204) more.push(["content-length", "0"]);
    if (!isWhole && isVersion1_1) more.push(["transfer-encoding", "chunked"]);
    if (isLast || (!isWhole && !isVersion1_1)) more.push(["connection", "close"]);
    const own = [...headers].filter(([name]) => name !== "connection");
    request.hasBegun = true;
    await this.#interim;
    const printed = printHead(status, [...own, ...more]);
    // With the first piece of a body that is there already: each write is a turn of two processes.
    if (isWhole && !isEmpty) return await this.#sendBody(request, body, { head: printed });
    await this.#write(printed);
    if (isEmpty) return await body?.cancel();
    request.isStream = true;
    if (this.#inbox.end !== undefined) this.#cancel(request);
    await this.#sendBody(request, body, { isChunked: isVersion1_1 });
  }

  async #sendBody(
    { controller: { signal } }: UnderWay,
    body: ReadableStream<Uint8Array<ArrayBuffer>>,
    { head, isChunked = false }: {
      /** What is written with the first piece. */
      readonly head?: Uint8Array | undefined;
      readonly isChunked?: boolean;
    },
  ): Promise<void> {
    let before = head;
    const reader = body.getReader();
    const cancel = () => void reader.cancel().catch(() => {});
    signal.addEventListener("abort", cancel, { once: true });
    if (signal.aborted) cancel();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        if (value.byteLength === 0) continue;
        const piece = isChunked ? chunkOf(value) : value;
        await this.#write(before === undefined ? piece : joined(before, piece));
        before = undefined;
      }
      signal.throwIfAborted();
      if (before !== undefined) await this.#write(before);
      if (isChunked) await this.#write(new TextEncoder().encode("0\r\n\r\n"));
    } finally {
      cancel();
    }
  }

  /** @throws if the client has disconnected, or reads nothing for too long */
  async #write(bytes: Uint8Array): Promise<void> {
    const { writeMs = 30_000 } = this.#limits;
    for (let at = 0; at < bytes.byteLength;) {
      const written = await this.#within(this.#stream.write(bytes.subarray(at)), writeMs);
      if (written === undefined) {
        this.#request?.controller.abort(new CniError("cancelled", "the client does not read its response"));
        throw new CniError("cancelled", "the client does not read its response");
      }
      at += written;
    }
  }

  async #refuse({ status, message }: BadMessage): Promise<void> {
    const text = new TextEncoder().encode(`${JSON.stringify({ error: new CniError("usage", message) })}\n`);
    const headers = [["content-type", "application/json"], ["content-length", `${text.byteLength}`]] as const;
    await this.#write(printHead(status, [...headers, ["connection", "close"]]));
    await this.#write(text);
    await this.#drain();
  }

  async #drain(): Promise<void> {
    const drain = async () => {
      do this.#inbox.take(this.#inbox.bytes.byteLength); while (await this.#inbox.more());
    };
    await this.#within(drain(), DRAIN_MS);
  }
}

function joined(one: Uint8Array, other: Uint8Array): Uint8Array {
  const both = new Uint8Array(one.byteLength + other.byteLength);
  both.set(one);
  both.set(other, one.byteLength);
  return both;
}

function chunkOf(bytes: Uint8Array): Uint8Array {
  const size = new TextEncoder().encode(`${bytes.byteLength.toString(16)}\r\n`);
  const chunk = new Uint8Array(size.byteLength + bytes.byteLength + 2);
  chunk.set(size);
  chunk.set(bytes, size.byteLength);
  chunk.set([13, 10], size.byteLength + bytes.byteLength);
  return chunk;
}
