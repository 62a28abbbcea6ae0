// The life of sandboxes as the CRI defines it: found by labels, torn down any number of times, removed
// however broken.
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { createNetns, netnsId, pinNetns, removeNetns, runInside } from "../../lib/host/netns.ts";
import { Sandboxes } from "../../lib/sandbox/sandbox.ts";
import { DEL_REFUSAL, REFUSAL, sandboxTest, type SandboxWorld, whenLocked } from "./sandbox_world.ts";
import { putRecord, recordFile, recordText } from "../stores.ts";

const failing = (act: () => unknown) => assertRejects(async () => await act(), CniError);

/** The output of a program in a namespace. */
async function inside(path: string, program: string, ...args: string[]): Promise<string> {
  return (await runInside(path, { program, args })).stdout.trim();
}

/** Makes the record of a sandbox unreadable. */
async function damage(world: SandboxWorld, id: string): Promise<string> {
  const path = recordFile(world.stateDir, id);
  await putRecord(path, "sandbox", (await recordText(path, "sandbox") ?? "").slice(0, -10));
  return path;
}

sandboxTest("sandboxes are found by name, state and labels", async (world) => {
  await world.network("a");
  const { sandboxes } = world.podwire();
  assert(sandboxes instanceof Sandboxes);
  await sandboxes.run({ name: "web", id: "aa11", labels: { app: "web", tier: "front" } });
  await sandboxes.run({ name: "db", id: "aa22", labels: { app: "db" } });
  await sandboxes.run({ name: "web", id: "bb33", namespace: "prod" });
  await sandboxes.stop("db");
  await world.sh('umount "$1" && rm "$1"', `${world.netnsDir}/podwire-bb33`);
  const ids = async (...filters: Parameters<typeof sandboxes.list>[0][]) =>
    (await sandboxes.list(filters.flatMap((filter) => filter ?? []))).map(({ id }) => id);
  assertEquals(await ids(), ["aa11", "aa22", "bb33"]);
  assertEquals(await ids({ id: "aa" }), ["aa11", "aa22"]);
  assertEquals(await ids({ name: "web" }), ["aa11", "bb33"]);
  assertEquals(await ids({ name: "web" }, { namespace: "prod" }), ["bb33"]);
  assertEquals(await ids({ state: "ready" }), ["aa11"]);
  assertEquals(await ids({ state: "stopped" }), ["aa22"]);
  assertEquals(await ids({ state: "broken" }), ["bb33"]);
  assertEquals(await ids({ labels: { app: undefined } }), ["aa11", "aa22"]);
  assertEquals(await ids({ labels: { app: "db" } }), ["aa22"]);
  assertEquals(await ids({ state: "ready" }, { state: "stopped" }), []);
  assertEquals((await sandboxes.get("aa11")).labels, { app: "web", tier: "front" });
  for (const bad of [{ "": "x" }, { "a=b": "x" }]) {
    assertEquals((await failing(() => sandboxes.run({ labels: bad }))).kind, "usage");
  }
});

sandboxTest("tearing down a missing sandbox is fine if the caller says so, and with force", async (world) => {
  await world.network("a");
  const { sandboxes } = world.podwire();
  for (
    const act of [() => sandboxes.stop("web"), () => sandboxes.remove("web"), () => sandboxes.get("web")]
  ) {
    assertEquals((await failing(act)).kind, "not-found");
  }
  assertEquals(await sandboxes.stop("web", { missingOk: true }), []);
  assertEquals(await sandboxes.remove("web", { missingOk: true }), []);
  assertEquals(await sandboxes.remove("web", { force: true }), []);
  assertEquals(
    (await failing(() => sandboxes.remove("web", { force: true, missingOk: false }))).kind,
    "not-found",
  );
});

sandboxTest("a name that is not found during a tear-down is not a missing sandbox", async (world) => {
  await world.network("a", { DEL: DEL_REFUSAL });
  const { sandboxes } = world.podwire();
  await sandboxes.run({ name: "web", id: "c1" });
  assertEquals((await failing(() => sandboxes.remove("web", { missingOk: true }))).code, 108);
});

