// Events of plugin calls, operations and lock waits for an observer and a tracer.
import { assert, assertEquals, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { SPEC_VERSIONS } from "../../lib/cni/version.ts";
import type { SpanAttributes, Tracer } from "../../lib/host/telemetry.ts";
import { Deadline } from "../../lib/plugin/deadline.ts";
import { PluginRunner, type PluginRunnerOptions } from "../../lib/plugin/exec.ts";
import {
  Instrumentation,
  type LockWaitEvent,
  type Observer,
  type OperationEvent,
  type PluginCallEvent,
} from "../../lib/plugin/instrumentation.ts";
import type { Plugin } from "../../lib/plugin/serve.ts";
import { Locks } from "../../lib/state/locks.ts";
import { FakeRun } from "../fake_run.ts";
import { callOf as callOfAny, failing } from "./plugin_call.ts";

class EventList implements Observer {
  readonly calls: PluginCallEvent[] = [];
  readonly waits: LockWaitEvent[] = [];
  readonly operations: OperationEvent[] = [];
  onPluginCall(event: PluginCallEvent): void {
    this.calls.push(event);
  }
  onLockWait(event: LockWaitEvent): void {
    this.waits.push(event);
  }
  onOperation(event: OperationEvent): void {
    this.operations.push(event);
  }
}

interface RecordedSpan {
  readonly name: string;
  readonly parent: string | undefined;
  readonly attributes: SpanAttributes;
}

/** Spans in memory. Spans of concurrent work would need a context that follows the calls. */
class SpanList implements Tracer {
  readonly spans: RecordedSpan[] = [];
  readonly #open: string[] = [];

  async span<T>(name: string, attributes: SpanAttributes, body: Parameters<Tracer["span"]>[2]): Promise<T> {
    const parent = this.#open.at(-1);
    let noted = attributes;
    this.#open.push(name);
    try {
      const environment = { TRACEPARENT: `00-trace-${this.#open.length}-01` };
      return await body({ environment, note: (more) => noted = { ...noted, ...more } }) as T;
    } finally {
      this.#open.pop();
      this.spans.push({ name, parent, attributes: noted });
    }
  }
}

/** The plugin type is `sh`, because every machine has it. The fake does not run it. */
const callOf: typeof callOfAny = (overrides = {}) => callOfAny({ type: "sh", ...overrides });
const LATER = { code: 1, stdout: '{"code": 11, "msg": "the daemon starts"}' };

function runnerOf(
  run: FakeRun,
  observer: Observer,
  options: Partial<PluginRunnerOptions> = {},
): PluginRunner {
  return new PluginRunner({
    pluginDirs: ["/bin"],
    run: run.run,
    instrumentation: new Instrumentation({ observer }),
    ...options,
  });
}

/** The event without its time, which differs from run to run. */
function untimed({ ms, ...rest }: PluginCallEvent): Omit<PluginCallEvent, "ms"> {
  assert(ms >= 0 && Number.isFinite(ms));
  return rest;
}

Deno.test("the event of a call has verb, network, plugin, container and outcome", async () => {
  const observer = new EventList();
  const refused = { code: 1, stdout: '{"code": 5, "msg": "no"}' };
  const runner = runnerOf(new FakeRun([{ stdout: "{}" }, refused, { stdout: "{}" }]), observer);
  await runner.call(callOf());
  await failing(() => runner.call(callOf({ verb: "DEL", containerId: "c2" })));
  await failing(() => runner.call(callOf({ type: "absent" })));
  await runner.call(callOf({ verb: "VERSION", containerId: "", config: { cniVersion: "1.1.0" } }));
  const call = {
    verb: "ADD",
    network: "web",
    type: "sh",
    containerId: "c1",
    outcome: "ok",
    retries: 0,
  } as const;
  assertEquals(observer.calls.map(untimed), [
    call,
    { ...call, verb: "DEL", containerId: "c2", outcome: "plugin" },
    { ...call, type: "absent", outcome: "plugin-missing" },
    { ...call, verb: "VERSION", network: "", containerId: "" },
  ]);
});

Deno.test("a call that is retried gives one event, with the number of its retries", async () => {
  const observer = new EventList();
  await runnerOf(new FakeRun([LATER, LATER, { stdout: "{}" }]), observer).call(callOf());
  assertEquals(observer.calls.map(({ outcome, retries }) => [outcome, retries]), [["ok", 2]]);
  assert((observer.calls[0]?.ms ?? 0) >= 250, "the delays of 100 and 200 ms belong to the call");
});

Deno.test("a call that was retried until its time limit expired has the outcome timeout", async () => {
  const observer = new EventList();
  using deadline = new Deadline(1_500);
  const run = new FakeRun([LATER]);
  await failing(() => runnerOf(run, observer).call(callOf({ signal: deadline.signal })));
  const retries = run.requests.length - 1;
  assert(retries >= 1);
  assertEquals(observer.calls.map(({ outcome, retries }) => [outcome, retries]), [["timeout", retries]]);
});

Deno.test("a built-in and its delegate each give an event of their own", async () => {
  const observer = new EventList();
  const about = { about: "CNI plugin", versions: SPEC_VERSIONS };
  const outer: Plugin = {
    ...about,
    verbs: {
      ADD: async ({ config, delegate }) =>
        await delegate("inner", { ...config, type: "inner" }) ?? { cniVersion: "1.1.0" },
    },
  };
  const inner: Plugin = {
    ...about,
    verbs: { ADD: () => Promise.reject(new CniError("plugin", "no address left")) },
  };
  const runner = runnerOf(new FakeRun(), observer, { pluginDirs: [], builtins: { outer, inner } });
  await failing(() => runner.call(callOf({ type: "outer" })));
  assertEquals(observer.calls.map(({ type, outcome, network }) => [type, outcome, network]), [
    ["inner", "plugin", "web"],
    ["outer", "plugin", "web"],
  ]);
});

Deno.test("an observer that throws changes nothing", async () => {
  const broken: Observer = {
    onPluginCall: () => {
      throw new Error("broken");
    },
    onOperation: () => {
      throw new Error("broken");
    },
  };
  assertEquals(await runnerOf(new FakeRun([{ stdout: "{}" }]), broken).call(callOf()), "{}");
  const error = await failing(() =>
    new Instrumentation({ observer: broken }).operation(
      "run",
      {},
      () => Promise.reject(new CniError("conflict", "taken")),
    )
  );
  assertEquals(error.msg, "taken");
});

Deno.test("the event of an operation has its kind of error", async () => {
  const observer = new EventList();
  const instrumentation = new Instrumentation({ observer });
  assertEquals(await instrumentation.operation("stop", {}, () => Promise.resolve(7)), 7);
  await assertRejects(() =>
    instrumentation.operation("gc", {}, () => Promise.reject(new Error("disk on fire")))
  );
  assertEquals(observer.operations.map(({ operation, outcome }) => [operation, outcome]), [["stop", "ok"], [
    "gc",
    "io",
  ]]);
});

Deno.test("each wait for a lock gives an event with its kind and time, also a wait that fails", async () => {
  const dir = await Deno.makeTempDir({ prefix: "podwire-observe-" });
  try {
    const observer = new EventList();
    const locks = new Locks(`${dir}/run`, { instrumentation: new Instrumentation({ observer }) });
    for (const take of [locks.machine.boot, locks.machine.names, locks.machine.ports]) {
      (await take.call(locks.machine))[Symbol.dispose]();
    }
    (await locks.networks.share("web"))[Symbol.dispose]();
    {
      await using _lock = await locks.containers.hold("c1");
      const inVain = locks.containers.hold("c1", AbortSignal.timeout(50));
      await assertRejects(() => inVain, DOMException);
    }
    assertEquals(observer.waits.map(({ lock }) => lock), [
      "boot",
      "names",
      "ports",
      "gc",
      "container",
      "container",
    ]);
    assert((observer.waits.at(-1)?.ms ?? 0) >= 45);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("a plugin gets the span of its call in place of an inherited one", async () => {
  const run = new FakeRun([{ stdout: "{}" }, { stdout: "{}" }]);
  const tracer = new SpanList();
  const environment = { TRACEPARENT: "00-of-the-caller", TRACESTATE: "of=caller", LANG: "C" };
  const instrumentation = new Instrumentation({ tracer });
  const runner = new PluginRunner({ pluginDirs: ["/bin"], run: run.run, environment, instrumentation });
  await instrumentation.operation("run", { "podwire.sandbox": "s" }, () => runner.call(callOf()));
  const traced = run.requests[0]?.env ?? {};
  assertEquals({ TRACEPARENT: traced.TRACEPARENT, TRACESTATE: traced.TRACESTATE, LANG: traced.LANG }, {
    TRACEPARENT: "00-trace-2-01",
    TRACESTATE: undefined,
    LANG: "C",
  });
  assertEquals(tracer.spans, [
    {
      name: "CNI ADD sh",
      parent: "podwire run",
      attributes: {
        "cni.verb": "ADD",
        "cni.plugin": "sh",
        "cni.network": "web",
        "cni.container_id": "c1",
        "podwire.outcome": "ok",
        "podwire.retries": 0,
      },
    },
    {
      name: "podwire run",
      parent: undefined,
      attributes: { "podwire.sandbox": "s", "podwire.outcome": "ok" },
    },
  ]);
  await new PluginRunner({ pluginDirs: ["/bin"], run: run.run, environment }).call(callOf());
  const inherited = run.requests[1]?.env ?? {};
  assertEquals({ TRACEPARENT: inherited.TRACEPARENT, TRACESTATE: inherited.TRACESTATE }, {
    TRACEPARENT: "00-of-the-caller",
    TRACESTATE: "of=caller",
  });
});
