import { CniError } from "../cni/error.ts";
import type { Inbox } from "./inbox.ts";

/** The methods of HTTP. */
const HTTP_METHODS = [
  "GET",
  "HEAD",
  "POST",
  "PUT",
  "PATCH",
  "DELETE",
  "OPTIONS",
  "CONNECT",
  "TRACE",
] as const;

/** One of {@linkcode HTTP_METHODS}. */
export type HttpMethod = typeof HTTP_METHODS[number];

/** Whether a text is one of {@linkcode HTTP_METHODS}. Any other text of a client must not get into a log or a metric. */
export function isHttpMethod(text: string): text is HttpMethod {
  return (HTTP_METHODS as readonly string[]).includes(text);
}

/** A request as the daemon handles it. A request of the fetch API is one too. */
export type HttpRequest = Pick<Request, "method" | "url" | "headers" | "body" | "signal">;

/** The first part of a request. */
export interface HttpHead {
  readonly method: string;
  readonly target: string;
  readonly isVersion1_1: boolean;
  readonly headers: Headers;
}

/** A request that is not valid HTTP, so that no route answers it. The connection ends after it. */
export class BadMessage extends Error {
  override readonly name: string = "BadMessage";

  constructor(readonly status: number, msg: string) {
    super(msg);
  }
}

const LARGEST_HEAD = 16 * 1024;
const LARGEST_CHUNK_LINE = 1024;
const REQUEST_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([\x21-\x7e]+) HTTP\/1\.([01])$/;
const HEADER = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*$/;
const ABSOLUTE = /^https?:\/\/[^/?#]/i;
const CR = 13;
const LF = 10;

/**
 * Reads the next head; undefined if the client sends none.
 *
 * Source: RFC 9112, sections 2 to 5.
 *
 * @throws {BadMessage}
 */
export async function readHead(inbox: Inbox): Promise<HttpHead | undefined> {
  let seen = 0;
  for (;;) {
    // Empty lines before a request are skipped.
    while (inbox.bytes[0] === CR && inbox.bytes[1] === LF) inbox.take(2);
    const end = endOfHead(inbox.bytes, seen);
    if (end > LARGEST_HEAD || (end < 0 && inbox.bytes.byteLength > LARGEST_HEAD)) {
      throw new BadMessage(431, `the head of the request is larger than ${LARGEST_HEAD} bytes`);
    }
    if (end >= 0) return parseHead(latin1(inbox.take(end)));
    // If half of the end has arrived, it begins three bytes before the last one.
    seen = Math.max(0, inbox.bytes.byteLength - 3);
    if (!await inbox.more()) return undefined;
  }
}

function parseHead(text: string): HttpHead {
  const [first = "", ...lines] = text.slice(0, -4).split("\r\n");
  const [, method, target, minor] = REQUEST_LINE.exec(first) ?? [];
  if (method === undefined || target === undefined) {
    throw new BadMessage(400, "the request line is not HTTP/1.1");
  }
  if (!target.startsWith("/") && !ABSOLUTE.test(target) && !(target === "*" && method === "OPTIONS")) {
    throw new BadMessage(400, "the target of the request is not a path");
  }
  const headers = new Headers();
  for (const line of lines) {
    const [, name, value] = HEADER.exec(line) ?? [];
    if (name === undefined || value === undefined) throw new BadMessage(400, "a header cannot be read");
    headers.append(name, value);
  }
  return { method, target, isVersion1_1: minor === "1", headers };
}

/** Returns the URL of a request. Its host is the one that the client wrote, or a placeholder. */
export function urlOf({ target }: HttpHead): string {
  if (ABSOLUTE.test(target)) return target;
  return `http://podwire${target === "*" ? "/*" : target}`;
}

/** The length of a body: a number of bytes, or `chunked`. */
export type BodyLength = number | "chunked";

/**
 * Returns the length of the body after a head. A head with two possible lengths is refused, because a proxy in front may
 * read it in the other way.
 *
 * @throws {BadMessage}
 */
export function bodyLength({ headers, isVersion1_1 }: HttpHead): BodyLength {
  const coding = headers.get("transfer-encoding");
  const length = headers.get("content-length");
  if (coding !== null) {
    if (length !== null || !isVersion1_1) throw new BadMessage(400, "the length of the body is given twice");
    if (coding.toLowerCase() !== "chunked") throw new BadMessage(501, "the only transfer coding is chunked");
    return "chunked";
  }
  if (length === null) return 0;
  if (!/^\d{1,15}$/.test(length)) throw new BadMessage(400, "the content-length is not a number");
  return Number(length);
}

/** Yields the pieces of a body as they arrive. */
export async function* bodyPieces(
  inbox: Inbox,
  length: BodyLength,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  if (length !== "chunked") return yield* exactly(inbox, length);
  for (;;) {
    const [, hex] = /^([0-9a-fA-F]{1,8})(?:[ \t]*;.*)?$/.exec(await line(inbox)) ?? [];
    if (hex === undefined) throw new BadMessage(400, "the size of a chunk cannot be read");
    const size = parseInt(hex, 16);
    if (size === 0) break;
    yield* exactly(inbox, size);
    if (await line(inbox) !== "") throw new BadMessage(400, "a chunk is longer than its size");
  }
  // Trailers are not used.
  for (let bytes = 0; bytes < LARGEST_HEAD;) {
    const trailer = await line(inbox);
    if (trailer === "") return;
    bytes += trailer.length;
  }
  throw new BadMessage(431, "the trailers of the request are too large");
}

async function* exactly(inbox: Inbox, length: number): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  for (let left = length; left > 0;) {
    if (inbox.bytes.byteLength === 0 && !await inbox.more()) throw disconnected();
    const piece = inbox.take(Math.min(left, inbox.bytes.byteLength));
    left -= piece.byteLength;
    if (piece.byteLength > 0) yield piece;
  }
}

