import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import type { CallOptions } from "../../lib/async/call_options.ts";
import { CniError, type ErrorKind } from "../../lib/cni/error.ts";
import { fakeDaemon, SANDBOX } from "./fake_context.ts";

const MIB = 1024 * 1024;

Deno.test("each route passes on its path, query and body", async () => {
  const { call, fake } = fakeDaemon();
  const asked = async (method: string, target: string, body?: string) => {
    fake.calls.length = 0;
    const { status } = await call(method, target, body);
    return [status, ...fake.calls];
  };
  assertEquals(await asked("POST", "/v1/sandboxes", '{"name": "web"}'), [
    201,
    ["run", { name: "web", source: { kind: "new" } }, {}],
  ]);
  assertEquals(await asked("GET", "/v1/sandboxes"), [200, ["list", {}, {}]]);
  assertEquals(
    await asked("GET", "/v1/sandboxes?namespace=shop&state=ready&id=01&name=web&label=app=web,canary"),
    [200, ["list", {
      namespace: "shop",
      state: "ready",
      id: "01",
      name: "web",
      labels: { app: "web", canary: undefined },
    }, {}]],
  );
  assertEquals(await asked("GET", "/v1/sandboxes/we%62?namespace=shop"), [
    200,
    ["get", "web", { namespace: "shop" }],
  ]);
  assertEquals(await asked("GET", "/v1/sandboxes/web?stats=true"), [
    200,
    ["get", "web", {}],
    ["traffic", [SANDBOX], {}],
  ]);
  assertEquals(await asked("GET", "/v1/sandboxes?stats=true"), [
    200,
    ["list", {}, {}],
    ["traffic", [SANDBOX], {}],
  ]);
  assertEquals(await asked("POST", "/v1/sandboxes/web/stop"), [
    200,
    ["get", "web", {}],
    ["stop", SANDBOX.id, { missingOk: true }],
    ["get", SANDBOX.id],
  ]);
  assertEquals(fake.warnings, [`${SANDBOX.id} left on record: it stays`]);
  assertEquals(await asked("DELETE", "/v1/sandboxes/web?force=true"), [
    204,
    ["remove", "web", { force: true, missingOk: true }],
  ]);
  assertEquals(await asked("GET", "/v1/networks"), [200, ["networks", {}]]);
  for (const [body, mtu] of [['{"mtu": 1400}', 1400], ['{"mtu": null}', null]] as const) {
    assertEquals(await asked("POST", "/v1/networks/podwire", body), [
      200,
      ["setNetwork", "podwire", { mtu }, {}],
      ["inspectNetwork", "podwire", {}],
    ]);
  }
  for (const body of ["{}", '{"mtu": 0}', '{"mtu": "1400"}', '{"mtu": 1400, "vlan": 1}']) {
    assertEquals((await asked("POST", "/v1/networks/podwire", body))[0], 400, body);
  }
  assertEquals(await asked("GET", "/v1/attachments?container=c&network=n&failed=true"), [
    200,
    ["attachments", { failed: true, containerId: "c", network: "n" }],
  ]);
  assertEquals(await asked("GET", "/v1/status?network=n&fresh=true"), [
    200,
    ["status", { fresh: true, network: "n" }, {}],
  ]);
  assertEquals(await asked("POST", "/v1/attachments/c1/forget", '{"reason": "r", "network": "net"}'), [
    200,
    ["forget", { reason: "r", network: "net", containerId: "c1" }, {}],
  ]);
  assertEquals((await asked("POST", "/v1/attachments/c1/forget", "{}"))[0], 400);
  assertEquals(await asked("POST", "/v1/sandboxes/web/repair?namespace=prod", '{"dryRun": true}'), [
    200,
    ["repair", { sandbox: "web", dryRun: true, links: false, namespace: "prod" }, {}],
  ]);
  assertEquals(await asked("POST", "/v1/gc", '{"dryRun": true}'), [200, ["gc", { dryRun: true }, {}]]);
  assertEquals(await asked("POST", "/v1/recover", "{}"), [200, ["recover", {}]]);
});

Deno.test("an error is the same object as on the command line, with the status of its kind", async () => {
  const statuses: Partial<Record<ErrorKind, number>> = {
    usage: 400,
    config: 400,
    "not-found": 404,
    conflict: 409,
    "not-ready": 503,
    exhausted: 503,
    timeout: 504,
    permission: 500,
    plugin: 500,
    io: 500,
    internal: 500,
  };
  for (const [kind, status] of Object.entries(statuses)) {
    const error = new CniError(kind as ErrorKind, "no", { verb: "ADD", network: "net", hint: "h" });
    const { call } = fakeDaemon({ run: () => Promise.reject(error) });
    const answer = await call("POST", "/v1/sandboxes", "{}");
    assert(answer.text.endsWith("}\n"), "a terminal shows it as a line");
    assertEquals({ status: answer.status, json: answer.json }, {
      status,
      json: { error: JSON.parse(JSON.stringify(error)) },
    }, kind);
  }
});

