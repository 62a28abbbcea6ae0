// Every public call takes a signal in its last argument, and does not begin if that has fired.
import { assertEquals, assertRejects } from "@std/assert";
import { DaemonClient } from "../../lib/daemon/client.ts";
import { NetworkOperations } from "../../lib/runtime/network_operations.ts";
import { PluginOperations } from "../../lib/runtime/plugin_operations.ts";
import { Sandboxes } from "../../lib/sandbox/sandbox.ts";
import { type CallOptions, CniError, loadDirectory, loadNetworkFile, Pods, Podwire } from "../../mod.ts";
import { inTempDir } from "../temp_dir.ts";

type Call = (options: CallOptions) => Promise<unknown>;

/** The names of the methods of a class that can wait. */
function waiting({ prototype }: { prototype: object }): readonly string[] {
  const members = Object.entries(Object.getOwnPropertyDescriptors(prototype));
  const isWaiting = (value: unknown) =>
    ["AsyncFunction", "AsyncGeneratorFunction"].includes(
      (value as object | undefined)?.constructor.name ?? "",
    );
  return members.filter(([, { value }]) => isWaiting(value)).map(([name]) => name).sort();
}

/** Fails unless each call rejects with the reason of its signal, and the calls are all that the class has. */
async function refusesEach(of: { prototype: object }, calls: Readonly<Record<string, Call>>): Promise<void> {
  assertEquals(Object.keys(calls).sort(), waiting(of));
  for (const [name, call] of Object.entries(calls)) {
    const cancelled = await assertRejects(
      () => call({ signal: AbortSignal.abort() }),
      CniError,
      undefined,
      name,
    );
    assertEquals({ name, kind: cancelled.kind }, { name, kind: "cancelled" });
    const reason = new CniError("timeout", "the caller waits no longer");
    const failure = await assertRejects(() => call({ signal: AbortSignal.abort(reason) }), CniError);
    assertEquals({ name, msg: failure.msg }, { name, msg: reason.msg });
  }
}

const optionsIn = (dir: string) => ({
  confDir: dir,
  pluginDirs: [dir],
  stateDir: `${dir}/state`,
  cacheDir: `${dir}/cache`,
  netnsDir: `${dir}/netns`,
});
const TARGET = { containerId: "c1", netns: "/proc/self/ns/net", ifName: "eth0" };

Deno.test("no call of Podwire and its sandboxes begins with a signal that has fired", () =>
  inTempDir(async (dir) => {
    const podwire = new Podwire(optionsIn(dir));
    const { sandboxes } = podwire;
    await refusesEach(Podwire, {
      add: (options) => podwire.add("web", TARGET, options),
      addJson: (options) => podwire.addJson("web", TARGET, options),
      check: (options) => podwire.check("web", TARGET, options),
      del: (options) => podwire.del("web", TARGET, options),
      networks: (options) => podwire.networks(options),
      network: (options) => podwire.network("web", options),
      status: (options) => podwire.status("web", options),
      gc: (options) => podwire.gc({}, options),
      validate: (options) => podwire.validate("web", options),
      attachments: (options) => podwire.attachments({}, options),
      isAttached: (options) => podwire.isAttached({ ...TARGET, network: "web" }, options),
      forget: (options) => podwire.forget({ containerId: "c1", reason: "test" }, options),
      recover: (options) => podwire.recover(options),
    });
    await refusesEach(PluginOperations, {
      pluginVersions: (options) => podwire.pluginVersions("bridge", options),
      pluginPath: (options) => podwire.pluginPath("bridge", options),
      planSandbox: (options) => podwire.planSandbox({ name: "web" }, options),
    });
    await refusesEach(NetworkOperations, {
      createNetwork: (options) => podwire.createNetwork({ name: "back" }, options),
      setNetwork: (options) => podwire.setNetwork("podwire", { mtu: 1400 }, options),
      removeNetwork: (options) => podwire.removeNetwork("back", options),
      inspectNetwork: (options) => podwire.inspectNetwork("back", options),
      listNetworks: (options) => podwire.listNetworks(options),
    });
    await refusesEach(Sandboxes, {
      run: (options) => sandboxes.run({ name: "web" }, options),
      stop: (options) => sandboxes.stop("web", options),
      remove: (options) => sandboxes.remove("web", options),
      list: (options) => sandboxes.list({}, options),
      states: (options) => sandboxes.states(options),
      get: (options) => sandboxes.get("web", options),
      enter: (options) => sandboxes.enter("web", options),
      traffic: (options) => sandboxes.traffic([], options),
      hold: (options) => sandboxes.hold("web", options),
      exec: (options) => sandboxes.exec("web", { program: "true" }, options),
      repair: (options) => sandboxes.repair({}, options),
      connect: (options) => sandboxes.connect("web", { name: "back" }, options),
      disconnect: (options) => sandboxes.disconnect("web", "back", options),
      check: (options) => sandboxes.check("web", options),
    });
    // Nothing was made.
    assertEquals(Array.from(Deno.readDirSync(dir)), []);
  }));

Deno.test("no call of Pods begins with a signal that has fired", () =>
  inTempDir(async (dir) => {
    const open = (options: CallOptions) => Pods.open({ ...optionsIn(dir), watch: false }, options);
    assertEquals(
      (await assertRejects(() => open({ signal: AbortSignal.abort() }), CniError)).kind,
      "cancelled",
    );
    await using pods = await open({});
    const pod = { containerId: "c1", name: "web", namespace: "shop", uid: "u", netns: "/proc/self/ns/net" };
    await refusesEach(Pods, {
      defaultNetwork: (options) => pods.defaultNetwork(options),
      setUp: (options) => pods.setUp(pod, options),
      tearDown: (options) => pods.tearDown("c1", options),
      podStatus: (options) => pods.podStatus("c1", options),
      gc: (options) => pods.gc({}, options),
      recover: (options) => pods.recover(options),
      status: (options) => pods.status({}, options),
      networks: (options) => pods.networks(options),
      reload: (options) => pods.reload(options),
      attachments: (options) => pods.attachments({}, options),
    });
  }));

Deno.test("no call of the client of the daemon begins with a signal that has fired", async () => {
  const client = new DaemonClient("/no/such/socket");
  await refusesEach(DaemonClient, {
    run: (options) => client.run({ name: "web" }, options),
    list: (options) => client.list({}, options),
    get: (options) => client.get("web", options),
    stop: (options) => client.stop("web", options),
    remove: (options) => client.remove("web", options),
    events: (options) => client.events(options).next(),
    connect: (options) => client.connect("web", { name: "back" }, options),
    disconnect: (options) => client.disconnect("web", "back", options),
    createNetwork: (options) => client.createNetwork({ name: "back" }, options),
    inspectNetwork: (options) => client.inspectNetwork("back", options),
    setNetwork: (options) => client.setNetwork("podwire", { mtu: 1400 }, options),
    removeNetwork: (options) => client.removeNetwork("back", options),
  });
});

Deno.test("no file is read with a signal that has fired", async () => {
  const calls: readonly Call[] = [
    (options) => loadDirectory("/no/such/directory", options),
    (options) => loadNetworkFile("/no/such/file", options),
  ];
  for (const call of calls) {
    const { kind } = await assertRejects(() => call({ signal: AbortSignal.abort() }), CniError);
    assertEquals(kind, "cancelled");
  }
});
