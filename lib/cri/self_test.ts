import { settled } from "../async/wait.ts";
import { messageOf } from "../errors/to_cni_error.ts";
import type { AnswerGrpc } from "./transport.ts";

/** The call of the self-test. */
const PATH = "/podwire.SelfTest/Call";
/** A message of five bytes, after its prefix. */
const MESSAGE = new Uint8Array([0, 0, 0, 0, 5, 1, 2, 3, 4, 5]);
const TEST_MS = 5_000;

const FRAME_HEAD = 9;
const DATA = 0;
const HEADERS = 1;
const SETTINGS = 4;
const END_STREAM = 1;
const END_HEADERS = 4;
const STREAM = 1;
const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/** A frame of HTTP/2. */
interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Uint8Array;
}

/** Answers the call of the self-test, with a message and a trailer. */
export const answerSelfTest: AnswerGrpc = async (request) => {
  const got = await bytesOf(request.body);
  const isSame = new URL(request.url).pathname === PATH && got.length === MESSAGE.length;
  return {
    status: 200,
    header: new Headers({ "content-type": "application/grpc" }),
    body: ReadableStream.from([got]),
    trailer: new Headers({ "grpc-status": isSame ? "0" : "13" }),
  };
};

/**
 * Makes one call over the socket at a path, which {@linkcode answerSelfTest} answers, and returns why the answer is not one of gRPC;
 * undefined if it is: headers, the message, and a trailer. It speaks HTTP/2 itself, as far as one call needs it, because a client
 * of Deno has the faults of its server.
 *
 * Source: RFC 9113 (HTTP/2), sections 3.4, 4.1 and 6; RFC 7541 (HPACK), section 6.2.2 and appendix A.
 */
export async function selfTest(path: string): Promise<string | undefined> {
  let connection: Deno.UnixConn | undefined;
  try {
    connection = await Deno.connect({ transport: "unix", path });
    const asked = ask(connection).catch((error) => messageOf(error));
    return await settled(asked.then((problem) => ({ problem })), TEST_MS).then((result) =>
      result === undefined ? `there is no answer within ${TEST_MS} ms` : result.problem
    );
  } catch (error) {
    return messageOf(error);
  } finally {
    connection?.close();
  }
}

async function ask(connection: Deno.UnixConn): Promise<string | undefined> {
  const request = [
    new TextEncoder().encode(PREFACE),
    printFrame(SETTINGS, 0, 0, new Uint8Array()),
    printFrame(HEADERS, END_HEADERS, STREAM, printHeaders()),
    printFrame(DATA, END_STREAM, STREAM, MESSAGE),
  ];
  for (const part of request) await writeAll(connection, part);
  const got: Frame[] = [];
  for await (const frame of framesOf(connection)) {
    if (frame.stream !== STREAM) continue;
    got.push(frame);
    if ((frame.type === HEADERS || frame.type === DATA) && (frame.flags & END_STREAM) !== 0) break;
  }
  const [head, ...rest] = got;
  const last = rest.pop();
  const size = rest.reduce((sum, { type, payload }) => type === DATA ? sum + payload.length : sum, 0);
  if (head?.type !== HEADERS) return "the answer has no headers";
  if (last === undefined || size !== MESSAGE.length) return "the answer has no message";
  return last.type === HEADERS ? undefined : "the answer has no trailer";
}

function printFrame(type: number, flags: number, stream: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(FRAME_HEAD + payload.length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, payload.length << 8 | type);
  view.setUint8(4, flags);
  view.setUint32(5, stream);
  frame.set(payload, FRAME_HEAD);
  return frame;
}

/** The headers of the call: each one as a name and a value that are not indexed, so that no table is needed. */
function printHeaders(): Uint8Array {
  const headers = {
    ":method": "POST",
    ":scheme": "http",
    ":path": PATH,
    ":authority": "podwire",
    "content-type": "application/grpc",
    te: "trailers",
  };
  const printed = Object.entries(headers).flatMap(([name, value]) => {
    const texts = [name, value].map((text) => new TextEncoder().encode(text));
    return [0, ...texts.flatMap((text) => [text.length, ...text])];
  });
  return new Uint8Array(printed);
}

async function writeAll(connection: Deno.UnixConn, bytes: Uint8Array): Promise<void> {
  for (let rest = bytes; rest.length > 0;) rest = rest.subarray(await connection.write(rest));
}

async function* framesOf(connection: Deno.UnixConn): AsyncGenerator<Frame> {
  let bytes = new Uint8Array();
  const buffer = new Uint8Array(16 * 1024);
  for (;;) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const length = bytes.length < FRAME_HEAD ? Infinity : view.getUint32(0) >>> 8;
    if (bytes.length >= FRAME_HEAD + length) {
      const payload = bytes.slice(FRAME_HEAD, FRAME_HEAD + length);
      yield { type: view.getUint8(3), flags: view.getUint8(4), stream: view.getUint32(5), payload };
      bytes = bytes.slice(FRAME_HEAD + length);
      continue;
    }
    const read = await connection.read(buffer);
    if (read === null) return;
    const joined = new Uint8Array(bytes.length + read);
    joined.set(bytes);
    joined.set(buffer.subarray(0, read), bytes.length);
    bytes = joined;
  }
}

async function bytesOf(body: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of body) pieces.push(piece);
  const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
