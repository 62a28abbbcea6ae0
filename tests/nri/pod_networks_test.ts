import { assert, assertEquals, assertRejects } from "@std/assert";
import { delay } from "../../lib/async/wait.ts";
import { CniError } from "../../lib/cni/error.ts";
import { type AttemptOutcome, PodNetworks } from "../../lib/nri/pod_networks.ts";
import { until } from "../until.ts";
import { FAILURE, FakeRuntime, podNamed, sandboxOf } from "./fake_runtime.ts";

const refused = async (pods: PodNetworks, pod: ReturnType<typeof podNamed>) =>
  (await assertRejects(() => pods.requireAttached(pod), CniError)).message;

Deno.test("a pod that asks for nothing costs no work at any moment", async () => {
  const runtime = new FakeRuntime();
  const pods = new PodNetworks(runtime.options({
    readPolicy: () => {
      throw new Error("the policy was read");
    },
  }));
  const pod = podNamed("plain", "");
  pods.begin(pod);
  await pods.requireAttached(pod);
  await pods.end(pod);
  assertEquals({ calls: runtime.calls, underWay: pods.underWay }, { calls: [], underWay: 0 });
});

Deno.test("the fence is closed while a pod is attached, says how far it is, and opens", async () => {
  const runtime = new FakeRuntime();
  const gate = Promise.withResolvers<void>();
  runtime.beforeRun = () => gate.promise;
  const outcomes: AttemptOutcome[] = [];
  const pods = new PodNetworks(runtime.options({ onAttempt: (outcome) => outcomes.push(outcome) }));
  pods.requestMs = 40;
  const pod = podNamed("web", "back,back");
  pods.begin(pod);
  await until(() => runtime.calls.length === 1);
  runtime.attached = 1;
  assertEquals(await refused(pods, pod), 'the pod "shop/web" is still attaching, 1 of 2 networks');
  gate.resolve();
  await until(() => pods.underWay === 0);
  await pods.requireAttached(pod);
  assertEquals({ calls: runtime.calls, outcomes }, { calls: ["run web"], outcomes: ["attached"] });
});

Deno.test("the engine waits for each pod until a moment after its start, and not again after that", async () => {
  const runtime = new FakeRuntime();
  runtime.beforeRun = (_, signal) =>
    new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
  let now = 0;
  const clock = { now: () => now, date: () => new Date(), after: () => ({ [Symbol.dispose]() {} }) };
  const pods = new PodNetworks(runtime.options({ clock }));
  pods.requestMs = 1e9;
  const all = Array.from({ length: 50 }, (_, at) => podNamed(`pod-${at}`));
  for (const pod of all) pods.begin(pod);
  // The longest wait is 500 ms after the start, however long the limit of the engine is.
  now = 500;
  const startedAt = performance.now();
  for (const pod of all) assert((await refused(pods, pod)).includes("is still attaching"));
  assert(performance.now() - startedAt < 50 * 400, "it waited for each of them again");
  pods.cancel();
  await pods.drained();
});

Deno.test("a failed pod is refused with the reason, and attached when the next container is asked for", async () => {
  const runtime = new FakeRuntime();
  runtime.beforeRun = () => Promise.reject(FAILURE);
  const outcomes: AttemptOutcome[] = [];
  const pods = new PodNetworks(runtime.options({ onAttempt: (outcome) => outcomes.push(outcome) }));
  const pod = podNamed("web");
  pods.begin(pod);
  await until(() => outcomes.length === 1);
  assertEquals(
    await refused(pods, pod),
    'the pod "shop/web" is not attached to its networks: the plugin is broken',
  );
  const gate = Promise.withResolvers<void>();
  runtime.beforeRun = () => gate.promise;
  pods.requestMs = 40;
  const message = await refused(pods, pod);
  assertEquals(
    message,
    'the pod "shop/web" is still attaching, 0 of 1 networks; the last attempt failed: the plugin is broken',
  );
  gate.resolve();
  await until(() => pods.underWay === 0);
  await pods.requireAttached(pod);
  assertEquals(outcomes, ["failed", "failed", "attached"]);
});

Deno.test("what the policy does not allow, and what is not valid, is refused with the rule", async () => {
  const pods = new PodNetworks(new FakeRuntime().options());
  assert((await refused(pods, podNamed("a", "other"))).includes("/policy"));
  assert(
    (await refused(pods, podNamed("b", "a/b/c"))).includes("annotation podwire.dev/networks, element 1"),
  );
  const host = { ...podNamed("c"), netns: undefined };
  assert((await refused(pods, host)).includes("is in the namespace of the host"));
});

Deno.test("a pod that ends while it is attached is cancelled, and what it has is removed after that", async () => {
  const runtime = new FakeRuntime();
  const cancelled = Promise.withResolvers<never>();
  runtime.beforeRun = (_, signal) => {
    signal?.addEventListener("abort", () => cancelled.reject(signal.reason));
    return cancelled.promise;
  };
  const pods = new PodNetworks(runtime.options());
  const pod = podNamed("web");
  pods.begin(pod);
  await until(() => runtime.calls.length === 1);
  await pods.end(pod);
  await pods.end(pod);
  assertEquals({ calls: runtime.calls, left: runtime.sandboxes.size }, { calls: ["run web"], left: 0 });
  runtime.sandboxes.set("web", sandboxOf({ id: "web" }));
  await pods.end(pod);
  assertEquals({ calls: runtime.calls, left: runtime.sandboxes.size }, {
    calls: ["run web", "remove web"],
    left: 0,
  });
});