sandboxTest(
  "of many callers who tear down one sandbox at once each ends well, and its plugins run once",
  async (world) => {
    await world.network("a");
    await world.podwire().sandboxes.run({ name: "web", id: "c1" });
    const each = Array.from({ length: 6 }, () => world.podwire().sandboxes);
    const outcomes = await Promise.allSettled([
      ...each.map((sandboxes) => sandboxes.stop("web", { missingOk: true })),
      ...each.map((sandboxes) => sandboxes.remove("web", { missingOk: true })),
    ]);
    assertEquals(outcomes.map(({ status }) => status), outcomes.map(() => "fulfilled"));
    assertEquals(await world.plugins.verbs(), ["a ADD", "a DEL"]);
    assertEquals(await world.left(), []);
  },
);

sandboxTest(
  "a caller who waited for a sandbox does not tear down another one that got its ID",
  async (world) => {
    const a = await world.network("a");
    const { sandboxes } = world.podwire();
    await sandboxes.run({ name: "web", id: "c1" });
    const lock = await world.locks.containers.lock("c1");
    const asked = whenLocked("c1");
    const waiting = sandboxes.stop("web").then(() => "stopped", (error) => error.kind);
    // It has looked up the sandbox when it waits for the lock.
    await asked;
    const record = await world.sandboxes.read("c1");
    await world.sandboxes.write({ ...record!, createdAt: new Date(Date.now() + 1).toISOString() });
    lock[Symbol.dispose]();
    assertEquals(await waiting, "not-found");
    assertEquals((await a.calls()).map(({ verb }) => verb), ["ADD"]);
    assertEquals((await sandboxes.get("web")).state, "ready");
  },
);

sandboxTest("every call ends with its signal, and has then done nothing", async (world) => {
  await world.network("a");
  const { sandboxes } = world.podwire();
  const before = await sandboxes.run({ name: "web", id: "c1" });
  const signal = AbortSignal.abort();
  for (
    const act of [
      () => sandboxes.run({ name: "other" }, { signal }),
      () => sandboxes.stop("web", { signal }),
      () => sandboxes.remove("web", { signal }),
      () => sandboxes.remove("gone", { signal, force: true }),
      () => sandboxes.get("web", { signal }),
      () => sandboxes.hold("web", { signal }),
      () => sandboxes.list({}, { signal }),
    ]
  ) assertEquals((await failing(act)).kind, "cancelled");
  // A call that waits for another's work, too.
  using _lock = await world.locks.containers.lock("c1");
  for (const act of [sandboxes.stop.bind(sandboxes), sandboxes.remove.bind(sandboxes)]) {
    assertEquals((await failing(() => act("web", { signal: AbortSignal.timeout(300) }))).kind, "timeout");
  }
  assertEquals(await sandboxes.list(), [before]);
  assertEquals(await world.plugins.verbs(), ["a ADD"]);
});

sandboxTest(
  "a sandbox whose record cannot be read is broken, says where it is, and can be removed",
  async (world) => {
    await world.network("a");
    await world.network("b", { DEL: DEL_REFUSAL });
    const { sandboxes } = world.podwire();
    await sandboxes.run({ name: "web", id: "cc11", networks: [{ name: "a" }] });
    const path = await damage(world, "cc11");
    const broken = await sandboxes.get("web");
    assertEquals({ id: broken.id, name: broken.name, state: broken.state, ipsCount: broken.ips.length }, {
      id: "cc11",
      name: "web",
      state: "broken",
      ipsCount: 2,
    });
    assertStringIncludes(broken.reason ?? "", `its record ${path} cannot be read`);
    for (const name of ["cc11", "cc1", "web"].slice(0, 1)) assertEquals(await sandboxes.get(name), broken);
    assertEquals(await sandboxes.list({ state: "broken" }), [broken]);
    assertEquals((await failing(() => sandboxes.hold("web"))).kind, "conflict");
    assertEquals(await sandboxes.remove("web"), []);
    assertEquals(await world.left(), []);
    assertEquals(await world.plugins.verbs(), ["a ADD", "a DEL"]);
    assertEquals((await failing(() => sandboxes.remove("web"))).kind, "not-found");
    assertEquals(await sandboxes.list(), []);

    // With force also if not everything can be torn down. Until then it keeps its name.
    await sandboxes.run({ name: "web", id: "dd22", networks: [{ name: "b" }] });
    await damage(world, "dd22");
    const refused = await failing(() => sandboxes.run({ name: "web", id: "ee33" }));
    assertEquals({ kind: refused.kind, includes: refused.context.hint?.includes("podwire repair dd22") }, {
      kind: "conflict",
      includes: true,
    });
    assertEquals((await sandboxes.remove("dd22", { force: true })).map(({ code }) => code), [108]);
    await sandboxes.run({ name: "web", id: "ee33" });
    assertEquals((await sandboxes.list()).map(({ id }) => id), ["ee33"]);
  },
);