Deno.test("a missing or unknown member of a body is refused with its path, line and column", async () => {
  const { call, fake } = fakeDaemon();
  const error = async (body: BodyInit) => {
    const { status, json } = await call("POST", "/v1/sandboxes", body);
    const { path, line, column, kind } = json.error;
    return [status, kind, path, line, column];
  };
  assertEquals(await error('{\n "nam": 1}'), [400, "usage", "nam", 2, 9]);
  assertEquals(await error('{"networks": [{}]}'), [400, "usage", "networks[0].name", 1, 15]);
  assertEquals(await error('{"name": "a", "name": "b"}').then((e) => e.slice(0, 2)), [400, "usage"]);
  assertEquals(await error("{").then((e) => e.slice(0, 2)), [400, "usage"]);
  assertEquals(await error(new Uint8Array([0x22, 0xff, 0x22])).then((e) => e.slice(0, 2)), [400, "usage"]);
  assertEquals(await error("[".repeat(100_000)).then((e) => e.slice(0, 2)), [400, "usage"]);
  assertEquals(fake.calls, [], "no call was made");
});

Deno.test("a body above the limit is refused without being read to its end", async () => {
  const { call } = fakeDaemon();
  const said = await call("POST", "/v1/sandboxes", "x".repeat(MIB + 1));
  assertEquals([said.status, said.headers.get("connection")], [413, "close"]);
  assertEquals((await call("POST", "/v1/sandboxes", " ".repeat(MIB))).status, 201);
  let sent = 0;
  const endless = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new Uint8Array(64 * 1024).fill(32, 0, ++sent && 64 * 1024)),
  });
  assertEquals((await call("POST", "/v1/sandboxes", endless)).status, 413);
  assert(sent < 40, `${sent} pieces were read`);
});

Deno.test("a body that does not arrive in time is refused", async () => {
  const { call } = fakeDaemon({}, { readMs: 50 });
  const { status, json } = await call("POST", "/v1/sandboxes", new ReadableStream<Uint8Array>());
  assertEquals({ status, kind: json.error.kind }, { status: 408, kind: "timeout" });
});

Deno.test("unknown paths, methods and members of the query are refused", async () => {
  const { call } = fakeDaemon();
  for (
    const target of [
      "/",
      "/v1",
      "/v1/sandboxes/",
      "/v2/sandboxes",
      "/v1/sandboxes/a/b",
      "/v1/sandboxes/a/stop/",
    ]
  ) {
    assertEquals((await call("GET", target)).status, 404, target);
  }
  const wrong = await call("PUT", "/v1/sandboxes", "{}");
  assertEquals([wrong.status, wrong.headers.get("allow")], [405, "POST, GET, HEAD"]);
  assertEquals((await call("GET", "/v1/sandboxes/a/stop")).headers.get("allow"), "POST");
  const bad = await call("GET", "/v1/sandboxes/%ff");
  assertEquals({ status: bad.status, kind: bad.json.error.kind }, { status: 400, kind: "usage" });
  for (const query of ["?nam=a", "?state=gone", "?name=a&name=b"]) {
    assertEquals((await call("GET", `/v1/sandboxes${query}`)).status, 400, query);
  }
});

Deno.test("HEAD is GET without a body, also for the events", async () => {
  const { call, fake } = fakeDaemon();
  for (const target of ["/v1/sandboxes", "/healthz", "/v1/events"]) {
    const { status, text } = await call("HEAD", target);
    assertEquals({ status, text }, { status: 200, text: "" }, target);
  }
  assertEquals(fake.hub.readers, 0);
});

Deno.test("a client that disconnects cancels its request", async () => {
  const begun = Promise.withResolvers<AbortSignal>();
  const { handler, lines } = fakeDaemon({
    run: (_, { signal }) =>
      new Promise((_, reject) => {
        begun.resolve(signal!);
        signal?.addEventListener("abort", () => reject(signal.reason));
      }),
  });
  const client = new AbortController();
  const request = new Request("http://podwire/v1/sandboxes", {
    method: "POST",
    body: "{}",
    signal: client.signal,
  });
  const answer = handler.handle(request);
  const signal = await begun.promise;
  assertEquals(signal.aborted, false);
  client.abort();
  assertEquals({ status: (await answer).status, underWay: handler.underWay }, { status: 499, underWay: 0 });
  assertEquals(lines.at(-1)?.[1]?.kind, "cancelled");
});

