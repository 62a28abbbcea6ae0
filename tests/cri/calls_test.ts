import { assertEquals, assertMatch } from "@std/assert";
import { ConnectError, type ServiceImpl } from "@connectrpc/connect";
import { AsyncLocalStorage } from "node:async_hooks";
import { CniError, ERROR_KINDS } from "../../lib/cni/error.ts";
import { CriCalls } from "../../lib/cri/calls.ts";
import { RuntimeService } from "../../lib/cri/generated/api_pb.ts";
import { asGrpcError, codeName, reasonOf } from "../../lib/cri/grpc_error.ts";
import { until } from "../until.ts";
import type { ServedCall } from "../../lib/cri/metrics.ts";
import type { SpanAttributes, Tracer } from "../../lib/host/telemetry.ts";
import { silentLogger } from "../../lib/host/log.ts";

const EMPTY = new Uint8Array(5);

/** A request of a method, as a transport hands it over. */
function requestOf(
  path: string,
  { signal = new AbortController().signal, headers = {} }: {
    readonly signal?: AbortSignal;
    readonly headers?: Record<string, string>;
  } = {},
) {
  const header = new Headers({ "content-type": "application/grpc", te: "trailers", ...headers });
  const url = `http://podwire${path}`;
  return { httpVersion: "2", method: "POST", url, header, body: ReadableStream.from([EMPTY]), signal };
}

async function statusOf(
  calls: CriCalls,
  request: ReturnType<typeof requestOf>,
): Promise<readonly [string, string]> {
  const { body, trailer } = await calls.answer(request);
  for await (const _ of body);
  return [codeName(Number(trailer.get("grpc-status"))), trailer.get("grpc-message") ?? ""];
}

function callsOf(
  implementation: Partial<ServiceImpl<typeof RuntimeService>>,
  { maxRequests = 4, requestMs = 60_000, tracer }: {
    readonly maxRequests?: number;
    readonly requestMs?: number;
    readonly tracer?: Tracer;
  } = {},
) {
  const served: Omit<ServedCall, "ms">[] = [];
  const calls = new CriCalls({
    routes: (router) => router.service(RuntimeService, implementation),
    log: silentLogger,
    maxRequests,
    requestMs,
    tracer,
    onServed: ({ method, code }) => served.push({ method, code }),
  });
  return { calls, served };
}

const VERSION = "/runtime.v1.RuntimeService/Version";
/** Runs until its signal fires. */
const waiting = (begun: () => void = () => {}) => (_: unknown, { signal }: { signal: AbortSignal }) => {
  const over = Promise.withResolvers<never>();
  signal.addEventListener("abort", () => over.reject(reasonOf(signal)));
  begun();
  return over.promise;
};

Deno.test("an error of podwire is one of gRPC, with the same words", async () => {
  const { calls, served } = callsOf({
    version: () => {
      throw new CniError("not-found", 'there is no "ä%"');
    },
  });
  assertEquals(await statusOf(calls, requestOf(VERSION)), ["NOT_FOUND", 'there is no "%C3%A4%25"']);
  assertEquals(served, [{ method: "Version", code: "NOT_FOUND" }]);
  for (const kind of ERROR_KINDS) {
    assertMatch(codeName(asGrpcError(new CniError(kind, "x")).code), /^[A-Z_]+$/);
  }
  assertEquals(asGrpcError(new Error("x")) instanceof ConnectError, true);
});

Deno.test("an unknown call says so, and one of an earlier version of the CRI names the version that is served", async () => {
  const { calls, served } = callsOf({});
  assertEquals(await statusOf(calls, requestOf("/runtime.v1alpha2.RuntimeService/Version")), [
    "UNIMPLEMENTED",
    "Cannot serve runtime.v1alpha2.RuntimeService: podwire serves version v1 of the CRI, runtime.v1",
  ]);
  assertEquals(await statusOf(calls, requestOf("/a.B/C")), [
    "UNIMPLEMENTED",
    'Cannot answer: podwire has no call "C" of the service "a.B"',
  ]);
  assertEquals(served.map(({ method }) => method), ["other", "other"]);
});

Deno.test("a call ends with its deadline, with its client, with the limit of the daemon, and with the daemon", async () => {
  const { calls, served } = callsOf({ version: waiting() }, { requestMs: 20 });
  const late = await statusOf(calls, requestOf(VERSION, { headers: { "grpc-timeout": "5m" } }));
  assertEquals(late, ["DEADLINE_EXCEEDED", "the deadline of the client has passed"]);
  assertEquals(await statusOf(calls, requestOf(VERSION)), [
    "DEADLINE_EXCEEDED",
    "the call took longer than 20 ms",
  ]);
  const leaving = new AbortController();
  const left = callsOf({ version: waiting(() => leaving.abort()) });
  assertEquals((await statusOf(left.calls, requestOf(VERSION, { signal: leaving.signal })))[0], "CANCELLED");
  const begun = Promise.withResolvers<void>();
  const ending = callsOf({ version: waiting(begun.resolve) });
  const running = statusOf(ending.calls, requestOf(VERSION));
  await begun.promise;
  assertEquals(ending.calls.underWay, 1);
  const drained = ending.calls.drained();
  assertEquals(await statusOf(ending.calls, requestOf(VERSION)), ["UNAVAILABLE", "podwire is shutting down"]);
  ending.calls.cancel();
  assertEquals((await running)[1], "podwire is shutting down");
  await drained;
  assertEquals({ served: served.length, underWay: ending.calls.underWay }, { served: 2, underWay: 0 });
});

