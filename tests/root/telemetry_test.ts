// Spans as a receiver of OpenTelemetry's protocol gets them from the program, run by Deno with
// OTEL_DENO=true.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { runCommand } from "../../lib/host/command.ts";
import { CRI_CLIENT, podConfig } from "../cri/cri_world.ts";
import { GrpcClient } from "../cri/grpc_client.ts";
import { isThere, until, withoutWaiting } from "./binary_world.ts";
import { type Component, need, PODWIRE_BINARY } from "./need.ts";
import { REFUSAL, SandboxWorld } from "./sandbox_world.ts";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));
const TRACE = "0af7651916cd43dd8448eb211c80319c";
const CALLER = "b7ad6b7169203331";

interface ReceivedSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly status: { readonly code: number; readonly message: string };
  readonly attributes: readonly { readonly key: string; readonly value: Readonly<Record<string, unknown>> }[];
}

/** What an OTLP/HTTP receiver on this machine was sent. */
class Receiver implements AsyncDisposable {
  readonly spans: ReceivedSpan[] = [];
  readonly #server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const body = await request.json();
    for (const { scopeSpans } of body.resourceSpans ?? []) {
      for (const { scope, spans } of scopeSpans) if (scope.name === "podwire") this.spans.push(...spans);
    }
    return Response.json({});
  });

  get environment(): Record<string, string> {
    return {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${this.#server.addr.port}`,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
    };
  }

  named(name: string): ReceivedSpan {
    const found = this.spans.filter((span) => span.name === name);
    assertEquals(found.length, 1, `${name} among ${this.spans.map(({ name }) => name)}`);
    return found[0]!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

/** The command that is the program, run by Deno. */
function commandOf(
  world: SandboxWorld,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  permissions = "-P=podwire",
) {
  const { confDir, stateDir, netnsDir, dir, plugins } = world;
  const dirs = {
    "conf-dir": confDir,
    "state-dir": stateDir,
    "netns-dir": netnsDir,
    "cache-dir": `${dir}/cache`,
  };
  return {
    program: "sh",
    args: [
      `${ROOT}denow`,
      ...["run", "-q", "--no-prompt", permissions, `${ROOT}cli.ts`],
      ...Object.entries(dirs).map(([name, value]) => `--${name}=${value}`),
      `--plugin-dir=${plugins.dir}`,
      ...args,
    ],
    env: { ...Deno.env.toObject(), ...env },
    cwd: ROOT,
  };
}

/** The program, run by Deno. */
async function podwire(world: SandboxWorld, args: readonly string[], env: Readonly<Record<string, string>>) {
  return await runCommand(commandOf(world, args, env));
}

function tracingTest(
  name: string,
  fn: (world: SandboxWorld, receiver: Receiver) => Promise<void>,
  components: readonly Component[] = [],
): void {
  Deno.test({
    name,
    ...need("root", ...components),
    fn: async () => {
      await using world = await SandboxWorld.make();
      await using receiver = new Receiver();
      await fn(world, receiver);
    },
  });
}

tracingTest(
  "an operation and its plugin calls are spans, and each plugin gets its own span",
  async (world, receiver) => {
    const web = await world.network("web");
    const id = world.id("traced");
    const run = await podwire(world, ["run", "traced", "--id", id, "--network", "web"], {
      OTEL_DENO: "true",
      ...receiver.environment,
      TRACEPARENT: `00-${TRACE}-${CALLER}-01`,
      TRACESTATE: "vendor=value",
    });
    assertEquals({ code: run.code, withoutWaiting: withoutWaiting(run.stderr) }, {
      code: 0,
      withoutWaiting: "",
    });
    const operation = receiver.named("podwire run");
    const add = receiver.named("CNI ADD web");
    assertEquals({ traceId: operation.traceId, parentSpanId: operation.parentSpanId }, {
      traceId: TRACE,
      parentSpanId: CALLER,
    });
    assertEquals({ traceId: add.traceId, parentSpanId: add.parentSpanId }, {
      traceId: TRACE,
      parentSpanId: operation.spanId,
    });
    const attributes = Object.fromEntries(
      add.attributes.map(({ key, value }) => [key, Object.values(value)[0]]),
    );
    assertEquals(attributes, {
      "cni.verb": "ADD",
      "cni.plugin": "web",
      "cni.network": "web",
      "cni.container_id": id,
      "podwire.outcome": "ok",
      "podwire.retries": 0,
    });
    for (const { verb, env } of await web.calls()) {
      const span = receiver.named(`CNI ${verb} web`);
      assertEquals(env.TRACEPARENT, `00-${TRACE}-${span.spanId}-01`);
      assertEquals(env.TRACESTATE, "vendor=value");
    }
    assertEquals((await podwire(world, ["rm", "traced"], {})).code, 0);
  },
);

tracingTest(
  "without a caller's trace a new one begins, and a failure is in all spans on its way",
  async (world, receiver) => {
    const bad = await world.network("bad", { ADD: REFUSAL });
    const run = await podwire(world, ["run", "traced", "--id", world.id("traced")], {
      OTEL_DENO: "true",
      ...receiver.environment,
      TRACEPARENT: "nonsense",
      TRACESTATE: "vendor=value",
    });
    assertEquals(run.code, 1, run.stderr);
    const operation = receiver.named("podwire run");
    assertMatch(operation.traceId, /^[\da-f]{32}$/);
    assertEquals(operation.parentSpanId, "");
    assertEquals(operation.status.code, 2);
    assertMatch(operation.status.message, /no room/);
    const add = receiver.named("CNI ADD bad");
    const del = receiver.named("CNI DEL bad");
    assertEquals([add, del].map(({ traceId }) => traceId), [operation.traceId, operation.traceId]);
    assertEquals([add.status.code, del.status.code], [2, 0]);
    const [call] = (await bad.calls()).filter(({ verb }) => verb === "ADD");
    assertEquals(call?.env.TRACEPARENT, `00-${operation.traceId}-${add.spanId}-01`);
    assertEquals(call?.env.TRACESTATE, undefined, "it belongs to a trace that is none");
  },
);

tracingTest(
  "nothing is sent without a request, and inherited context is passed on",
  async (world, receiver) => {
    const web = await world.network("web");
    const unsampled = `00-${TRACE}-${CALLER}-00`;
    const off = await podwire(world, ["status"], {
      ...receiver.environment,
      TRACEPARENT: `00-${TRACE}-${CALLER}-01`,
    });
    const notRecorded = await podwire(world, ["status"], {
      OTEL_DENO: "true",
      ...receiver.environment,
      TRACEPARENT: unsampled,
      TRACESTATE: "vendor=value",
    });
    assertEquals({ offCode: off.code, notRecordedCode: notRecorded.code }, {
      offCode: 0,
      notRecordedCode: 0,
    });
    assertEquals(receiver.spans, []);
    const seen = (await web.calls()).filter(({ verb }) => verb === "STATUS").map(({ env }) => env);
    assertEquals(seen.map((env) => env.TRACEPARENT), [`00-${TRACE}-${CALLER}-01`, unsampled]);
    assert(seen[1]?.TRACESTATE === "vendor=value");
  },
);

tracingTest(
  "a call of the CRI is a span in the trace of its client, with what the runtime does for it inside",
  async (world, receiver) => {
    await world.network("web");
    const socket = `${world.dir}/cri.sock`;
    const { program, ...options } = commandOf(
      world,
      ["serve", `--socket=${world.dir}/podwire.sock`, `--cri=${socket}`],
      { OTEL_DENO: "true", ...receiver.environment },
      // Newer versions of Deno ask for each socket.
      "--allow-all",
    );
    const daemon = new Deno.Command(program, { ...options, stdout: "null", stderr: "null" }).spawn();
    let id = "";
    try {
      await until("the CRI is served", () => isThere(socket));
      await using client = GrpcClient.start(socket);
      const metadata = { traceparent: `00-${TRACE}-${CALLER}-01` };
      const run = await client.ok("RunPodSandbox", { config: podConfig("traced") }, { metadata });
      id = run.pod_sandbox_id;
      await client.ok("RemovePodSandbox", { pod_sandbox_id: id });
    } finally {
      daemon.kill("SIGTERM");
      await daemon.status;
    }
    const call = receiver.named("CRI RunPodSandbox");
    const operation = receiver.named("podwire run");
    const add = receiver.named("CNI ADD web");
    assertEquals([call.traceId, operation.traceId, add.traceId], [TRACE, TRACE, TRACE]);
    assertEquals([call.parentSpanId, operation.parentSpanId, add.parentSpanId], [
      CALLER,
      call.spanId,
      operation.spanId,
    ]);
    const texts = call.attributes.map(({ key, value }) => `${key}=${Object.values(value)[0]}`);
    assertEquals(texts.toSorted(), [
      `podwire.sandbox_id=${id}`,
      "rpc.grpc.status_code=0",
      "rpc.method=RunPodSandbox",
      "rpc.service=runtime.v1.RuntimeService",
      "rpc.system=grpc",
    ]);
    // A call without a trace of its client begins one.
    const remove = receiver.named("CRI RemovePodSandbox");
    assertMatch(remove.traceId, /^[\da-f]{32}$/);
    assert(remove.traceId !== TRACE);
    assertEquals(receiver.named("podwire remove").parentSpanId, remove.spanId);
  },
  CRI_CLIENT,
);

/** Lets a compiled program ask for the status, in an environment that enables spans. */
async function status(program: string, world: SandboxWorld, receiver: Receiver) {
  const { code, stderr } = await runCommand({
    program,
    args: [
      "status",
      `--conf-dir=${world.confDir}`,
      `--state-dir=${world.stateDir}`,
      `--plugin-dir=${world.plugins.dir}`,
    ],
    env: { OTEL_DENO: "true", ...receiver.environment, TRACEPARENT: `00-${TRACE}-${CALLER}-01` },
  });
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
}

// Deno 2.7.11 decides when a program is compiled whether it traces, by the environment of the compiler.
tracingTest(
  "the compiled program sends nothing, and passes on the context that it inherits",
  async (world, receiver) => {
    const web = await world.network("web");
    await status(PODWIRE_BINARY, world, receiver);
    assertEquals(receiver.spans, []);
    const seen = (await web.calls()).map(({ env }) => env.TRACEPARENT);
    assertEquals(new Set(seen), new Set([`00-${TRACE}-${CALLER}-01`]));
  },
  ["binary"],
);

tracingTest("compiled for that, it sends its spans", async (world, receiver) => {
  const web = await world.network("web");
  const args = ["run", "-q", "--no-prompt", "-P=test", `${ROOT}.ci/compile.ts`, "--otel", "--if-older"];
  // Whichever Deno runs this test: there is a base for the pinned one only.
  const env = { ...Deno.env.toObject(), DENOW_VERSION: "pinned" };
  const { code, stderr } = await runCommand({ program: "sh", args: [`${ROOT}denow`, ...args], env });
  assertEquals(code, 0, stderr);
  const program = `${ROOT}dist/podwire-otel`;
  await status(program, world, receiver);
  const asked = receiver.named("CNI STATUS web");
  assertEquals({ traceId: asked.traceId, code: asked.status.code }, { traceId: TRACE, code: 0 });
  const [call] = (await web.calls()).filter(({ verb }) => verb === "STATUS");
  assertEquals(call?.env.TRACEPARENT, `00-${TRACE}-${asked.spanId}-01`);
}, ["binary"]);
