import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { PodNetworks } from "../../lib/pod/pod.ts";
import type { PlannedAttachment, PodRequest } from "../../lib/pod/request.ts";
import { listOf, NetworkWorld, resultWith } from "../attachment/world.ts";

const REFUSAL = { stdout: '{"code": 107, "msg": "no room"}', code: 1 };

class PodWorld implements AsyncDisposable {
  private constructor(readonly network: NetworkWorld) {}

  static async make(): Promise<PodWorld> {
    return new PodWorld(await NetworkWorld.make());
  }

  get pods(): PodNetworks {
    const { network } = this;
    return new PodNetworks({
      attachments: network.attachments(),
      store: network.store,
      cache: network.cache,
      run: network.host.run,
    });
  }

  request(overrides: Partial<PodRequest> = {}): PodRequest {
    return {
      containerId: "c1",
      name: "web",
      namespace: "default",
      uid: "u",
      netns: this.network.netns,
      ...overrides,
    };
  }

  /** Networks that are each one plugin of the same name. */
  async plan(...types: string[]): Promise<PlannedAttachment[]> {
    for (const type of types) {
      const isInstalled = await Deno.lstat(`${this.network.plugins.dir}/${type}`).catch(() => undefined);
      if (isInstalled === undefined) await this.network.plugins.install(type);
    }
    return types.map((type, index) => ({
      list: listOf([type], { name: type }),
      ifName: `eth${index}`,
      args: [],
      capabilityArgs: {},
      automaticPorts: [],
      settings: {},
    }));
  }

  setUp(plan: readonly PlannedAttachment[], request: PodRequest = this.request()) {
    return this.pods.setUp(request, plan, { owner: "sandbox:c1" });
  }

  async failing(plan: readonly PlannedAttachment[], request: PodRequest = this.request()): Promise<CniError> {
    return await assertRejects(() => this.setUp(plan, request), CniError);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.network[Symbol.asyncDispose]();
  }
}

Deno.test("a pod is attached to its networks one after another, and lists them in that order", async () => {
  await using world = await PodWorld.make();
  const plan = await world.plan("b", "a");
  const attached = await world.setUp(plan);
  assertEquals(attached.map(({ name, ifName }) => `${name}=${ifName}`), ["b=eth0", "a=eth1"]);
  assertEquals(await world.pods.networks("c1"), attached);
  assertEquals(await world.network.plugins.log(), ["b ADD c1 eth0", "a ADD c1 eth1"]);
});

Deno.test("F73 G27 G28 when one network fails, those before it are detached again, last first", async () => {
  await using world = await PodWorld.make();
  const plan = await world.plan("a", "b", "c", "d");
  await Deno.writeTextFile(`${world.network.plugins.dir}/c.d/ADD.stdout`, REFUSAL.stdout);
  await Deno.writeTextFile(`${world.network.plugins.dir}/c.d/ADD.code`, "1");
  const error = await world.failing(plan);
  assertEquals({ code: error.code, network: error.context.network }, { code: 107, network: "c" });
  assertEquals(await world.network.plugins.verbs(), [
    "a ADD",
    "b ADD",
    "c ADD",
    "c DEL",
    "b DEL",
    "a DEL",
  ]);
  assertEquals(await world.network.files(), []);
});

Deno.test("what cannot be detached stays on record, does not stop the others, and the error is that of the first failure", async () => {
  await using world = await PodWorld.make();
  await world.network.plugins.install("b", { DEL: { stdout: '{"code": 108, "msg": "will not"}', code: 1 } });
  await world.network.plugins.install("c", { ADD: REFUSAL });
  const error = await world.failing(await world.plan("a", "b", "c"));
  assertEquals(error.code, 107);
  assertStringIncludes(error.context.hint ?? "", "will not");
  assertStringIncludes(error.context.hint ?? "", "podwire recover");
  assertEquals(await world.network.plugins.verbs(), ["a ADD", "b ADD", "c ADD", "c DEL", "b DEL", "a DEL"]);
  const left = await world.network.store.all();
  assertEquals(left.map(({ network, state }) => `${network} ${state}`), ["b failed"]);
});

Deno.test("a failed set-up does not touch what the container had before", async () => {
  await using world = await PodWorld.make();
  const [mine, failing] = await world.plan("mine", "failing");
  await world.network.attachments().add(mine!.list, world.network.request({ ifName: "net0" }));
  await Deno.writeTextFile(`${world.network.plugins.dir}/failing.d/ADD.stdout`, REFUSAL.stdout);
  await Deno.writeTextFile(`${world.network.plugins.dir}/failing.d/ADD.code`, "1");
  await world.failing([mine!, { ...failing!, ifName: "eth1" }]);
  const left = await world.network.store.all();
  assertEquals(left.map(({ network, ifName, state }) => `${network} ${ifName} ${state}`), [
    "mine net0 attached",
  ]);
});

Deno.test("F81 a tear-down detaches everything on record, last first, without configuration files", async () => {
  await using world = await PodWorld.make();
  await world.setUp(await world.plan("a", "b", "c"));
  assertEquals(await world.pods.tearDown("c1"), []);
  assertEquals((await world.network.plugins.verbs()).slice(3), ["c DEL", "b DEL", "a DEL"]);
  assertEquals(await world.pods.networks("c1"), []);
  assertEquals(await world.pods.tearDown("c1"), []);
});

