import { assert, assertEquals, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { listenForGrpc } from "../../lib/cri/choose_transport.ts";
import { http2Transport } from "../../lib/cri/http2_transport.ts";
import { selfTest } from "../../lib/cri/self_test.ts";
import { serveTransport } from "../../lib/cri/serve_transport.ts";
import type { AnswerGrpc, GrpcTransport } from "../../lib/cri/transport.ts";
import { ServedSocket } from "../../lib/daemon/served_socket.ts";
import { silentLogger } from "../../lib/host/log.ts";
import { inTempDir } from "../temp_dir.ts";
import { until } from "../until.ts";

const log = silentLogger;
const TRANSPORTS = [serveTransport, http2Transport];

/** Answers with the message that it got, and a trailer. */
const echo: AnswerGrpc = async ({ body }) => ({
  status: 200,
  header: new Headers({ "content-type": "application/grpc" }),
  body: ReadableStream.from(await Array.fromAsync(body)),
  trailer: new Headers({ "grpc-status": "0" }),
});

Deno.test("this Deno has a transport that answers a call with headers, a message and a trailer", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/s`;
    const listener = await listenForGrpc(path, { answer: echo, log, transports: TRANSPORTS });
    assertEquals(await selfTest(path), undefined);
    await listener.finish();
    await listener.ended;
    assert(typeof await selfTest(path) === "string", "it has ended");
  }));

Deno.test("a transport without trailers, one that is mute and one that cannot listen are refused by name", () =>
  inTempDir(async (dir) => {
    const withoutTrailers: GrpcTransport = {
      name: "one",
      listen(path, answer) {
        const aborting = new AbortController();
        const { signal } = aborting;
        const server = Deno.serve({ path, signal, onListen: () => {} }, async (request) => {
          const { url, method, headers: header } = request;
          const body = request.body ?? ReadableStream.from<Uint8Array>([]);
          const answered = await answer({ httpVersion: "2", url, method, header, body, signal });
          return new Response(ReadableStream.from(answered.body), { headers: answered.header ?? {} });
        });
        return { finish: () => server.finished, abort: () => aborting.abort() };
      },
    };
    const closing: GrpcTransport = {
      name: "two",
      listen(path) {
        const listener = Deno.listen({ transport: "unix", path });
        const accepting = listener.accept().then((connection) => connection.close(), () => {});
        return { finish: () => accepting, abort: () => listener.close() };
      },
    };
    const failing: GrpcTransport = { name: "three", listen: () => Promise.reject(new Error("no socket")) };
    const transports = [withoutTrailers, closing, failing];
    const listening = () => listenForGrpc(`${dir}/s`, { answer: echo, log, transports });
    const error = await assertRejects(listening, CniError);
    assertEquals({ kind: error.kind, msg: error.msg, files: [...Deno.readDirSync(dir)] }, {
      kind: "not-ready",
      msg: "Cannot serve the CRI: this Deno cannot answer calls of gRPC on a Unix socket",
      files: [],
    });
    const { details = "" } = error.context;
    assert(
      details.startsWith("one: the answer has no trailer; two: ") && details.endsWith("; three: no socket"),
      details,
    );
  }));

Deno.test("a socket is made again when what accepts its connections has ended", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/s`;
    const ends: (() => void)[] = [];
    const served = await ServedSocket.open({
      path,
      option: "--cri",
      log,
      listen: async (temporary) => {
        const listener = await listenForGrpc(temporary, { answer: echo, log, transports: TRANSPORTS });
        const failed = Promise.withResolvers<void>();
        ends.push(() => {
          listener.abort();
          failed.resolve();
        });
        return { ...listener, ended: failed.promise };
      },
    });
    assertEquals(await selfTest(path), undefined);
    ends[0]?.();
    await until(() => ends.length === 2);
    await until(async () => await selfTest(path) === undefined);
    await served.close(10_000);
    assertEquals([...Deno.readDirSync(dir)].map(({ name }) => name), ["s.lock"]);
  }));

/** The beginning of a connection, and a call, of a client that then reads nothing. Source: RFC 9113, sections 3.4 and 4.1. */
function callOfDeafClient(): Uint8Array {
  const text = (value: string) => [value.length, ...new TextEncoder().encode(value)];
  const headers = { ":method": "POST", ":scheme": "http", ":path": "/endless", ":authority": "podwire" };
  const block = Object.entries(headers).flatMap(([name, value]) => [0, ...text(name), ...text(value)]);
  const frame = (type: number, flags: number, stream: number, payload: readonly number[]) => [
    ...[0, 0, payload.length, type, flags],
    ...[0, 0, 0, stream],
    ...payload,
  ];
  const SETTINGS = 4;
  const HEADERS = 1;
  const END_OF_BOTH = 5;
  return new Uint8Array([
    ...new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ...frame(SETTINGS, 0, 0, []),
    ...frame(HEADERS, END_OF_BOTH, 1, block),
  ]);
}

Deno.test("what a client does not read is not made, and ends with its connection", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/s`;
    const PIECE = 64 * 1024;
    let pieces = 0;
    const ended = Promise.withResolvers<void>();
    const endless: AnswerGrpc = (request) => {
      if (new URL(request.url).pathname !== "/endless") return echo(request);
      const { signal } = request;
      if (signal.aborted) ended.resolve();
      signal.addEventListener("abort", () => ended.resolve(), { once: true });
      const body = async function* () {
        for (;;) {
          pieces++;
          yield new Uint8Array(PIECE);
        }
      };
      const header = new Headers({ "content-type": "application/grpc" });
      return Promise.resolve({ status: 200, header, body: body(), trailer: new Headers() });
    };
    const listener = await listenForGrpc(path, { answer: endless, log, transports: TRANSPORTS });
    const deaf = await Deno.connect({ transport: "unix", path });
    await deaf.write(callOfDeafClient());
    await until(() => pieces > 0);
    for (let call = 0; call < 50; call++) assertEquals(await selfTest(path), undefined);
    const MOST = 8 * 1024 * 1024;
    assert(pieces * PIECE < MOST, `${pieces} pieces were made`);
    deaf.close();
    await ended.promise;
    listener.abort();
    await listener.finish().catch(() => {});
  }));