async function line(inbox: Inbox): Promise<string> {
  for (;;) {
    const end = inbox.bytes.indexOf(LF);
    if (end > LARGEST_CHUNK_LINE || (end < 0 && inbox.bytes.byteLength > LARGEST_CHUNK_LINE)) {
      throw new BadMessage(400, "a line of the body is too long");
    }
    if (end >= 0) {
      const text = latin1(inbox.take(end + 1));
      // A proxy in front may not count a line feed alone as the end of a line.
      if (!text.endsWith("\r\n")) throw new BadMessage(400, "a line of the body does not end with CR LF");
      return text.slice(0, -2);
    }
    if (!await inbox.more()) throw disconnected();
  }
}

/** A client that disconnects is not a failure of the daemon. */
function disconnected(): CniError {
  return new CniError("cancelled", "the client has disconnected");
}

function endOfHead(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(CR, from); at >= 0; at = bytes.indexOf(CR, at + 1)) {
    if (bytes[at + 1] === LF && bytes[at + 2] === CR && bytes[at + 3] === LF) return at + 4;
  }
  return -1;
}

function latin1(bytes: Uint8Array): string {
  // Not with TextDecoder: its latin1 is windows-1252.
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

const REASONS: Readonly<Record<number, string>> = {
  100: "Continue",
  102: "Processing",
  200: "OK",
  201: "Created",
  204: "No Content",
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  409: "Conflict",
  413: "Content Too Large",
  422: "Unprocessable Content",
  431: "Request Header Fields Too Large",
  499: "Client Closed Request",
  500: "Internal Server Error",
  501: "Not Implemented",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  507: "Insufficient Storage",
};

/** Returns the head of a response. */
export function printHead(status: number, headers: Iterable<readonly [string, string]>): Uint8Array {
  const lines = [`HTTP/1.1 ${status} ${REASONS[status] ?? "Other"}`];
  for (const [name, value] of headers) lines.push(`${name}: ${value}`);
  return new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`);
}
