import { assert, assertEquals, assertRejects } from "@std/assert";
import { createLogger } from "../../lib/host/log.ts";
import { EngineConnection, type EngineConnectionOptions } from "../../lib/nri/engine_connection.ts";
import type { EnginePod } from "../../lib/nri/engine_pod.ts";
import {
  CreateContainerRequestSchema,
  Event,
  StateChangeEventSchema,
  SynchronizeRequestSchema,
} from "../../lib/nri/generated/api_pb.ts";
import { PodNetworks } from "../../lib/nri/pod_networks.ts";
import { TtrpcError } from "../../lib/nri/ttrpc.ts";
import { inTempDir } from "../temp_dir.ts";
import { until } from "../until.ts";
import {
  callPlugin,
  configure,
  type ConnectedPlugin,
  enginePod,
  FakeEngine,
  synchronize,
} from "./fake_engine.ts";
import { FakeRuntime } from "./fake_runtime.ts";

/** Records what the pods are asked. */
class RecordedPods {
  requestMs = 0;
  readonly calls: string[] = [];
  synchronized: readonly EnginePod[][] = [];

  begin({ id }: EnginePod): void {
    this.calls.push(`begin ${id}`);
  }
  requireAttached({ id }: EnginePod): Promise<void> {
    this.calls.push(`fence ${id}`);
    return Promise.resolve();
  }
  end({ id }: EnginePod): Promise<void> {
    this.calls.push(`end ${id}`);
    return Promise.resolve();
  }
  synchronize(pods: readonly EnginePod[]): Promise<void> {
    this.synchronized = [...this.synchronized, [...pods]];
    return Promise.resolve();
  }
}

interface World {
  readonly dir: string;
  readonly socket: string;
  readonly pods: RecordedPods;
  readonly lines: string[];
  readonly connected: boolean[];
  readonly options: EngineConnectionOptions;
}

async function inWorld(body: (world: World) => Promise<void>): Promise<void> {
  await inTempDir(async (dir) => {
    const [pods, lines, connected] = [new RecordedPods(), [] as string[], [] as boolean[]];
    await Deno.mkdir(`${dir}/netns`);
    await body({
      ...{ dir, socket: `${dir}/nri.sock`, pods, lines, connected },
      options: {
        ...{ socket: `${dir}/nri.sock`, index: "07", name: "podwire", pods, netnsDir: `${dir}/netns` },
        log: createLogger({ level: "debug", write: (line) => lines.push(line) }),
        onConnected: (isConnected) => connected.push(isConnected),
        onEngine: () => {},
      },
    });
  });
}

/** Lets each plugin that registers be configured, and synchronized with no pods. */
function welcome(engine: FakeEngine): void {
  engine.onPlugin = async (plugin: ConnectedPlugin) => {
    await configure(plugin, 2_000);
    await synchronize(plugin, []);
  };
}

const BOTH = [
  Event.RUN_POD_SANDBOX,
  Event.STOP_POD_SANDBOX,
  Event.REMOVE_POD_SANDBOX,
  Event.CREATE_CONTAINER,
];

Deno.test("it registers under its name and index, and wants the events of pods and new containers alone", () =>
  inWorld(async ({ socket, options, pods, connected }) => {
    await using engine = new FakeEngine(socket);
    await using connection = new EngineConnection(options);
    await until(() => engine.plugins.length === 1);
    const [plugin] = engine.plugins;
    if (plugin === undefined) throw new Error("there is no plugin");
    assertEquals(plugin.registered, { name: "podwire", index: "07" });
    const events = await configure(plugin, 1_234);
    assertEquals(events, BOTH.reduce((mask, event) => mask | 1 << event - 1, 0));
    assertEquals({ ms: pods.requestMs, connected }, { ms: 1_234, connected: [] });
    assert(connection.problem !== undefined);
    assertEquals(await synchronize(plugin, []), { more: false, updates: 0 });
    await until(() => connected.length === 1);
    assertEquals({ connected, problem: connection.problem }, { connected: [true], problem: undefined });
  }));

Deno.test("pods that come in parts are acknowledged before anything is done, and are then known at once", () =>
  inWorld(async ({ socket, options, pods }) => {
    await using engine = new FakeEngine(socket);
    await using _connection = new EngineConnection(options);
    await until(() => engine.plugins.length === 1);
    const [plugin] = engine.plugins;
    if (plugin === undefined) throw new Error("there is no plugin");
    await configure(plugin, 2_000);
    // 500 pods with much text: more than fits into one message.
    const all = Array.from({ length: 500 }, (_, at) => enginePod(`pod-${at}`, { text: "x".repeat(20_000) }));
    for (let at = 0; at < 500; at += 100) {
      const part = all.slice(at, at + 100);
      assertEquals(await synchronize(plugin, part, at < 400), { more: at < 400, updates: 0 });
      if (at < 400) assertEquals(pods.synchronized, []);
    }
    await until(() => pods.synchronized.length === 1);
    assertEquals(pods.synchronized[0]?.map(({ id }) => id), all.map(({ id }) => id));
  }));

