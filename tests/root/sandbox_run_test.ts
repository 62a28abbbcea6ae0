// Sandboxes on the real kernel: created completely or not at all, torn down any number of times.
import { assertEquals, assertNotEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { type RunCommand, runCommand } from "../../lib/host/command.ts";
import { createNetns, netnsId, pinNetns, runInside } from "../../lib/host/netns.ts";
import { createsNetns } from "./creates_netns.ts";
import { DEL_REFUSAL, REFUSAL, sandboxTest, until } from "./sandbox_world.ts";
import { recordFile, recordText } from "../stores.ts";

const failing = (act: () => unknown) => assertRejects(async () => await act(), CniError);

sandboxTest("a sandbox is a namespace with lo up, attached to its networks in order", async (world) => {
  const a = await world.network("a");
  await world.network("b");
  const { sandboxes } = world.podwire();
  const networks = [{ name: "b" }, { name: "a", ifName: "net1" }];
  const sandbox = await sandboxes.run({ name: "web", id: "c1234", uid: "u1", networks });
  assertEquals({
    id: sandbox.id,
    name: sandbox.name,
    namespace: sandbox.namespace,
    uid: sandbox.uid,
    state: sandbox.state,
    pid: sandbox.pid,
  }, { id: "c1234", name: "web", namespace: "default", uid: "u1", state: "ready", pid: null });
  assertEquals(sandbox.netns, `${world.netnsDir}/podwire-c1234`);
  assertEquals(sandbox.ips, ["10.1.0.2", "fd00::2", "10.1.0.2", "fd00::2"]);
  assertEquals(sandbox.networks.map(({ name, ifName, result }) => [name, ifName, result.cniVersion]), [
    ["b", "eth0", "1.1.0"],
    ["a", "net1", "1.1.0"],
  ]);
  const { stdout } = await runInside(sandbox.netns, {
    program: "ip",
    args: ["-br", "address", "show", "lo"],
  });
  assertStringIncludes(stdout, "127.0.0.1/8");
  const [call] = await a.calls();
  assertEquals({
    CNI_NETNS: call?.env.CNI_NETNS,
    CNI_IFNAME: call?.env.CNI_IFNAME,
    CNI_ARGS: call?.env.CNI_ARGS,
  }, {
    CNI_NETNS: sandbox.netns,
    CNI_IFNAME: "net1",
    CNI_ARGS:
      "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c1234;K8S_POD_UID=u1",
  });
  for (const name of ["web", "c1234", "c123"]) assertEquals(await sandboxes.get(name), sandbox);
  assertEquals(await sandboxes.list(), [sandbox]);
  assertEquals(await world.locks.containers.list(), []);
});

sandboxTest(
  "the start of a run is on disk before its first plugin runs, and under its lock",
  async (world) => {
    const script = `cp -r ${world.stateDir} "$call/state"; ls ${world.runDir}/containers >"$call/locks"`;
    await world.network("a", { ADD: { script } });
    await world.podwire().sandboxes.run({ name: "web", id: "c1" });
    const call = `${world.plugins.dir}/a.d/calls/0001`;
    const record = JSON.parse(await recordText(recordFile(`${call}/state`, "c1"), "sandbox") ?? "");
    assertEquals({ phase: record.phase, id: record.netns.id }, {
      phase: "creating",
      id: await netnsId(record.netns.path),
    });
    assertEquals(await Deno.readTextFile(`${call}/state/names/default/web`), "c1");
    assertEquals(await Deno.readTextFile(`${call}/locks`), "c1.lock\n");
  },
);

sandboxTest("the intent and the name are on disk before there is a namespace", async (world) => {
  await world.network("a");
  const seen: unknown[] = [];
  const run: RunCommand = async (request) => {
    if (createsNetns(request)) {
      const record = await world.sandboxes.read("c1");
      seen.push(record?.phase, record?.netns.path, ...await world.sandboxes.idsOf("default", "web"));
    }
    return await runCommand(request);
  };
  const { netns } = await world.podwire({ run }).sandboxes.run({ name: "web", id: "c1" });
  assertEquals(seen, ["creating", netns, "c1"]);
});

sandboxTest("when one network fails, nothing is left, and the cause is reported", async (world) => {
  await world.network("a");
  await world.network("b", { ADD: REFUSAL });
  const { sandboxes } = world.podwire();
  const error = await failing(() => sandboxes.run({ name: "web", networks: [{ name: "a" }, { name: "b" }] }));
  assertEquals({ code: error.code, network: error.context.network }, { code: 107, network: "b" });
  assertEquals(await world.plugins.verbs(), ["a ADD", "b ADD", "b DEL", "a DEL"]);
  assertEquals(await world.left(), []);
});

sandboxTest(
  "what a failed run cannot undo stays among the attachments and blocks nothing",
  async (world) => {
    const a = await world.network("a", { DEL: DEL_REFUSAL });
    const b = await world.network("b", { ADD: REFUSAL });
    const { sandboxes } = world.podwire();
    const run = () => sandboxes.run({ name: "web", id: "c1", networks: [{ name: "a" }, { name: "b" }] });
    assertEquals((await failing(run)).code, 107);
    assertEquals(await world.left(), ["a eth0 failed", "cache/results/a-c1-eth0"]);
    // The next run with that ID first deletes what is left.
    await a.answer("DEL", {});
    await b.answer("ADD", {});
    await run();
    assertEquals((await world.plugins.verbs()).slice(4), ["a DEL", "a ADD", "b ADD"]);
  },
);

sandboxTest("nothing is made for a request that cannot be met", async (world) => {
  await world.network("a");
  await world.network("lacking");
  await Deno.remove(`${world.plugins.dir}/lacking`);
  const { sandboxes } = world.podwire();
  const requests = [
    [{ networks: [{ name: "a" }, { name: "lacking" }] }, "plugin-missing"],
    [{ networks: [{ name: "a" }, { name: "unknown" }] }, "not-found"],
    [{ ips: ["10.0.0.300"] }, "usage"],
    [{ name: "no/slash" }, "usage"],
    [{ namespace: ".." }, "usage"],
    [{ id: "../x" }, "usage"],
    [{ source: { kind: "path", path: "/nowhere" } as const }, "not-found"],
    [{ source: { kind: "path", path: "/etc/passwd" } as const }, "not-found"],
    [{ source: { kind: "pid", pid: 2 ** 22 + 1 } as const }, "not-found"],
  ] as const;
  for (const [request, kind] of requests) {
    assertEquals((await failing(() => sandboxes.run(request))).kind, kind, JSON.stringify(request));
  }
  assertEquals({ verbs: await world.plugins.verbs(), left: await world.left() }, { verbs: [], left: [] });
});

sandboxTest(
  "a name is taken once in its namespace, an ID once, and the loser leaves the other alone",
  async (world) => {
    await world.network("a");
    const { sandboxes } = world.podwire();
    const first = await sandboxes.run({ name: "web", id: "c1" });
    assertEquals((await failing(() => sandboxes.run({ name: "web", id: "c2" }))).kind, "conflict");
    assertEquals((await failing(() => sandboxes.run({ name: "other", id: "c1" }))).kind, "conflict");
    assertEquals(await world.plugins.verbs(), ["a ADD"]);
    assertEquals(await sandboxes.get("web"), first);
    await sandboxes.run({ name: "web", namespace: "prod", id: "c3" });
    assertEquals(await world.namespaces(), ["podwire-c1", "podwire-c3"]);
  },
);

sandboxTest("of many runs at once each ends well, and of two with one name exactly one", async (world) => {
  await world.network("a");
  const runs = await Promise.allSettled(
    ["w0", "w1", "w2", "same", "same"].map((name) => world.podwire().sandboxes.run({ name })),
  );
  const lost = runs.filter(({ status }) => status === "rejected");
  assertEquals(lost.map((result) => result.status === "rejected" && result.reason.kind), ["conflict"]);
  const sandboxes = await world.podwire().sandboxes.list();
  assertEquals(sandboxes.map(({ name, state }) => `${name} ${state}`).sort(), [
    "same ready",
    "w0 ready",
    "w1 ready",
    "w2 ready",
  ]);
  assertEquals((await world.namespaces()).length, 4);
});

sandboxTest(
  "replace tears down the one that has the name, and only when its own request can be met",
  async (world) => {
    await world.network("a");
    const { sandboxes } = world.podwire();
    const first = await sandboxes.run({ name: "web", replace: true });
    const wrong = { name: "web", replace: true, networks: [{ name: "unknown" }] };
    assertEquals((await failing(() => sandboxes.run(wrong))).kind, "not-found");
    assertEquals((await sandboxes.get("web")).id, first.id);
    const second = await sandboxes.run({ name: "web", replace: true });
    assertNotEquals(second.id, first.id);
    assertEquals(await world.plugins.verbs(), ["a ADD", "a DEL", "a ADD"]);
    assertEquals((await sandboxes.list()).map(({ id }) => id), [second.id]);
    // The same ID again.
    await sandboxes.run({ name: "web", id: second.id, replace: true });
    assertEquals(await world.namespaces(), [`podwire-${second.id}`]);
  },
);

sandboxTest("replace is not stopped by what cannot be torn down, which stays on record", async (world) => {
  const a = await world.network("a");
  const { sandboxes } = world.podwire();
  await sandboxes.run({ name: "web", id: "c1" });
  await a.answer("DEL", DEL_REFUSAL);
  await sandboxes.run({ name: "web", id: "c2", replace: true });
  const left = (await world.store.all()).map(({ containerId, state }) => `${containerId} ${state}`);
  assertEquals(left, ["c1 failed", "c2 attached"]);
  assertEquals(await world.namespaces(), ["podwire-c2"]);
  assertStringIncludes(world.log.all.join("\n"), "will not");
});

sandboxTest(
  "replace never tears down another sandbox whose name is the ID of the one to replace",
  async (world) => {
    await world.network("a");
    const { sandboxes } = world.podwire();
    await sandboxes.run({ name: "web", namespace: "prod", id: "c1" });
    await sandboxes.run({ name: "c1", id: "c2" });
    await sandboxes.run({ name: "web", namespace: "prod", id: "c3", replace: true });
    assertEquals((await sandboxes.list()).map(({ id }) => id).sort(), ["c2", "c3"]);
  },
);

sandboxTest("a namespace by path is used as it is, gets lo up, and outlives the sandbox", async (world) => {
  await world.network("a");
  const path = `${world.netnsDir}/mine`;
  await createNetns(path);
  await runInside(path, { program: "ip", args: ["link", "set", "lo", "down"] });
  const { sandboxes } = world.podwire();
  const sandbox = await sandboxes.run({ name: "web", source: { kind: "path", path } });
  assertEquals({ netns: sandbox.netns, state: sandbox.state }, { netns: path, state: "ready" });
  const { stdout } = await runInside(path, { program: "ip", args: ["-br", "address", "show", "lo"] });
  assertStringIncludes(stdout, "127.0.0.1/8");
  await sandboxes.remove("web");
  assertEquals(await world.namespaces(), ["mine"]);
  assertEquals(await world.plugins.verbs(), ["a ADD", "a DEL"]);
});

sandboxTest(
  "a namespace by process is pinned: it stays when the process ends, and is removed with the sandbox",
  async (world) => {
    await world.network("a");
    const holder = new Deno.Command("unshare", { args: ["--net", "sleep", "600"], stdin: "null" }).spawn();
    const own = await netnsId("/proc/self/ns/net");
    await until(async () => ![own, undefined].includes(await netnsId(`/proc/${holder.pid}/ns/net`)));
    const theirs = await netnsId(`/proc/${holder.pid}/ns/net`);
    const { sandboxes } = world.podwire();
    try {
      const sandbox = await sandboxes.run({
        name: "web",
        id: "c1",
        source: { kind: "pid", pid: holder.pid },
      });
      assertEquals({ pid: sandbox.pid, netnsId: await netnsId(sandbox.netns) }, {
        pid: holder.pid,
        netnsId: theirs,
      });
    } finally {
      holder.kill("SIGKILL");
      await holder.status;
    }
    assertEquals((await sandboxes.get("web")).state, "ready");
    await sandboxes.remove("web");
    assertEquals(await world.left(), []);
  },
);

sandboxTest(
  "an existing namespace under the path of a new one belongs to others, and stays",
  async (world) => {
    await world.network("a");
    const path = `${world.netnsDir}/podwire-c1`;
    await createNetns(path);
    const id = await netnsId(path);
    const error = await failing(() => world.podwire().sandboxes.run({ id: "c1" }));
    assertEquals(error.kind, "conflict");
    assertEquals(await netnsId(path), id);
    assertEquals(await world.left(), ["netns/podwire-c1"]);
  },
);

sandboxTest(
  "stop tears the network down and keeps the record; twice is fine, and then remove",
  async (world) => {
    const a = await world.network("a");
    const { sandboxes } = world.podwire();
    const { netns } = await sandboxes.run({ name: "web", id: "c1" });
    assertEquals(await sandboxes.stop("web"), []);
    const stopped = await sandboxes.get("web");
    assertEquals({ state: stopped.state, ips: stopped.ips, networks: stopped.networks, pid: stopped.pid }, {
      state: "stopped",
      ips: [],
      networks: [],
      pid: null,
    });
    assertEquals(await world.namespaces(), []);
    assertEquals((await a.calls()).map(({ verb, env }) => [verb, env.CNI_NETNS]), [["ADD", netns], [
      "DEL",
      netns,
    ]]);
    assertEquals(await sandboxes.stop("web"), []);
    assertEquals((await a.calls()).length, 2);
    assertEquals(await sandboxes.remove("web"), []);
    assertEquals(await world.left(), []);
    for (const act of [() => sandboxes.stop("web"), () => sandboxes.remove("web")]) {
      assertEquals((await failing(act)).kind, "not-found");
    }
  },
);

sandboxTest(
  "stop is not blocked by a network that cannot be detached, and returns its failure",
  async (world) => {
    await world.network("a", { DEL: DEL_REFUSAL });
    await world.network("b");
    const { sandboxes } = world.podwire();
    await sandboxes.run({ name: "web", id: "c1", networks: [{ name: "a" }, { name: "b" }] });
    const failures = await sandboxes.stop("web");
    assertEquals(failures.map(({ code }) => code), [108]);
    assertEquals((await sandboxes.get("web")).state, "stopped");
    assertEquals(await world.namespaces(), []);
    assertEquals((await world.store.all()).map(({ network, state }) => `${network} ${state}`), ["a failed"]);
  },
);

sandboxTest(
  "remove keeps a sandbox whose network cannot be detached; with force it is forgotten, not the attachment",
  async (world) => {
    const a = await world.network("a", { DEL: DEL_REFUSAL });
    const podwire = world.podwire();
    await podwire.sandboxes.run({ name: "web", id: "c1" });
    const error = await failing(() => podwire.sandboxes.remove("web"));
    assertEquals(error.code, 108);
    assertStringIncludes(error.context.hint ?? "", "podwire rm -f");
    assertEquals((await podwire.sandboxes.get("web")).state, "stopped");
    const failures = await podwire.sandboxes.remove("web", { force: true });
    assertEquals(failures.map(({ code }) => code), [108]);
    assertEquals(await podwire.sandboxes.list(), []);
    assertEquals((await podwire.attachments()).map(({ state, attempts }) => [state, attempts]), [[
      "failed",
      2,
    ]]);
    await a.answer("DEL", {});
    const { removed } = await podwire.recover();
    assertEquals(removed.map(({ kind, why }) => [kind, why]), [["attachment", "its DEL had failed"]]);
    assertEquals(await world.left(), []);
  },
);

sandboxTest("cancelling a run undoes it", async (world) => {
  await world.network("a");
  await world.network("b", { ADD: { stdout: "", hang: true } });
  const cancel = new AbortController();
  const { sandboxes } = world.podwire();
  const networks = [{ name: "a" }, { name: "b" }];
  const pending = failing(() => sandboxes.run({ name: "web", networks }, { signal: cancel.signal }));
  await until(async () => (await world.plugins.verbs()).length === 2);
  cancel.abort();
  assertEquals((await pending).kind, "cancelled");
  assertEquals(await world.plugins.verbs(), ["a ADD", "b ADD", "b DEL", "a DEL"]);
  assertEquals(await world.left(), []);
});

sandboxTest("a stop that is cancelled waits, half-way, for another stop", async (world) => {
  const a = await world.network("a", { DEL: { hang: true } });
  const { sandboxes } = world.podwire();
  // The next stop ends the plugins of that container, of whichever process.
  await sandboxes.run({ name: "web", id: world.id("c1") });
  const cancel = new AbortController();
  const pending = failing(() => sandboxes.stop("web", { signal: cancel.signal }));
  await until(async () => (await world.plugins.verbs()).length === 2);
  cancel.abort();
  assertEquals((await pending).kind, "cancelled");
  const halfway = await sandboxes.get("web");
  assertEquals(halfway.state, "broken");
  assertStringIncludes(halfway.reason ?? "", "interrupted while it was being torn down");
  await a.answer("DEL", {});
  assertEquals(await sandboxes.stop("web"), []);
  await sandboxes.remove("web");
  assertEquals(await world.left(), []);
});

sandboxTest(
  "a sandbox whose namespace is gone, or another one by now, is broken and says why",
  async (world) => {
    const a = await world.network("a");
    const { sandboxes } = world.podwire();
    const { netns } = await sandboxes.run({ name: "web", id: "c1" });
    await world.sh('umount "$1" && rm "$1"', netns);
    const gone = await sandboxes.get("web");
    assertEquals({ state: gone.state, reason: gone.reason }, {
      state: "broken",
      reason: `${netns}: does not exist`,
    });
    // The kernel reuses the number of a namespace that is gone for the next one: this one has a number of its
    // own.
    await createNetns(`${world.netnsDir}/between`);
    await pinNetns("/proc/self/ns/net", netns);
    const other = await sandboxes.get("web");
    assertEquals({ state: other.state, reason: other.reason }, {
      state: "broken",
      reason: `${netns} leads to another namespace now`,
    });
    await sandboxes.remove("web");
    // The namespace that has the path now is not touched, neither by the plugin nor by the removal.
    assertEquals((await a.calls()).at(-1)?.env.CNI_NETNS, "");
    assertEquals(await netnsId(netns), await netnsId("/proc/self/ns/net"));
  },
);

sandboxTest("what one process made, another one sees and removes", async (world) => {
  await world.network("a");
  const made = await world.podwire().sandboxes.run({ name: "web" });
  const other = world.podwire();
  assertEquals(await other.sandboxes.get("web"), made);
  // The configuration is gone in between.
  await Deno.remove(`${world.confDir}/a.conflist`);
  await other.sandboxes.remove("web");
  assertEquals(await world.left(), []);
});
