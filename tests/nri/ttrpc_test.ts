import { assert, assertEquals, assertRejects } from "@std/assert";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { RequestSchema, ResponseSchema } from "../../lib/nri/generated/request_pb.ts";
import { STATUS_CODES, TtrpcError, TtrpcPeer, type TtrpcPeerOptions } from "../../lib/nri/ttrpc.ts";
import {
  FrameReader,
  framesOf,
  LARGEST_MESSAGE,
  MESSAGE_KINDS,
  MessageReader,
  TtrpcProtocolError,
} from "../../lib/nri/ttrpc_frames.ts";
import { bytePipe, type PipeEnd } from "./byte_pipe.ts";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytes = (text: string) => new TextEncoder().encode(text);

const echo: TtrpcPeerOptions["handle"] = ({ service, method, payload }) =>
  Promise.resolve(bytes(`${service}.${method}(${text(payload)})`));

function peers(handle: TtrpcPeerOptions["handle"] = echo, most?: number) {
  const [here, there] = bytePipe(most);
  const one = new TtrpcPeer({ stream: here, serves: 1, calls: 2, handle });
  const other = new TtrpcPeer({ stream: there, serves: 2, calls: 1, handle });
  return { one, other, here, there };
}

/** What a peer answers on connection 1 to messages that are sent as they are. */
async function answersTo(
  sent: readonly { readonly stream: number; readonly kind: number; readonly data: Uint8Array }[],
): Promise<{ stream: number; code: number; payload: string }[]> {
  const [here, there] = bytePipe();
  using _peer = new TtrpcPeer({ stream: here, serves: 1, calls: 2, handle: echo });
  for (const message of sent) await there.write(framesOf(1, message));
  const read: { stream: number; code: number; payload: string }[] = [];
  const reader = new MessageReader(({ stream, data = new Uint8Array() }) => {
    const { status, payload } = fromBinary(ResponseSchema, data);
    read.push({ stream, code: status?.code ?? 0, payload: text(payload) });
  });
  const frames = new FrameReader((_, piece) => reader.push(piece));
  const buffer = new Uint8Array(1_024);
  while (read.length < sent.length) {
    const count = await there.read(buffer);
    if (count === null) throw new Error("the connection has ended");
    frames.push(buffer.subarray(0, count));
  }
  return read;
}

const request = (method: string) =>
  toBinary(RequestSchema, create(RequestSchema, { service: "s", method, payload: bytes("x") }));

Deno.test("both sides call each other at the same time, in pieces of any size", async () => {
  for (const most of [1, 7, 65_536]) {
    const { one, other } = peers(echo, most);
    using _one = one;
    using _other = other;
    const calls = Array.from(
      { length: 20 },
      (_, at) =>
        [one, other].map(async (peer) =>
          text(await peer.call({ service: "s", method: "m", payload: bytes(String(at)) }))
        ),
    ).flat();
    const wanted = Array.from({ length: 20 }, (_, at) => [`s.m(${at})`, `s.m(${at})`]).flat();
    assertEquals(await Promise.all(calls), wanted);
  }
});

Deno.test("an error that is thrown becomes the status of the answer, with its code", async () => {
  const { one, other } = peers(({ method }) => {
    throw method === "coded"
      ? new TtrpcError(STATUS_CODES.unimplemented, "no such call")
      : new Error("broken");
  });
  using _one = one;
  using _other = other;
  const failed = async (method: string) => {
    const { code, message } = await assertRejects(
      () => one.call({ service: "s", method, payload: bytes("") }),
      TtrpcError,
    );
    return { code, message };
  };
  assertEquals(await failed("coded"), { code: 12, message: "no such call" });
  assertEquals(await failed("x"), { code: 2, message: "broken" });
});

Deno.test("what is not a call is refused by its number, and the calls after it are answered", async () => {
  const { request: call, data } = MESSAGE_KINDS;
  const answers = await answersTo([
    { stream: 2, kind: call, data: request("even") },
    { stream: 5, kind: call, data: request("five") },
    { stream: 3, kind: call, data: request("smaller") },
    { stream: 5, kind: call, data: request("again") },
    { stream: 7, kind: data, data: request("stream") },
    { stream: 9, kind: call, data: Uint8Array.of(0xff, 0xff) },
    { stream: 11, kind: call, data: request("eleven") },
  ]);
  answers.sort((a, b) => a.stream - b.stream || a.code - b.code);
  assertEquals(answers, [
    { stream: 2, code: 3, payload: "" },
    { stream: 3, code: 3, payload: "" },
    { stream: 5, code: 0, payload: "s.five(x)" },
    { stream: 5, code: 3, payload: "" },
    { stream: 7, code: 3, payload: "" },
    { stream: 9, code: 3, payload: "" },
    { stream: 11, code: 0, payload: "s.eleven(x)" },
  ]);
});

