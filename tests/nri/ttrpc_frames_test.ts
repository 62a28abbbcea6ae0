import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  FrameReader,
  framesOf,
  LARGEST_MESSAGE,
  MessageReader,
  type TtrpcMessage,
  TtrpcProtocolError,
} from "../../lib/nri/ttrpc_frames.ts";
import { property, type Random } from "../cni/random.ts";

/** Bytes of frames that carry these bytes of a logical connection, cut anywhere. */
function cutFrames(connection: number, bytes: Uint8Array, random: Random): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = Math.min(bytes.length - at, random.below(40));
    const frame = new Uint8Array(8 + length);
    const header = new DataView(frame.buffer);
    header.setUint32(0, connection);
    header.setUint32(4, length);
    frame.set(bytes.subarray(at, at + length), 8);
    frames.push(frame);
    at += length;
  }
  return frames;
}

/** The bytes of a message, without the frames. */
function messageBytes({ stream, kind, data }: TtrpcMessage): Uint8Array {
  const bytes = framesOf(1, { stream, kind, data: data ?? new Uint8Array() });
  const plain: number[] = [];
  new FrameReader((_, piece) => plain.push(...piece)).push(bytes);
  return Uint8Array.from(plain);
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(pieces.flatMap((piece) => [...piece]));
}

function randomMessage(random: Random): TtrpcMessage {
  return {
    stream: random.below(2 ** 31),
    kind: 1 + random.below(3),
    data: Uint8Array.from(random.list(60, () => random.below(256))),
  };
}

/** Gives bytes to a reader of two logical connections in pieces of any size. */
function readInPieces(bytes: Uint8Array, random: Random) {
  const read = new Map<number, TtrpcMessage[]>([[1, []], [2, []]]);
  const readers = new Map(
    [1, 2].map((id) => [id, new MessageReader((message) => read.get(id)?.push(message))]),
  );
  const frames = new FrameReader((connection, piece) => readers.get(connection)?.push(piece));
  for (let at = 0; at < bytes.length;) {
    const length = 1 + random.below(70);
    frames.push(bytes.subarray(at, at + length));
    at += length;
  }
  const isWithin = frames.isWithin || [...readers.values()].some((reader) => reader.isWithin);
  return { read, isWithin };
}

property("messages of several connections are read whole, wherever frames and pieces end", (random) => {
  const sent = new Map([1, 2, 3].map((id) => [id, random.list(5, () => randomMessage(random))]));
  const queues = [...sent].map(([id, messages]) => cutFrames(id, joined(messages.map(messageBytes)), random));
  const mixed: Uint8Array[] = [];
  while (queues.some((queue) => queue.length > 0)) {
    const next = random.one(queues.filter((queue) => queue.length > 0)).shift();
    if (next !== undefined) mixed.push(next);
  }
  const { read, isWithin } = readInPieces(joined(mixed), random);
  assertEquals({ one: read.get(1), two: read.get(2), isWithin }, {
    one: sent.get(1),
    two: sent.get(2),
    isWithin: false,
  });
}, 2_000);

property("a connection that ends within a message is seen as torn", (random) => {
  const bytes = framesOf(1 + random.below(2), {
    stream: 1,
    kind: 1,
    data: new Uint8Array(random.below(30)),
  });
  const kept = random.below(bytes.length);
  const { read, isWithin } = readInPieces(bytes.subarray(0, kept), random);
  assertEquals({ read: [...read.values()].flat(), isWithin }, { read: [], isWithin: kept > 0 });
}, 2_000);

property("any bytes are read as frames, or refused", (random) => {
  const bytes = Uint8Array.from(random.list(200, () => random.below(256)));
  try {
    readInPieces(bytes, random);
  } catch (error) {
    assert(error instanceof TtrpcProtocolError, String(error));
  }
}, 2_000);

property(
  "a sent message is at most two frames, and the first fits into the buffer of the reader",
  (random) => {
    const data = new Uint8Array(random.below(3) * 4_000 + random.below(200));
    const sizes: number[] = [];
    const bytes = framesOf(2, { stream: 1, kind: 2, data });
    for (let at = 0; at < bytes.length;) {
      const length = new DataView(bytes.buffer).getUint32(at + 4);
      sizes.push(length);
      at += 8 + length;
    }
    assert(sizes.length <= 2 && (sizes[0] ?? 0) <= 4_096, sizes.join());
    assertEquals(sizes.reduce((sum, size) => sum + size, 0), 10 + data.length);
  },
  1_000,
);

Deno.test("a message of 4 MiB is read, and one that is larger is skipped with its number", () => {
  const read: { stream: number; length: number | undefined }[] = [];
  const reader = new MessageReader(({ stream, data }) => read.push({ stream, length: data?.length }));
  const header = (length: number, stream: number) => {
    const bytes = new Uint8Array(10);
    new DataView(bytes.buffer).setUint32(0, length);
    new DataView(bytes.buffer).setUint32(4, stream);
    bytes[8] = 1;
    return bytes;
  };
  for (const [length, stream] of [[LARGEST_MESSAGE, 1], [LARGEST_MESSAGE + 1, 3], [0, 5]] as const) {
    reader.push(header(length, stream));
    for (let left = length; left > 0; left -= Math.min(left, 65_537)) {
      reader.push(new Uint8Array(Math.min(left, 65_537)));
    }
  }
  assertEquals(read, [
    { stream: 1, length: LARGEST_MESSAGE },
    { stream: 3, length: undefined },
    { stream: 5, length: 0 },
  ]);
});

Deno.test("a frame that is larger than a message may be is refused", () => {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setUint32(4, LARGEST_MESSAGE + 11);
  assertThrows(() => new FrameReader(() => {}).push(bytes), TtrpcProtocolError, "it has 4194315 bytes");
});
