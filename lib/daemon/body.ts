import { delay } from "../async/wait.ts";
import { CniError } from "../cni/error.ts";
import { formatPath, type Json, MAX_DEPTH, parseJson, positionOf } from "../cni/json.ts";
import { readShape, type Shape, type ValidationError } from "../cni/shape.ts";
import { HttpError } from "./http_error.ts";
import type { HttpRequest } from "./http_message.ts";

/** Limits for a request body. */
export interface BodyLimits {
  /** @default {1 MiB} */
  readonly maxBytes?: number | undefined;
  /** Milliseconds for the client to send all of it. @default {30_000} */
  readonly readMs?: number | undefined;
  /** Cancels the reading. */
  readonly signal: AbortSignal;
}

const MIB = 1024 * 1024;

/**
 * Reads the body of a request. An empty body counts as an empty object.
 *
 * @throws {HttpError} 413 for a body that is too large, whose rest is not read; 408 for one that does not arrive in time
 * @throws {CniError} kind `usage`, with line, column and member, for one that is not valid JSON or not of that shape
 */
export async function readBody<T>(request: HttpRequest, shape: Shape<T>, limits: BodyLimits): Promise<T> {
  const text = await readText(request, limits);
  const json: Json = text.trim() === ""
    ? {}
    : parseJson(text, { kind: "usage", maxDepth: MAX_DEPTH, duplicateKeys: "refused" });
  return readShape(shape, json, (error) => placed(error, text));
}

async function readText(request: HttpRequest, limits: BodyLimits): Promise<string> {
  const { maxBytes = MIB, readMs = 30_000, signal } = limits;
  const tooLarge = () =>
    new HttpError(413, new CniError("usage", `the body is larger than ${maxBytes} bytes`), {
      connection: "close",
    });
  if (Number(request.headers.get("content-length") ?? 0) > maxBytes) throw tooLarge();
  if (request.body === null) return "";
  const reader = request.body.getReader();
  const over = new AbortController();
  const end = () => over.abort(signal.reason);
  signal.addEventListener("abort", end, { once: true });
  const late = delay(readMs, over.signal).then(() => {
    throw new HttpError(408, new CniError("timeout", `the body did not arrive within ${readMs} ms`), {
      connection: "close",
    });
  });
  // After the race is won, nothing awaits it, and its rejection must not count as unhandled.
  late.catch(() => {});
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    signal.throwIfAborted();
    for (;;) {
      const { done, value } = await Promise.race([reader.read(), late]);
      if (done) break;
      size += value.byteLength;
      if (size > maxBytes) throw tooLarge();
      chunks.push(value);
    }
  } catch (error) {
    void reader.cancel().catch(() => {});
    throw error;
  } finally {
    signal.removeEventListener("abort", end);
    over.abort();
  }
  return decode(chunks);
}

function decode(chunks: readonly Uint8Array[]): string {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  try {
    return chunks.map((chunk) => decoder.decode(chunk, { stream: true })).join("") + decoder.decode();
  } catch (cause) {
    throw new CniError("usage", "the body is not UTF-8", { cause });
  }
}

/** Returns the error with line and column of the wrong member; for a missing member, those of the start of its object. */
function placed(error: ValidationError, body: string): CniError {
  const { path } = error;
  const isEmpty = body.trim() === "";
  const position = !isEmpty ? positionOf(body, path) ?? positionOf(body, path.slice(0, -1)) : undefined;
  return new CniError("usage", error.describe("the body"), { path: formatPath(path), ...position });
}
