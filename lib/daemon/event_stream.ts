/**
 * Yields the data of server-sent events, whose text comes in pieces of any size.
 *
 * Source: HTML Living Standard, section 9.2 "Server-sent events".
 */
export async function* dataOfEvents(text: AsyncIterable<string>): AsyncGenerator<string> {
  let pending = "";
  for await (const piece of text) {
    pending += piece;
    const blocks = pending.split("\n\n");
    // The last block has no end yet.
    pending = blocks.pop() ?? "";
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data:"));
      if (data.length > 0) yield data.map((line) => line.slice("data:".length).trimStart()).join("\n");
    }
  }
}
