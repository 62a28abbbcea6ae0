import { assertEquals } from "@std/assert";
import { NetlinkReader } from "../../lib/kernel/netlink_reader.ts";
import { NetlinkWriter } from "../../lib/kernel/netlink_writer.ts";

/** The attributes of a request, as far as they are not nested. */
function attributesOf(bytes: Uint8Array): readonly (readonly [type: number, bytes: readonly number[]])[] {
  const reader = new NetlinkReader(bytes);
  const found: [number, number[]][] = [];
  for (const { start, end } of reader.messages()) {
    reader.attributes(start, end, (type, start, end) => found.push([type, [...reader.bytes(start, end)]]));
  }
  return found;
}

Deno.test("a message keeps everything that is written, wherever its memory has to grow", () => {
  for (let before = 0; before <= 600; before++) {
    const filler = new Uint8Array(before).fill(7);
    const writer = new NetlinkWriter(1, 0);
    writer.attribute(1, filler).attributeU32(2, 0x0102_0304).attribute(3, Uint8Array.of(5, 6, 7));
    writer.nested(4, () => writer.attributeText(5, "text"));
    // The header of an attribute, in single bytes, and its value.
    writer.u8(8, 0).u16(6).u32(10);
    assertEquals(attributesOf(writer.end().bytes), [
      [1, [...filler]],
      [2, [4, 3, 2, 1]],
      [3, [5, 6, 7]],
      [4, [9, 0, 5, 0, ...new TextEncoder().encode("text"), 0, 0, 0, 0]],
      [6, [10, 0, 0, 0]],
    ]);
  }
});

Deno.test("messages that are joined follow each other at multiples of four bytes, and each begins where it says", () => {
  const writers = [1, 2, 3].map((type) => new NetlinkWriter(type, 0).attribute(type, new Uint8Array(type)));
  const { bytes, starts = [] } = NetlinkWriter.join(writers.map((writer) => writer.withFlags(0x4)));
  const reader = new NetlinkReader(bytes);
  const messages = [...reader.messages()].map(({ type, flags, start }) => ({ type, flags, start }));
  assertEquals(messages, [1, 2, 3].map((type, index) => ({ type, flags: 0x5, start: starts[index]! + 16 })));
  assertEquals(bytes.length % 4, 0);
});