Deno.test("F80 one network that cannot be detached does not keep the others attached", async () => {
  await using world = await PodWorld.make();
  await world.network.plugins.install("b", { DEL: { stdout: '{"code": 108, "msg": "will not"}', code: 1 } });
  await world.setUp(await world.plan("a", "b", "c"));
  const failures = await world.pods.tearDown("c1");
  assertEquals(failures.map(({ code, context }) => [code, context.network]), [[108, "b"]]);
  assertEquals((await world.network.store.all()).map(({ network }) => network), ["b"]);
});

Deno.test("a tear-down can skip what could not be detached a moment ago", async () => {
  await using world = await PodWorld.make();
  await world.setUp(await world.plan("a", "b"));
  const [a] = await world.network.store.ofContainer("c1");
  await world.network.store.write({ ...a!, state: "failed" });
  assertEquals(await world.pods.tearDown("c1", { attachedOnly: true }), []);
  assertEquals((await world.network.plugins.verbs()).slice(2), ["b DEL"]);
});

Deno.test("only attached networks count as networks of the pod", async () => {
  await using world = await PodWorld.make();
  await world.setUp(await world.plan("a", "b"));
  const [a] = await world.network.store.ofContainer("c1");
  await world.network.store.write({ ...a!, state: "failed" });
  assertEquals((await world.pods.networks("c1")).map(({ name }) => name), ["b"]);
});

Deno.test("F60 an address requested with a prefix must be given with that prefix", async () => {
  await using world = await PodWorld.make();
  await world.network.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.5/16") } });
  const [a] = await world.plan("a");
  const error = await world.failing([{ ...a!, settings: { ips: ["10.1.0.5/24"] } }]);
  assertEquals({ msg: error.msg, hint: error.context.hint }, {
    msg: "the network gave 10.1.0.5/16 instead of 10.1.0.5/24",
    hint: "its IPAM plugin ignores a requested prefix",
  });
  const other = await world.failing([{ ...a!, settings: { ips: ["10.1.0.6/16"] } }]);
  assertEquals(other.msg, "the network gave 10.1.0.5 instead of 10.1.0.6/16");
  assertEquals(await world.network.files(), []);
  await world.setUp([{ ...a!, settings: { ips: ["10.1.0.5/16"] } }]);
});

Deno.test("F60 a requested address that the network does not give is a failure, and everything is undone", async () => {
  await using world = await PodWorld.make();
  await world.network.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.9/24") } });
  const [a, b] = await world.plan("a", "b");
  const error = await world.failing([{ ...a!, settings: { ips: ["10.1.0.5"] } }, b!]);
  assertEquals({ kind: error.kind, msg: error.msg }, {
    kind: "plugin",
    msg: "the network gave 10.1.0.9 instead of 10.1.0.5",
  });
  assertEquals(await world.network.plugins.verbs(), ["a ADD", "a DEL"]);
  assertEquals(await world.network.files(), []);
  const second = await world.failing([a!, { ...b!, settings: { ips: ["10.1.0.5"] } }]);
  assertEquals({ network: second.context.network, msg: second.msg }, {
    network: "b",
    msg: "the network gave no address instead of 10.1.0.5",
  });
  assertEquals(await world.network.files(), []);
});

Deno.test("addresses are compared as addresses, not as text, and each network must give its own", async () => {
  await using world = await PodWorld.make();
  const both = '{"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.5/24"}, {"address": "FD00:0::5/64"}]}';
  await world.network.plugins.install("a", { ADD: { stdout: both } });
  await world.network.plugins.install("b", { ADD: { stdout: resultWith("10.2.0.5/24") } });
  const [a, b] = await world.plan("a", "b");
  await world.setUp([{ ...a!, settings: { ips: ["10.1.0.5", "fd00::5"] } }, {
    ...b!,
    settings: { ips: ["10.2.0.5"] },
  }]);
});

Deno.test("the interface must have the requested MAC address, however it is written", async () => {
  await using world = await PodWorld.make();
  const interfaces = [
    { name: "br0", mac: "02:00:00:00:00:ff" },
    { name: "eth0", mac: "02:00:00:00:00:0A", sandbox: "/run/netns/c1" },
  ];
  await world.network.plugins.install("a", {
    ADD: { stdout: JSON.stringify({ cniVersion: "1.1.0", interfaces }) },
  });
  const [a] = await world.plan("a");
  for (const mac of ["02:00:00:00:00:0a", "02-00-00-00-00-0A", "0200.0000.000a"]) {
    await world.setUp([{ ...a!, settings: { mac } }]);
    await world.pods.tearDown("c1");
  }
  const error = await world.failing([{ ...a!, settings: { mac: "02:00:00:00:00:ff" } }]);
  assertStringIncludes(error.msg, "02:00:00:00:00:0A instead of 02:00:00:00:00:ff");
  assertEquals(await world.network.files(), []);
});

Deno.test("cancelling ends the set-up during one network, and everything is undone", async () => {
  await using world = await PodWorld.make();
  await world.network.plugins.install("b", { ADD: { stdout: "", hang: true } });
  const cancel = new AbortController();
  const options = { owner: "sandbox:c1", signal: cancel.signal };
  const plan = await world.plan("a", "b", "c");
  const pending = assertRejects(() => world.pods.setUp(world.request(), plan, options), CniError);
  while ((await world.network.plugins.verbs()).length < 2) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  cancel.abort();
  assertEquals((await pending).kind, "cancelled");
  assertEquals(await world.network.plugins.verbs(), ["a ADD", "b ADD", "b DEL", "a DEL"]);
  assertEquals(await world.network.files(), []);
});