sandboxTest("a sandbox whose record cannot be read gives way to one that replaces it", async (world) => {
  await world.network("a");
  const { sandboxes } = world.podwire();
  await sandboxes.run({ name: "web", id: "cc11" });
  await damage(world, "cc11");
  await sandboxes.run({ name: "web", id: "dd22", replace: true });
  assertEquals(await world.plugins.verbs(), ["a ADD", "a DEL", "a ADD"]);
  assertEquals((await sandboxes.list()).map(({ id, state }) => `${id} ${state}`), ["dd22 ready"]);
  assertEquals(await world.namespaces(), ["podwire-dd22"]);
});

sandboxTest("a sandbox whose record cannot be read can be stopped, and is on record again", async (world) => {
  await world.network("a");
  const { sandboxes } = world.podwire();
  await sandboxes.run({ name: "web", id: "cc11" });
  await damage(world, "cc11");
  assertEquals(await sandboxes.stop("web"), []);
  const { state, reason } = await sandboxes.get("cc11");
  assertEquals({ state, reason }, { state: "stopped", reason: undefined });
  assertEquals(await world.namespaces(), []);
  await sandboxes.remove("web");
  assertEquals(await world.left(), []);
});

sandboxTest(
  "a sandbox whose namespace is gone, or of another boot, can be stopped and removed",
  async (world) => {
    await world.network("a");
    const podwire = world.podwire();
    await podwire.sandboxes.run({ name: "gone", id: "c1" });
    await world.sh('umount "$1" && rm "$1"', `${world.netnsDir}/podwire-c1`);
    assertEquals(await podwire.sandboxes.stop("gone"), []);
    assertEquals((await podwire.sandboxes.get("gone")).state, "stopped");
    await podwire.sandboxes.remove("gone");
    await podwire.sandboxes.run({ name: "old", id: "c2" });
    const { sandboxes } = world.afterRestart();
    assertEquals((await sandboxes.get("old")).reason, "it belongs to another boot");
    assertEquals((await failing(() => sandboxes.hold("old"))).kind, "conflict");
    assertEquals(await sandboxes.remove("old"), []);
    assertEquals(await world.left(), []);
  },
);

sandboxTest(
  "a path that leads to another namespace is reported, and never entered or changed",
  async (world) => {
    const a = await world.network("a");
    const path = `${world.netnsDir}/mine`;
    const own = await netnsId("/proc/self/ns/net");
    await createNetns(path);
    const { sandboxes } = world.podwire();
    await sandboxes.run({ name: "web", id: "c1", source: { kind: "path", path } });
    {
      using netns = await sandboxes.hold("web");
      assertEquals(
        await inside(netns.path, "stat", "-Lc", "%d:%i", "/proc/self/ns/net"),
        await netnsId(path),
      );
    }
    const kept = await sandboxes.hold("web");
    await removeNetns(path);
    await pinNetns("/proc/self/ns/net", path);
    const { state, reason } = await sandboxes.get("web");
    assertEquals({ state, reason }, { state: "broken", reason: `${path} leads to another namespace now` });
    assertEquals((await failing(() => sandboxes.hold("web"))).kind, "conflict");
    // The previous owner still has it.
    assert(await inside(kept.path, "stat", "-Lc", "%d:%i", "/proc/self/ns/net") !== own);
    kept[Symbol.dispose]();
    await sandboxes.remove("web");
    assertEquals((await a.calls()).at(-1)?.env.CNI_NETNS, "");
    assertEquals(await netnsId(path), own);
    // A path that changes between the request and the creation is not used.
    await removeNetns(path);
    await createNetns(path);
    const lock = await world.locks.containers.lock("c2");
    const asked = whenLocked("c2");
    const waiting = sandboxes.run({ id: "c2", source: { kind: "path", path } }).catch((error) => error);
    await asked;
    await removeNetns(path);
    await pinNetns("/proc/self/ns/net", path);
    lock[Symbol.dispose]();
    const outcome = await waiting;
    assertMatch(String(outcome.msg), /leads to another namespace now, or to none/);
    assertEquals((await a.calls()).length, 2);
    assertEquals(await world.left(), ["netns/mine"]);
  },
);

