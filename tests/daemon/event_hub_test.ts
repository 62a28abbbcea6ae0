import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { EventHub } from "../../lib/daemon/event_hub.ts";

const texts = (stream: ReadableStream<Uint8Array>) => stream.pipeThrough(new TextDecoderStream()).getReader();

Deno.test("a reader gets all later events, as server-sent events", async () => {
  const hub = new EventHub();
  hub.publish({ type: "sandbox", id: "before" });
  const reader = texts(hub.subscribe());
  hub.publish({ type: "sandbox", id: "a" });
  hub.publish({ type: "status", msg: "two\nlines" });
  assertEquals((await reader.read()).value, ": podwire\n\n");
  assertEquals((await reader.read()).value, 'id: 1\nevent: sandbox\ndata: {"type":"sandbox","id":"a"}\n\n');
  assertStringIncludes((await reader.read()).value ?? "", 'data: {"type":"status","msg":"two\\nlines"}\n\n');
  hub.close();
  assertEquals((await reader.read()).done, true);
});

Deno.test("without events, a reader gets heartbeats", async () => {
  const hub = new EventHub({ heartbeatMs: 5 });
  const reader = texts(hub.subscribe());
  await reader.read();
  assertEquals([(await reader.read()).value, (await reader.read()).value], [":\n\n", ":\n\n"]);
  await reader.cancel();
  assertEquals(hub.readers, 0);
});

Deno.test("a reader that is too slow is dropped, and no other reader is", async () => {
  const hub = new EventHub({ backlog: 4 });
  const slow = hub.subscribe().getReader();
  const quick = texts(hub.subscribe());
  for (let id = 0; id < 10; id++) {
    hub.publish({ type: "sandbox", id: String(id) });
    await quick.read();
  }
  assertEquals(hub.readers, 1);
  await assertRejects(() => slow.read(), Error, "too slow");
  hub.close();
});

Deno.test("onAudience() is called for the first and the last reader", async () => {
  const heard: boolean[] = [];
  const hub = new EventHub({ onAudience: (isThere) => void heard.push(isThere) });
  const readers = [hub.subscribe(), hub.subscribe()];
  assertEquals(heard, [true]);
  for (const reader of readers) await reader.cancel();
  assertEquals(heard, [true, false]);
  hub.close();
});

Deno.test("after close(), a new stream ends at once", async () => {
  const hub = new EventHub();
  hub.close();
  assertEquals(await new Response(hub.subscribe()).text(), ": podwire\n\n");
});