/** A run that lasts until the gate opens or its signal is aborted. */
function gate() {
  const open = Promise.withResolvers<void>();
  const run = (_: unknown, { signal }: CallOptions) =>
    new Promise<typeof SANDBOX>((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      signal?.addEventListener("abort", () => reject(signal.reason));
      void open.promise.then(() => resolve(SANDBOX));
    });
  return { run, open: open.resolve };
}

Deno.test("a request that takes too long is cancelled", async () => {
  const { call } = fakeDaemon({ run: gate().run }, { requestMs: 50 });
  const { status, json } = await call("POST", "/v1/sandboxes", "{}");
  assertEquals({ status, kind: json.error.kind }, { status: 504, kind: "timeout" });
});

Deno.test("requests above the limit are refused and may be retried; routes about the daemon itself always answer", async () => {
  const { run, open } = gate();
  const { call } = fakeDaemon({ run }, { maxRequests: 2 });
  const first = [call("POST", "/v1/sandboxes", "{}"), call("POST", "/v1/sandboxes", "{}")];
  const third = await call("POST", "/v1/sandboxes", "{}");
  assertEquals([third.status, third.json.error.kind, third.headers.get("retry-after")], [
    503,
    "not-ready",
    "1",
  ]);
  for (const target of ["/healthz", "/metrics", "/openapi.json"]) {
    assertEquals((await call("GET", target)).status, 200);
  }
  open();
  assertEquals((await Promise.all(first)).map(({ status }) => status), [201, 201]);
  assertEquals((await call("POST", "/v1/sandboxes", "{}")).status, 201);
});

Deno.test("while the daemon drains, running requests end and new ones are refused", async () => {
  const { run, open } = gate();
  const { call, handler } = fakeDaemon({ run });
  const first = call("POST", "/v1/sandboxes", "{}");
  let isDrained = false;
  const drained = handler.drained().then(() => isDrained = true);
  assertEquals((await call("POST", "/v1/sandboxes", "{}")).status, 503);
  assertEquals(isDrained, false);
  open();
  assertEquals((await first).status, 201);
  await drained;
});

Deno.test("a request that is cancelled at the end of the daemon may be retried", async () => {
  const { call, handler } = fakeDaemon({ run: gate().run });
  const first = call("POST", "/v1/sandboxes", "{}");
  const drained = handler.drained();
  handler.cancel();
  const { status, json } = await first;
  assertEquals({ status, msg: json.error.msg }, { status: 503, msg: "podwire is shutting down" });
  await drained;
});

Deno.test("each request is one line of the log and one count, with the pattern of its route", async () => {
  const { call, lines, served } = fakeDaemon();
  await call("GET", "/v1/sandboxes/web", undefined, { headers: { "x-request-id": "abc-1" } });
  await call("GET", "/v1/secret");
  assertEquals(lines.map(([msg]) => msg), ["request", "request"]);
  const [first, second] = lines.map(([, fields]) => fields ?? {});
  assertEquals({ method: first?.method, route: first?.route, status: first?.status, id: first?.id }, {
    method: "GET",
    route: "/v1/sandboxes/{id}",
    status: 200,
    id: "abc-1",
  });
  assertEquals({ route: second?.route, status: second?.status, kind: second?.kind }, {
    route: "-",
    status: 404,
    kind: "not-found",
  });
  assert(typeof first?.ms === "number" && first.ms >= 0);
  assertEquals(served.map(({ method, route, status }) => [method, route, status]), [
    ["GET", "/v1/sandboxes/{id}", 200],
    ["GET", "-", 404],
  ]);
});

Deno.test("a stream of events is logged when it begins, however long it lasts", async () => {
  const { handler, served, fake } = fakeDaemon();
  const { body } = await handler.handle(new Request("http://podwire/v1/events"));
  assertEquals(served.map(({ route, status }) => [route, status]), [["/v1/events", 200]]);
  assertEquals(fake.hub.readers, 1, "it is still open");
  await body?.cancel();
  assertEquals(served.length, 1);
});

Deno.test("a request has an ID: its own, if that can be logged", async () => {
  const { call } = fakeDaemon();
  const idOf = async (given?: string) => {
    const init = given === undefined ? {} : { headers: { "x-request-id": given } };
    return (await call("GET", "/healthz", undefined, init)).headers.get("x-request-id") ?? "";
  };
  assertEquals(await idOf("a.b:c-1"), "a.b:c-1");
  for (const bad of [undefined, "a b", "x".repeat(65)]) assertMatch(await idOf(bad), /^[0-9a-f]{16}$/);
  assertNotEquals(await idOf(), await idOf());
});