sandboxTest(
  "sysctls are set in the namespace before its networks are attached, and are on record",
  async (world) => {
    const key = "net.ipv4.ip_unprivileged_port_start";
    const script = `nsenter --net="$CNI_NETNS" sysctl -n ${key} >"$call/sysctl"`;
    await world.network("a", { ADD: { script } });
    const before = await world.sh(`sysctl -n ${key}`);
    const { sandboxes } = world.podwire();
    const sysctls = { [key]: "79", "net.ipv4.ip_local_port_range": "2000 3000" };
    const { netns } = await sandboxes.run({ name: "web", id: "c1", sysctls });
    assertEquals(await Deno.readTextFile(`${world.plugins.dir}/a.d/calls/0001/sysctl`), "79\n");
    assertEquals(await inside(netns, "sysctl", "-n", "net.ipv4.ip_local_port_range"), "2000\t3000");
    assertEquals(await world.sh(`sysctl -n ${key}`), before);
    assertEquals((await world.sandboxes.read("c1"))?.sysctls, sysctls);
  },
);

sandboxTest(
  "a sysctl that cannot be set undoes the run and is named; one that is not of a network is refused",
  async (world) => {
    await world.network("a");
    const { sandboxes } = world.podwire();
    const run = (sysctls: Record<string, string>) => failing(() => sandboxes.run({ id: "c1", sysctls }));
    const missing = await run({ "net.ipv4.ip_forward": "1", "net.ipv4.no_such_thing": "1" });
    assertEquals(missing.kind, "io");
    assertStringIncludes(missing.msg, 'Cannot set the sysctl "net.ipv4.no_such_thing" to "1": ');
    assertStringIncludes(
      (await run({ "net.ipv4.ip_forward": "many" })).msg,
      '"net.ipv4.ip_forward" to "many"',
    );
    for (const name of ["kernel.shmmax", "net./.kernel.x"]) {
      assertEquals((await run({ [name]: "1" })).kind, "usage");
    }
    assertEquals({ verbs: await world.plugins.verbs(), left: await world.left() }, { verbs: [], left: [] });
  },
);

sandboxTest(
  "a run that fails restores the sysctls of a borrowed namespace",
  async (world) => {
    await world.network("a", { ADD: REFUSAL });
    const { sandboxes } = world.podwire();
    const path = `${world.netnsDir}/theirs`;
    await createNetns(path);
    const [ttl, forward] = ["net.ipv4.ip_default_ttl", "net.ipv4.ip_forward"];
    const values = () => inside(path, "sysctl", "-n", ttl, forward);
    // A new namespace inherits it from the machine, where it may be 1 already.
    await inside(path, "sysctl", "-qw", `${forward}=0`);
    const before = await values();
    for (const more of [{}, { "net.ipv4.no_such_thing": "1" }]) {
      const sysctls = { [ttl]: "77", [forward]: "1", ...more };
      await failing(() => sandboxes.run({ id: "c1", source: { kind: "path", path }, sysctls }));
      assertEquals(await values(), before);
    }
    // A change that others made meanwhile stays.
    const [limit, other] = [`nsenter --net="$CNI_NETNS" sysctl -qw ${ttl}=99`, "99\n0"];
    await world.network("b", { ADD: { ...REFUSAL, script: limit } });
    const networks = [{ name: "b" }];
    await failing(() =>
      sandboxes.run({
        id: "c1",
        source: { kind: "path", path },
        networks,
        sysctls: { [ttl]: "77", [forward]: "1" },
      })
    );
    assertEquals(await values(), other);
    await removeNetns(path);
  },
);

sandboxTest(
  "a requested MAC address is read back from the kernel, whatever the result says",
  async (world) => {
    const [wanted, other] = ["02:00:00:00:00:0a", "02:00:00:00:00:0b"];
    const making = (mac: string) => `nsenter --net="$CNI_NETNS" ip link add eth0 address ${mac} type bridge`;
    const claiming = (mac: string) =>
      JSON.stringify({ cniVersion: "1.1.0", interfaces: [{ name: "eth0", mac, sandbox: "/run/netns/x" }] });
    const silent = '{"cniVersion": "1.1.0"}';
    const answers = {
      silent: { stdout: silent, script: making(wanted) },
      ignoring: { stdout: silent, script: making(other) },
      lying: { stdout: claiming(wanted), script: making(other) },
      nothing: { stdout: silent },
    };
    for (const [name, answer] of Object.entries(answers)) await world.network(name, { ADD: answer });
    const { sandboxes } = world.podwire();
    const run = (name: string) =>
      sandboxes.run({ id: "c1", networks: [{ name, ifName: "eth0" }], mac: wanted });
    await run("silent");
    await sandboxes.remove("c1");
    for (const name of ["ignoring", "lying", "nothing"]) {
      const error = await failing(() => run(name));
      assertEquals({ kind: error.kind, network: error.context.network }, { kind: "plugin", network: name });
      assertStringIncludes(
        error.msg,
        `${name === "nothing" ? "no MAC address" : `the MAC address ${other}`} instead of ${wanted}`,
      );
      assertEquals(await world.left(), []);
    }
  },
);

