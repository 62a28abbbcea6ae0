import { HostError } from "./command.ts";

/** What is asked over a Unix socket. */
export interface UnixRequest {
  readonly method: string;
  /** The path, and the query. */
  readonly target: string;
  /** JSON. */
  readonly body: string;
  /** Closes the connection. */
  readonly signal?: AbortSignal | undefined;
}

/** What was answered. */
export interface UnixAnswer {
  readonly status: number;
  readonly text: string;
}

/** What says that there is nobody behind a path: no such file, and one that no process listens on. */
const NOBODY = [
  Deno.errors.NotFound,
  Deno.errors.NotADirectory,
  Deno.errors.ConnectionRefused,
] as const;
/** What a connection ends with that the other side has closed. */
const CLOSED = [Deno.errors.BrokenPipe, Deno.errors.ConnectionReset, Deno.errors.ConnectionAborted] as const;

/**
 * Asks an HTTP server at a Unix socket, on a connection of its own.
 *
 * Requires `--allow-read` and `--allow-write`; from Deno 2.9 on `--allow-net=unix:PATH` too.
 *
 * `fetch` with a proxy at a Unix socket would need `--allow-net` for the host of its URL too (Deno 2.7 and 2.9), which
 * podwire does not have.
 *
 * @throws {HostError} with reason `nobody-answers` if none is there, with `cut-short` if it closed the connection before
 * all of its answer had come
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

async function connect(path: string): Promise<Deno.UnixConn> {
  try {
    return await Deno.connect({ transport: "unix", path });
  } catch (cause) {
    if (!NOBODY.some((kind) => cause instanceof kind)) throw cause;
    throw new HostError(`nobody answers at ${path}`, { reason: "nobody-answers", cause });
  }
}

async function send(connection: Deno.Conn, { method, target, body }: UnixRequest): Promise<void> {
  const bytes = new TextEncoder().encode(body);
  // By this version the answer ends with the connection, and does not come in chunks.
  const head = `${method} ${target} HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\n` +
    `content-length: ${bytes.byteLength}\r\n\r\n`;
  try {
    for (const part of [new TextEncoder().encode(head), bytes]) {
      for (let done = 0; done < part.byteLength;) done += await connection.write(part.subarray(done));
    }
  } catch (error) {
    // It may have answered before it had read all.
    if (!CLOSED.some((kind) => error instanceof kind)) throw error;
  }
}

async function receive(connection: Deno.Conn): Promise<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(64 * 1024);
  let text = "";
  for (;;) {
    const size = await connection.read(buffer).catch((error) => {
      if (CLOSED.some((kind) => error instanceof kind)) return null;
      throw error;
    });
    if (size === null) return text + decoder.decode();
    text += decoder.decode(buffer.subarray(0, size), { stream: true });
  }
}

function parse(answer: string, path: string): UnixAnswer {
  const end = answer.indexOf("\r\n\r\n");
  const head = answer.slice(0, end);
  const text = answer.slice(end + "\r\n\r\n".length);
  const [, status] = /^HTTP\/1\.[01] (\d{3})\b/.exec(head) ?? [];
  const [, length] = /^content-length: *(\d+) *$/im.exec(head) ?? [];
  if (answer !== "" && status === undefined && !"HTTP/1.".startsWith(answer.slice(0, "HTTP/1.".length))) {
    throw new HostError(`what answers at ${path} does not speak HTTP`, { reason: "bad-output" });
  }
  const isWhole = end >= 0 && status !== undefined &&
    (length === undefined || new TextEncoder().encode(text).byteLength === Number(length));
  if (!isWhole) throw new HostError(`${path} was closed before its answer`, { reason: "cut-short" });
  return { status: Number(status), text };
}