Deno.test("a call whose client leaves before its request was read is cancelled, and not an error", async () => {
  const { calls, served } = callsOf({ version: () => ({}) });
  const body = ReadableStream.from(async function* () {
    yield EMPTY.slice(0, 3);
    throw new TypeError("request body receiver not connected");
  }());
  assertEquals(await statusOf(calls, { ...requestOf(VERSION), body }), ["CANCELLED", "the client has left"]);
  assertEquals(served, [{ method: "Version", code: "CANCELLED" }]);
});

Deno.test("more calls of one method than may run at once are refused, and others are not", async () => {
  const go = Promise.withResolvers<void>();
  const { calls } = callsOf({
    version: async () => {
      await go.promise;
      return {};
    },
    status: () => ({}),
  }, { maxRequests: 2 });
  const two = [requestOf(VERSION), requestOf(VERSION)].map((request) => statusOf(calls, request));
  assertEquals((await statusOf(calls, requestOf(VERSION)))[0], "UNAVAILABLE");
  assertEquals((await statusOf(calls, requestOf("/runtime.v1.RuntimeService/Status")))[0], "OK");
  go.resolve();
  assertEquals((await Promise.all(two)).map(([code]) => code), ["OK", "OK"]);
});

/** What a span of {@linkcode recordingTracer} has become. */
interface Recorded {
  readonly name: string;
  readonly caller: string;
  /** The name of the span in which it began. */
  readonly parent: string | undefined;
  readonly attributes: SpanAttributes;
  readonly problem: string | undefined;
}

/** Records spans as the one of Deno does: one that begins while another one is active is inside of it. */
function recordingTracer() {
  const active = new AsyncLocalStorage<string>();
  const recorded: Recorded[] = [];
  const tracer: Tracer = {
    async span(name, attributes, body, caller = "") {
      const all = { ...attributes };
      const parent = active.getStore();
      let problem: string | undefined;
      try {
        return await active.run(
          name,
          () => body({ environment: {}, note: (more) => void Object.assign(all, more) }),
        );
      } catch (error) {
        problem = error instanceof Error ? error.message : String(error);
        throw error;
      } finally {
        recorded.push({ name, caller, parent, attributes: all, problem });
      }
    },
  };
  return { tracer, recorded };
}

const SPAN = { "rpc.system": "grpc", "rpc.service": "runtime.v1.RuntimeService" };
const CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

Deno.test("each call is a span of its client's trace with the sandbox and the status, and the runtime's are inside", async () => {
  const { tracer, recorded } = recordingTracer();
  const { calls } = callsOf({
    runPodSandbox: async () => {
      await tracer.span("podwire run", {}, () => Promise.resolve());
      return { podSandboxId: "made" };
    },
    stopPodSandbox: () => {
      throw new CniError("not-ready", "a plugin is not there");
    },
  }, { tracer });
  const path = (method: string) => `/runtime.v1.RuntimeService/${method}`;
  assertEquals(
    await statusOf(calls, requestOf(path("RunPodSandbox"), { headers: { traceparent: CALLER } })),
    [
      "OK",
      "",
    ],
  );
  await statusOf(calls, requestOf(path("StopPodSandbox")));
  await statusOf(calls, requestOf(path("Wrong")));
  assertEquals(recorded, [
    { name: "podwire run", caller: "", parent: "CRI RunPodSandbox", attributes: {}, problem: undefined },
    {
      name: "CRI RunPodSandbox",
      caller: CALLER,
      parent: undefined,
      attributes: {
        ...SPAN,
        "rpc.method": "RunPodSandbox",
        "podwire.sandbox_id": "made",
        "rpc.grpc.status_code": 0,
      },
      problem: undefined,
    },
    {
      name: "CRI StopPodSandbox",
      caller: "",
      parent: undefined,
      attributes: { ...SPAN, "rpc.method": "StopPodSandbox", "rpc.grpc.status_code": 14 },
      problem: "a plugin is not there",
    },
    {
      name: "CRI other",
      caller: "",
      parent: undefined,
      attributes: { ...SPAN, "rpc.service": "other", "rpc.method": "other", "rpc.grpc.status_code": 12 },
      problem: 'Cannot answer: podwire has no call "Wrong" of the service "runtime.v1.RuntimeService"',
    },
  ]);
});

Deno.test("the span of a stream ends with the stream, also if its client leaves before", async () => {
  const { tracer, recorded } = recordingTracer();
  const open = Promise.withResolvers<void>();
  const { calls } = callsOf({
    getContainerEvents: async function* () {
      yield { containerId: "one" };
      await open.promise;
    },
  }, { tracer });
  const EVENTS = "/runtime.v1.RuntimeService/GetContainerEvents";
  const whole = await calls.answer(requestOf(EVENTS));
  const reading = Array.fromAsync(whole.body);
  assertEquals(recorded, []);
  const leaving = new AbortController();
  await calls.answer(requestOf(EVENTS, { signal: leaving.signal }));
  leaving.abort();
  open.resolve();
  assertEquals((await reading).length, 1);
  await until(() => recorded.length === 2);
  assertEquals(recorded.map(({ name }) => name), ["CRI GetContainerEvents", "CRI GetContainerEvents"]);
  assertEquals(calls.underWay, 0);
});
