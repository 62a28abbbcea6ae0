// The calls of the client, against the routes of the daemon at a real socket.
import { assert, assertEquals, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { DaemonClient } from "../../lib/daemon/client.ts";
import { dataOfEvents } from "../../lib/daemon/event_stream.ts";
import { openSocketServer } from "../../lib/daemon/server.ts";
import { silentLogger } from "../../lib/host/log.ts";
import { inTempDir } from "../temp_dir.ts";
import { until } from "../until.ts";
import { fakeDaemon, SANDBOX } from "./fake_context.ts";

type Daemon = ReturnType<typeof fakeDaemon>;

/** Serves the routes at a socket as long as `fn` runs. */
function serving(fn: (client: DaemonClient, daemon: Daemon) => Promise<void>): Promise<void> {
  return inTempDir(async (dir) => {
    const daemon = fakeDaemon();
    const path = `${dir}/p.sock`;
    const server = await openSocketServer({
      path,
      handle: (request) => daemon.handler.handle(request),
      log: silentLogger,
    });
    try {
      await fn(new DaemonClient(path), daemon);
    } finally {
      daemon.fake.hub.close();
      await server.close(10_000);
    }
  });
}

Deno.test("each call of the client is the one of the library in the daemon", () =>
  serving(async (client, { fake }) => {
    const { calls } = fake;
    const asked = async (call: () => Promise<unknown>) => {
      calls.length = 0;
      const result = await call();
      return [result, ...calls];
    };
    const plain = JSON.parse(JSON.stringify(SANDBOX));
    const place = { namespace: "shop" };
    assertEquals(await asked(() => client.run({ name: "web" })), [
      plain,
      ["run", { name: "web", source: { kind: "new" } }, {}],
    ]);
    assertEquals(await asked(() => client.list()), [[plain], ["list", {}, {}]]);
    const filter = { name: "web", state: "ready", labels: { app: "web", tier: undefined } } as const;
    assertEquals(await asked(() => client.list(filter)), [[plain], ["list", filter, {}]]);
    assertEquals(await asked(() => client.get("web", place)), [plain, ["get", "web", place]]);
    assertEquals(await asked(() => client.stop("web", place)), [
      plain,
      ["get", "web", place],
      ["stop", SANDBOX.id, { missingOk: true }],
      ["get", SANDBOX.id],
    ]);
    assertEquals(await asked(() => client.remove("we/b", { ...place, force: true })), [
      undefined,
      ["remove", "we/b", { ...place, force: true, missingOk: true }],
    ]);
  }));

Deno.test("a sandbox of the daemon is removed at the end of the block that used it", () =>
  serving(async (client, { fake }) => {
    {
      await using sandbox = await client.run({ name: "web" });
      assertEquals(sandbox, JSON.parse(JSON.stringify(SANDBOX)));
      assertEquals(fake.calls.map(([name]) => name), ["run"]);
    }
    assertEquals(fake.calls.map(([name]) => name), ["run", "remove"]);
  }));

Deno.test("events are read as they come, until the reader leaves or the daemon closes them", () =>
  serving(async (client, { fake: { hub } }) => {
    const event = (number: number) => ({
      type: "status",
      time: "2026-01-01T00:00:00.000Z",
      number,
      text: "é\n",
    });
    const events = client.events();
    const first = events.next();
    await until(() => hub.readers === 1);
    hub.publish(event(1));
    hub.publish(event(2));
    assertEquals([(await first).value, (await events.next()).value], [event(1), event(2)]);
    await events.return(undefined);
    await until(() => {
      hub.publish(event(3));
      return hub.readers === 0;
    });

    const all = Array.fromAsync(client.events());
    await until(() => hub.readers === 1);
    hub.publish(event(4));
    hub.close();
    assertEquals(await all, [event(4)]);
  }));

Deno.test("the signal of the events ends them with its reason, while nothing happens too", () =>
  serving(async (client, { fake: { hub } }) => {
    const stop = new AbortController();
    const events = client.events({ signal: stop.signal });
    const next = events.next();
    await until(() => hub.readers === 1);
    stop.abort();
    assertEquals((await assertRejects(() => next, CniError)).kind, "cancelled");
    assertEquals((await events.next()).done, true);
  }));

Deno.test("the client says that no daemon serves, by kind", () =>
  inTempDir(async (dir) => {
    const client = new DaemonClient(`${dir}/none.sock`);
    for (const call of [() => client.list(), () => client.events().next()]) {
      const { kind, context } = await assertRejects(call, CniError);
      assertEquals(kind, "not-ready");
      assert(context.hint?.includes("podwire serve"));
    }
  }));

Deno.test("an error of the daemon is the error of the call", () =>
  serving(async (client, { handler }) => {
    await handler.drained();
    const { kind } = await assertRejects(() => client.list(), CniError);
    assertEquals(kind, "not-ready");
  }));

/** Yields a text in pieces of that size. */
async function* piecesOf(text: string, size: number): AsyncGenerator<string> {
  for (let at = 0; at < text.length; at += size) yield await Promise.resolve(text.slice(at, at + size));
}

Deno.test("server-sent events are put together from pieces of any size", async () => {
  const text = ': podwire\n\nid: 1\nevent: a\ndata: {"x":1}\n\n:\n\ndata: one\ndata: two\n\ndata: unfinished';
  for (const size of [1, 2, 7, text.length]) {
    assertEquals(await Array.fromAsync(dataOfEvents(piecesOf(text, size))), ['{"x":1}', "one\ntwo"]);
  }
});