sandboxTest(
  "sysctls of the whole machine are refused, and the machine keeps them",
  async (world) => {
    await world.network("a");
    const { sandboxes } = world.podwire();
    const names = [
      "net.netfilter.nf_conntrack_max",
      "net.nf_conntrack_max",
      "net.netfilter.nf_conntrack_buckets",
    ];
    const values = () => world.sh('for name; do sysctl -n "$name" 2>/dev/null || echo none; done', ...names);
    const before = await values();
    for (const name of names) {
      const error = await failing(() => sandboxes.run({ id: "c1", sysctls: { [name]: "4242" } }));
      assertEquals(error.kind, "usage");
      assertStringIncludes(error.msg, name);
    }
    assertEquals(await values(), before);
    assertEquals({ verbs: await world.plugins.verbs(), left: await world.left() }, { verbs: [], left: [] });
  },
);

sandboxTest(
  "a sandbox in the host's namespace has no networks, and the host is not changed",
  async (world) => {
    await world.network("a");
    const host = await netnsId("/proc/self/ns/net");
    const links = await world.sh("ip -o link");
    const { sandboxes } = world.podwire();
    const source = { kind: "host" } as const;
    const sandbox = await sandboxes.run({ name: "agent", id: "c1", source, labels: { app: "agent" } });
    assertEquals({
      state: sandbox.state,
      hostNetwork: sandbox.hostNetwork,
      ips: sandbox.ips,
      networks: sandbox.networks,
      pid: sandbox.pid,
    }, { state: "ready", hostNetwork: true, ips: [], networks: [], pid: null });
    {
      using netns = await sandboxes.hold("agent");
      assertEquals(await inside(netns.path, "stat", "-Lc", "%d:%i", "/proc/self/ns/net"), host);
    }
    assertEquals(await sandboxes.stop("agent"), []);
    assertEquals((await sandboxes.get("agent")).state, "stopped");
    assertEquals(await sandboxes.remove("agent"), []);
    await sandboxes.run({ source, networks: "none" });
    assertEquals((await world.podwire().recover()).removed, []);
    assertEquals((await world.afterRestart().recover()).removed.map(({ why }) => why), [
      "the machine was restarted",
    ]);
    for (
      const more of [
        { networks: [{ name: "a" }] },
        { publish: [{ hostIP: "", hostPort: 1, containerPort: 1, protocol: "tcp" as const }] },
        { ips: ["10.1.0.9"] },
        { sysctls: { "net.ipv4.ip_forward": "1" } },
      ]
    ) {
      assertEquals(
        (await failing(() => sandboxes.run({ source, ...more }))).kind,
        "usage",
        JSON.stringify(more),
      );
    }
    assertEquals({ verbs: await world.plugins.verbs(), namespaces: await world.namespaces() }, {
      verbs: [],
      namespaces: [],
    });
    assertEquals(await netnsId("/proc/self/ns/net"), host);
    assertEquals((await world.sh("ip -o link")).length > 0, links.length > 0);
  },
);

sandboxTest(
  "a name stays with its sandbox when that is stopped, and is free when it is removed",
  async (world) => {
    const a = await world.network("a");
    const { sandboxes } = world.podwire();
    await sandboxes.run({ name: "web", id: "c1" });
    await sandboxes.stop("web");
    assertEquals((await failing(() => sandboxes.run({ name: "web" }))).kind, "conflict");
    await sandboxes.remove("web");
    // A failed run leaves its name free.
    await a.answer("ADD", REFUSAL);
    assertEquals((await failing(() => sandboxes.run({ name: "web" }))).code, 107);
    assertEquals(await world.left(), []);
    await a.answer("ADD", { stdout: '{"cniVersion": "1.1.0"}' });
    await sandboxes.run({ name: "web" });
  },
);
