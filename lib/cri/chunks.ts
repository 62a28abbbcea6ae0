import { type DescMessage, type MessageShape, toBinary } from "@bufbuild/protobuf";

/** A message of a streamed list has at most so many items. */
const ITEMS = 100;
/** So many bytes fill a message too: the clients of Kubernetes read 4 MiB and more, and a sandbox may have 1 MiB of annotations. */
const BYTES = 2 * 1024 * 1024;

/** Yields items in parts that are small enough for one message each. A part has an item at least, so without items there is none. */
export function* chunksOf<D extends DescMessage>(
  schema: D,
  items: readonly MessageShape<D>[],
): Generator<MessageShape<D>[]> {
  let chunk: MessageShape<D>[] = [];
  let size = 0;
  for (const item of items) {
    const own = toBinary(schema, item).length;
    if (chunk.length > 0 && (chunk.length >= ITEMS || size + own > BYTES)) {
      yield chunk;
      chunk = [];
      size = 0;
    }
    chunk.push(item);
    size += own;
  }
  if (chunk.length > 0) yield chunk;
}