Deno.test("messages of unknown kinds, and answers to no call, are passed over", async () => {
  const [here, there] = bytePipe();
  using peer = new TtrpcPeer({ stream: here, serves: 1, calls: 2, handle: echo });
  using other = new TtrpcPeer({ stream: there, serves: 2, calls: 1, handle: echo });
  const unknown = { stream: 1, kind: 9, data: bytes("?") };
  await there.write(framesOf(1, unknown));
  await there.write(framesOf(2, { stream: 77, kind: MESSAGE_KINDS.response, data: bytes("") }));
  await there.write(framesOf(4_711, unknown));
  for (const each of [peer, other]) {
    assertEquals(text(await each.call({ service: "s", method: "m", payload: bytes("") })), "s.m()");
  }
});

Deno.test("calls and answers over 4 MiB fail with their code, and the connection goes on", async () => {
  const { one, other } = peers(({ method, payload }) =>
    Promise.resolve(method === "double" ? new Uint8Array(LARGEST_MESSAGE + 1) : payload.slice(0, 1))
  );
  using _one = one;
  using _other = other;
  const failed = async (method: string, size: number) => {
    const call = () => one.call({ service: "s", method, payload: new Uint8Array(size) });
    const { code } = await assertRejects(call, TtrpcError);
    return code;
  };
  assertEquals(await failed("m", LARGEST_MESSAGE), STATUS_CODES.resourceExhausted);
  assertEquals(await failed("double", 1), STATUS_CODES.resourceExhausted);
  const large = { service: "s", method: "m", payload: new Uint8Array(LARGEST_MESSAGE - 100) };
  assertEquals((await one.call(large)).length, 1);
});

async function endedBy(act: (there: PipeEnd, one: TtrpcPeer) => unknown) {
  const [here, there] = bytePipe();
  const calls: AbortSignal[] = [];
  const handle: TtrpcPeerOptions["handle"] = ({ signal }) => {
    calls.push(signal);
    return new Promise(() => {});
  };
  using one = new TtrpcPeer({ stream: here, serves: 1, calls: 2, handle });
  const asked = one.call({ service: "s", method: "m", payload: bytes("") });
  await there.write(framesOf(1, { stream: 1, kind: MESSAGE_KINDS.request, data: request("long") }));
  await act(there, one);
  const reason = await one.ended;
  assertEquals(await assertRejects(() => asked), reason);
  assertEquals(
    await assertRejects(() => one.call({ service: "s", method: "m", payload: bytes("") })),
    reason,
  );
  assertEquals(calls.map(({ reason }) => reason), [reason]);
  return reason;
}

Deno.test("a connection that ends fails all calls with the reason, and stops those that are served", async () => {
  const closed = await endedBy((there) => there.end());
  assert(closed instanceof TtrpcError && closed.code === STATUS_CODES.unavailable, String(closed));
  const torn = await endedBy(async (there) => {
    await there.write(Uint8Array.of(0, 0, 0, 1, 0));
    there.end();
  });
  assert(torn instanceof TtrpcProtocolError, String(torn));
  const large = await endedBy((there) => there.write(new Uint8Array(8).fill(0xff)));
  assert(large instanceof TtrpcProtocolError, String(large));
  let written: Promise<void> = Promise.resolve();
  const own = await endedBy(async (there, one) => {
    await there.write(new Uint8Array());
    written = one.flushed();
    await written;
    one[Symbol.dispose]();
  });
  assert(own instanceof TtrpcError, String(own));
});

Deno.test("a call that is given up rejects with the reason, and its late answer harms none", async () => {
  const late = Promise.withResolvers<Uint8Array>();
  const { one, other } = peers(({ method }) =>
    method === "late" ? late.promise : Promise.resolve(bytes("now"))
  );
  using _one = one;
  using _other = other;
  const given = new AbortController();
  const call = one.call({ service: "s", method: "late", payload: bytes("") }, given.signal);
  given.abort(new Error("given up"));
  await assertRejects(() => call, Error, "given up");
  late.resolve(bytes("too late"));
  assertEquals(text(await one.call({ service: "s", method: "next", payload: bytes("") })), "now");
});