Deno.test("a DEL that hangs lets the engine wait once, and no other pod", async () => {
  const runtime = new FakeRuntime();
  const hung = Promise.withResolvers<void>();
  runtime.beforeRemove = () => hung.promise;
  const pods = new PodNetworks(runtime.options());
  pods.requestMs = 200;
  const all = Array.from({ length: 20 }, (_, at) => podNamed(`pod-${at}`));
  for (const { id } of all) runtime.sandboxes.set(id, sandboxOf({ id }));
  const startedAt = performance.now();
  for (const pod of all) await pods.end(pod);
  assert(performance.now() - startedAt < 20 * 50, "it waited for each of them");
  assertEquals(pods.underWay, 20);
  hung.resolve();
  await until(() => pods.underWay === 0);
  assertEquals(runtime.sandboxes.size, 0);
});

Deno.test("a failure to detach never reaches the engine", async () => {
  const runtime = new FakeRuntime();
  runtime.beforeRemove = () => Promise.reject(FAILURE);
  const pods = new PodNetworks(runtime.options());
  runtime.sandboxes.set("web", sandboxOf({ id: "web" }));
  await pods.end(podNamed("web"));
  assertEquals({ calls: runtime.calls, left: runtime.sandboxes.size }, { calls: ["remove web"], left: 1 });
});

Deno.test("synchronizing attaches what slipped past, keeps what is attached, and removes what is gone", async () => {
  const runtime = new FakeRuntime();
  for (const id of ["kept", "gone"]) runtime.sandboxes.set(id, sandboxOf({ id, name: id }));
  const outcomes: AttemptOutcome[] = [];
  const pods = new PodNetworks(runtime.options({ onAttempt: (outcome) => outcomes.push(outcome) }));
  const all = [podNamed("kept"), podNamed("new"), podNamed("plain", ""), podNamed("late")];
  await pods.synchronize(all, new Set(["late", "plain"]));
  await until(() => pods.underWay === 0);
  assertEquals(
    { calls: runtime.calls.toSorted(), outcomes: outcomes.toSorted(), recoveries: runtime.recoveries },
    { calls: ["remove gone", "run late", "run new"], outcomes: ["attached", "late"], recoveries: 1 },
  );
  for (const pod of all) await pods.requireAttached(pod);
  // The engine has lost the others: they are gone.
  await pods.synchronize([podNamed("kept")], new Set());
  await until(() => pods.underWay === 0);
  assertEquals([...runtime.sandboxes.keys()], ["kept"]);
});

Deno.test("a pod whose namespace is gone is detached without an event, and none that is being attached", async () => {
  const runtime = new FakeRuntime();
  const gate = Promise.withResolvers<void>();
  runtime.beforeRun = () => gate.promise;
  const pods = new PodNetworks(runtime.options());
  const gone = { ...sandboxOf({ id: "gone" }), state: "broken" } as const;
  runtime.sandboxes.set("gone", gone);
  runtime.sandboxes.set("ready", sandboxOf({ id: "ready" }));
  runtime.sandboxes.set("made", { ...sandboxOf({ id: "made" }), state: "broken", underWay: true });
  pods.begin(podNamed("web"));
  await until(() => runtime.calls.includes("run web"));
  runtime.sandboxes.set("web", { ...sandboxOf({ id: "web" }), state: "broken" });
  await pods.sweep();
  assertEquals(runtime.calls, ["run web", "remove gone"]);
  gate.resolve();
  await until(() => pods.underWay === 0);
});

Deno.test("a second sandbox of a pod gets an attempt of its own, and takes nothing from the first", async () => {
  const runtime = new FakeRuntime();
  const attempts: (number | undefined)[] = [];
  runtime.beforeRun = ({ attempt }) => Promise.resolve(void attempts.push(attempt));
  const pods = new PodNetworks(runtime.options());
  const one = podNamed("web");
  const two = { ...one, id: "web-2" };
  for (const pod of [one, two]) await pods.requireAttached(pod);
  // Its namespace is gone by now, so the third one has its place.
  runtime.sandboxes.set("web", { ...sandboxOf({ ...one, id: "web", attempt: 0 }), state: "broken" });
  await pods.requireAttached({ ...one, id: "web-3" });
  assertEquals({ attempts, ids: [...runtime.sandboxes.keys()] }, {
    attempts: [0, 1, 2],
    ids: ["web-2", "web-3"],
  });
});

Deno.test("at its end it begins nothing, waits for what runs, and can cancel that", async () => {
  const runtime = new FakeRuntime();
  runtime.beforeRun = (_, signal) =>
    new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
  const pods = new PodNetworks(runtime.options());
  pods.begin(podNamed("web"));
  await until(() => runtime.calls.length === 1);
  const drained = pods.drained().then(() => "drained");
  assertEquals(await Promise.race([drained, delay(20).then(() => "waiting")]), "waiting");
  pods.begin(podNamed("other"));
  pods.cancel();
  assertEquals({ ended: await drained, calls: runtime.calls }, { ended: "drained", calls: ["run web"] });
});
