import { HostError } from "./command.ts";
import { isNoListener } from "./unix_listener.ts";

/** A request over a Unix socket. */
export interface UnixRequest {
  readonly method: string;
  /** The path, and the query. */
  readonly target: string;
  /** JSON. */
  readonly body: string;
  /** Closes the connection. */
  readonly signal?: AbortSignal | undefined;
}

/** A response over a Unix socket. */
export interface UnixAnswer {
  readonly status: number;
  readonly text: string;
}

/** The errors of a connection that the other side has closed. */
const CLOSED = [Deno.errors.BrokenPipe, Deno.errors.ConnectionReset, Deno.errors.ConnectionAborted] as const;

/**
 * Sends a request to an HTTP server at a Unix socket, on a new connection.
 *
 * Requires `--allow-read` and `--allow-write`; from Deno 2.9 on `--allow-net=unix:PATH` too.
 *
 * `fetch` with a proxy at a Unix socket would need `--allow-net` for the host of its URL too (Deno 2.7 and 2.9), which
 * podwire does not have.
 *
 * @throws {HostError} with reason `no-answer` if no server listens there, with `cut-short` if it closed the connection before
 * the response was complete
 * @throws The reason of `signal`, if that fires first.
 */
export async function requestOverUnix(path: string, request: UnixRequest): Promise<UnixAnswer> {
  const { signal } = request;
  signal?.throwIfAborted();
  const connection = await connect(path);
  const close = () => connection.close();
  signal?.addEventListener("abort", close, { once: true });
  try {
    await send(connection, request);
    return parse(await receive(connection), path);
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  } finally {
    signal?.removeEventListener("abort", close);
    if (!signal?.aborted) close();
  }
}

/** An answer whose body is read while it comes. */
export interface UnixStream extends Disposable {
  readonly status: number;
  /** Yields the text of the body as it comes, until the server closes the connection. */
  readonly text: AsyncIterable<string>;
}

/**
 * As {@linkcode requestOverUnix}, for an answer that has no end: returns as soon as its head has come. The connection is
 * closed when the stream is disposed of, and when the signal fires.
 *
 * @throws {HostError} as {@linkcode requestOverUnix}
 * @throws The reason of `signal`, if that fires first, also while the text is read
 */
export async function streamOverUnix(path: string, request: UnixRequest): Promise<UnixStream> {
  const { signal } = request;
  signal?.throwIfAborted();
  using stack = new DisposableStack();
  const connection = await connect(path);
  let isOpen = true;
  const close = stack.adopt(() => {
    if (isOpen) connection.close();
    isOpen = false;
  }, (close) => close());
  signal?.addEventListener("abort", close, { once: true });
  stack.defer(() => signal?.removeEventListener("abort", close));
  const chunks = chunksOf(connection, () => isOpen, signal);
  try {
    await send(connection, request);
    const head = await headOf(chunks);
    const [, status] = /^HTTP\/1\.[01] (\d{3})\b/.exec(head.text) ?? [];
    if (status === undefined) {
      throw new HostError(`${path} was closed before its answer`, { reason: "cut-short" });
    }
    const rest = stack.move();
    return {
      status: Number(status),
      text: textOf(head.rest, chunks),
      [Symbol.dispose]: () => rest[Symbol.dispose](),
    };
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  }
}

/** Reads up to the empty line that ends the head. What comes behind it is the beginning of the body. */
async function headOf(
  chunks: AsyncIterator<string>,
): Promise<{ readonly text: string; readonly rest: string }> {
  let text = "";
  for (;;) {
    const end = text.indexOf("\r\n\r\n");
    if (end >= 0) return { text: text.slice(0, end), rest: text.slice(end + "\r\n\r\n".length) };
    const { value, done } = await chunks.next();
    if (done) return { text: "", rest: "" };
    text += value;
  }
}

async function* textOf(rest: string, chunks: AsyncGenerator<string>): AsyncGenerator<string> {
  if (rest !== "") yield rest;
  yield* chunks;
}

async function* chunksOf(
  connection: Deno.Conn,
  isOpen: () => boolean,
  signal: AbortSignal | undefined,
): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(64 * 1024);
  for (;;) {
    const size = await connection.read(buffer).catch((error) => {
      signal?.throwIfAborted();
      if (!isOpen() || CLOSED.some((kind) => error instanceof kind)) return null;
      throw error;
    });
    if (size === null) return;
    yield decoder.decode(buffer.subarray(0, size), { stream: true });
  }
}

async function connect(path: string): Promise<Deno.UnixConn> {
  try {
    return await Deno.connect({ transport: "unix", path });
  } catch (cause) {
    if (!isNoListener(cause)) throw cause;
    throw new HostError(`Cannot connect to "${path}": no process listens there`, {
      reason: "no-answer",
      cause,
    });
  }
}

async function send(connection: Deno.Conn, { method, target, body }: UnixRequest): Promise<void> {
  const { byteLength: length } = new TextEncoder().encode(body);
  // With HTTP/1.0 the response ends with the connection, and is not chunked.
  const head = `${method} ${target} HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\n` +
    `content-length: ${length}\r\n\r\n`;
  const sent = new TextEncoder().encode(`${head}${body}`);
  try {
    for (let done = 0; done < sent.byteLength;) done += await connection.write(sent.subarray(done));
  } catch (error) {
    // The server may have responded before it read everything.
    if (!CLOSED.some((kind) => error instanceof kind)) throw error;
  }
}

/** Reads until the response has the length that it says, or its end: to see that the server closes takes one more turn. */
async function receive(connection: Deno.Conn): Promise<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(64 * 1024);
  let text = "";
  let received = 0;
  let whole: number | undefined;
  for (;;) {
    const size = await connection.read(buffer).catch((error) => {
      if (CLOSED.some((kind) => error instanceof kind)) return null;
      throw error;
    });
    if (size === null) return text + decoder.decode();
    text += decoder.decode(buffer.subarray(0, size), { stream: true });
    received += size;
    whole ??= lengthOf(text);
    if (whole !== undefined && received >= whole) return text + decoder.decode();
  }
}

/** Returns the number of bytes of a response of which the head has come; undefined if it does not say how long it is. */
function lengthOf(answer: string): number | undefined {
  const { end, head, length } = split(answer);
  if (end < 0 || length === undefined) return undefined;
  return new TextEncoder().encode(`${head}${HEAD_END}`).byteLength + Number(length);
}

const HEAD_END = "\r\n\r\n";

function split(answer: string) {
  const end = answer.indexOf(HEAD_END);
  const head = answer.slice(0, end);
  const [, length] = /^content-length: *(\d+) *$/im.exec(head) ?? [];
  return { end, head, length };
}

function parse(answer: string, path: string): UnixAnswer {
  const { end, head, length } = split(answer);
  const text = answer.slice(end + HEAD_END.length);
  const [, status] = /^HTTP\/1\.[01] (\d{3})\b/.exec(head) ?? [];
  if (answer !== "" && status === undefined && !"HTTP/1.".startsWith(answer.slice(0, "HTTP/1.".length))) {
    throw new HostError(`Cannot use the server at "${path}": it does not speak HTTP`, {
      reason: "bad-output",
    });
  }
  const isWhole = end >= 0 && status !== undefined &&
    (length === undefined || new TextEncoder().encode(text).byteLength === Number(length));
  if (!isWhole) {
    throw new HostError(
      `Cannot use the server at "${path}": it closed the connection before its response was complete`,
      {
        reason: "cut-short",
      },
    );
  }
  return { status: Number(status), text };
}