Deno.test("pod events come as state changes and as calls of their own; other calls are not served", () =>
  inWorld(async ({ socket, options, pods }) => {
    await using engine = new FakeEngine(socket);
    welcome(engine);
    await using connection = new EngineConnection(options);
    await until(() => connection.problem === undefined);
    const [plugin] = engine.plugins;
    if (plugin === undefined) throw new Error("there is no plugin");
    const pod = enginePod("p");
    for (const event of [Event.RUN_POD_SANDBOX, Event.STOP_POD_SANDBOX, Event.REMOVE_POD_SANDBOX]) {
      await callPlugin(plugin, "StateChange", StateChangeEventSchema, { event, pod });
    }
    await callPlugin(plugin, "StateChange", StateChangeEventSchema, { event: Event.START_CONTAINER, pod });
    await callPlugin(plugin, "StateChange", StateChangeEventSchema, { event: Event.RUN_POD_SANDBOX });
    // The requests of the newer calls have the pod in the same place.
    for (const method of ["RunPodSandbox", "StopPodSandbox", "RemovePodSandbox", "CreateContainer"]) {
      await callPlugin(plugin, method, CreateContainerRequestSchema, { pod });
    }
    await callPlugin(plugin, "Shutdown", CreateContainerRequestSchema, {});
    const calls = ["begin p", "end p", "end p"];
    assertEquals(pods.calls, [...calls, ...calls, "fence p"]);
    const unknown = () => callPlugin(plugin, "UpdateContainer", SynchronizeRequestSchema, {});
    assertEquals((await assertRejects(unknown, TtrpcError)).code, 12);
    const service = { service: "other", method: "Configure", payload: new Uint8Array() };
    assertEquals((await assertRejects(() => plugin.peer.call(service), TtrpcError)).code, 12);
    const broken = {
      service: "nri.pkg.api.v1alpha1.Plugin",
      method: "Synchronize",
      payload: Uint8Array.of(255),
    };
    assertEquals((await assertRejects(() => plugin.peer.call(broken), TtrpcError)).code, 3);
  }));

Deno.test("the refusal of a container says that it is podwire's, and leaves the connection", () =>
  inWorld(async ({ socket, options }) => {
    await using engine = new FakeEngine(socket);
    welcome(engine);
    const pods = new PodNetworks(new FakeRuntime().options());
    await using connection = new EngineConnection({ ...options, pods });
    await until(() => connection.problem === undefined);
    const [plugin] = engine.plugins;
    if (plugin === undefined) throw new Error("there is no plugin");
    const create = (name: string) =>
      callPlugin(plugin, "CreateContainer", CreateContainerRequestSchema, {
        pod: enginePod(name, { "podwire.dev/networks": name }),
      });
    const { message } = await assertRejects(() => create("other"), TtrpcError);
    assert(message.startsWith('podwire: the pod "shop/other" is not attached to its networks: '), message);
    await create("back");
    assertEquals(connection.problem, undefined);
  }));

Deno.test("it registers again after the end of a connection, and when an engine comes late", () =>
  inWorld(async ({ socket, options, connected, lines }) => {
    await using connection = new EngineConnection(options);
    await until(() => lines.some((line) => line.startsWith("error: Cannot register as a plugin: ")));
    const [absent = ""] = lines.filter((line) => line.startsWith("error: "));
    for (const word of [socket, "disable = false", "enable_nri = true", "--socket", `test -S ${socket}`]) {
      assert(absent.includes(word), `${word} is not in ${absent}`);
    }
    assertEquals(connection.problem, `no container engine offers NRI at ${socket}`);
    await using engine = new FakeEngine(socket);
    welcome(engine);
    await until(() => connected.length === 1);
    engine.plugins[0]?.peer[Symbol.dispose]();
    await until(() => connected.length === 3);
    assertEquals({ connected, plugins: engine.plugins.length }, {
      connected: [true, false, true],
      plugins: 2,
    });
    assertEquals(lines.filter((line) => line.startsWith("error: ")).length, 1, "it complains once");
  }));

Deno.test("an engine that takes the registration and sends no pods is left, and asked again", () =>
  inWorld(async ({ socket, options, connected, lines }) => {
    await using engine = new FakeEngine(socket);
    await using _connection = new EngineConnection({ ...options, registrationMs: 50 });
    await until(() => engine.plugins.length === 2);
    assertEquals(connected.includes(true), false);
    assert(
      lines.some((line) => line.includes("the engine sent no list of pods within 50 ms")),
      lines.join(""),
    );
  }));

Deno.test("an engine that is silent while pods come and go is left, and asked again", () =>
  inWorld(async ({ dir, socket, options, connected, lines }) => {
    await using engine = new FakeEngine(socket);
    welcome(engine);
    await using connection = new EngineConnection({ ...options, silenceMs: 300 });
    await until(() => connection.problem === undefined);
    const [plugin] = engine.plugins;
    if (plugin === undefined) throw new Error("there is no plugin");
    const isQuiet = () => !lines.some((line) => line.includes("registering again"));
    // While the engine speaks, namespaces may come and go.
    const startedAt = performance.now();
    for (let at = 0; performance.now() - startedAt < 1_000; at++) {
      await Deno.writeTextFile(`${dir}/netns/heard-${at % 10}`, "");
      await callPlugin(plugin, "StateChange", StateChangeEventSchema, { event: Event.RUN_POD_SANDBOX });
      await Deno.remove(`${dir}/netns/heard-${(at + 5) % 10}`).catch(() => {});
    }
    assert(isQuiet(), lines.join(""));
    assertEquals(engine.plugins.length, 1);
    let made = 0;
    await until(async () => {
      await Deno.writeTextFile(`${dir}/netns/unheard-${made++}`, "");
      return engine.plugins.length === 2;
    });
    await until(() => connected.length === 3);
    assert(!isQuiet());
  }));
