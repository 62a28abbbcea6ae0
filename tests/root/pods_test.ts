import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { podsTest } from "./pods_world.ts";
import { DEL_REFUSAL, REFUSAL, until } from "./sandbox_world.ts";

podsTest(
  "F3 F64 F70 F86 F91 a pod gets its networks, is checked with CHECK, and is removed again",
  async (world) => {
    const { sandbox } = world;
    await sandbox.network("a");
    await sandbox.network("b");
    await using pods = await world.open();
    const pod = await world.pod("web", { networks: [{ name: "a" }, { name: "b", ifName: "net1" }] });
    const result = await pods.setUp(pod);
    assertEquals(result.networks.map(({ name, ifName }) => `${name}=${ifName}`), ["a=eth0", "b=net1"]);
    assertEquals(result.ips, ["10.1.0.2", "fd00::2", "10.1.0.2", "fd00::2"]);
    assertEquals(
      result.networks.map(({ result }) => [result.cniVersion, (result.ips as unknown[]).length]),
      [["1.1.0", 2], ["1.1.0", 2]],
    );

    const status = await pods.podStatus(pod.containerId);
    assertEquals({ ready: status.ready, reason: status.reason, name: status.name, netns: status.netns }, {
      ready: true,
      reason: undefined,
      name: "web",
      netns: pod.netns,
    });
    assertEquals(
      status.networks.map(({ name, state, checked, result }) => [name, state, checked, result !== undefined]),
      [
        ["a", "attached", true, true],
        ["b", "attached", true, true],
      ],
    );
    assertEquals(await pods.tearDown(pod.containerId), []);
    assertEquals(
      (await sandbox.calls()).filter((line) => !line.includes("VERSION") && !line.includes("STATUS")),
      [
        "a ADD web eth0",
        "b ADD web net1",
        "a CHECK web eth0",
        "b CHECK web net1",
        "b DEL web net1",
        "a DEL web eth0",
      ],
    );
    assertEquals(await sandbox.left(), ["netns/web"]);
  },
);

podsTest(
  "F85 G25 a tear-down of what does not exist, or is gone already, succeeds whatever the configuration",
  async (world) => {
    await using pods = await world.open();
    assertEquals(await pods.tearDown(world.sandbox.id("never")), []);
    await world.sandbox.network("a");
    const pod = await world.pod("web");
    await pods.setUp(pod);
    await Deno.remove(`${world.sandbox.confDir}/a.conflist`);
    await world.gone(pod);
    assertEquals(await pods.tearDown(pod.containerId), []);
    assertEquals(await pods.tearDown(pod.containerId), []);
    assertEquals(await world.sandbox.left(), []);
  },
);

podsTest(
  "F79 what cannot be detached is returned, stays on record, and is retried by itself",
  async (world) => {
    const { sandbox } = world;
    const plugin = await sandbox.network("a");
    await sandbox.network("b");
    await plugin.answer("DEL", DEL_REFUSAL);
    await using pods = await world.open();
    const pod = await world.pod("web", { networks: [{ name: "a" }, { name: "b" }] });
    await pods.setUp(pod);
    const failures = await pods.tearDown(pod.containerId);
    assertEquals(failures.map(({ code, context }) => [code, context.network]), [[108, "a"]]);
    assertEquals(
      (await pods.attachments()).map(({ network, state, attempts }) => [network, state, attempts]),
      [
        ["a", "failed", 1],
      ],
    );
    await assertRejects(() => pods.podStatus(pod.containerId), CniError, "no pod");
    await plugin.answer("DEL", {});
    await until(async () => (await pods.attachments()).length === 0);
    // The retry releases the lock a moment later.
    await until(async () => (await sandbox.left()).every((name) => name === "netns/web"));
  },
);

podsTest(
  "F90 F97 F100 a changed pod is reported, with the reason, and nothing is thrown",
  async (world) => {
    const { sandbox } = world;
    const plugin = await sandbox.network("a");
    await using pods = await world.open();
    const pod = await world.pod("web");
    await pods.setUp(pod);
    await plugin.answer("CHECK", { stdout: '{"code": 120, "msg": "the route is missing"}', code: 1 });
    const broken = await pods.podStatus(pod.containerId);
    assertEquals({ ready: broken.ready, code: broken.networks[0]?.error?.code }, { ready: false, code: 120 });
    assertStringIncludes(broken.reason ?? "", "the route is missing");

    await plugin.answer("CHECK", {});
    await sandbox.sh('nsenter --net="$1" ip link set lo down', pod.netns);
    const down = await pods.podStatus(pod.containerId);
    assertEquals({ ready: down.ready, checked: down.networks[0]?.checked }, { ready: false, checked: false });
    assertStringIncludes(down.reason ?? "", "lo");
    await world.gone(pod);
    assertStringIncludes((await pods.podStatus(pod.containerId)).reason ?? "", "does not exist");
    assertEquals(await pods.tearDown(pod.containerId), []);
  },
);

podsTest(
  "F34 F122 F123 F124 without any network a pod fails, or gets lo only, and either way it recovers",
  async (world) => {
    const { sandbox } = world;
    await using strict = await world.open();
    await using lenient = await world.open({ whenNoNetwork: "noop", owner: "lenient" });
    const [one, two, three, four] = [
      await world.pod("one"),
      await world.pod("two"),
      await world.pod("three"),
      await world.pod("four"),
    ];
    const error = await assertRejects(() => strict.setUp(one), CniError);
    assertEquals(error.kind, "not-ready");
    assertStringIncludes(error.message, sandbox.confDir);
    assertEquals((await lenient.setUp(two)).networks, []);
    const status = await lenient.podStatus(two.containerId);
    assertEquals({ ready: status.ready, networks: status.networks }, { ready: true, networks: [] });

    await sandbox.network("late");
    assertEquals((await strict.setUp(one)).networks.map(({ name }) => name), ["late"]);
    assertEquals((await lenient.setUp(three)).networks.map(({ name }) => name), ["late"]);
    // A pod that names a network wants that network.
    const unknown = { ...four, networks: [{ name: "other" }] };
    assertEquals((await assertRejects(() => lenient.setUp(unknown), CniError)).kind, "not-found");
    for (const pod of [one]) assertEquals(await strict.tearDown(pod.containerId), []);
    for (const pod of [two, three]) assertEquals(await lenient.tearDown(pod.containerId), []);
    assertEquals(await sandbox.left(), ["netns/four", "netns/one", "netns/three", "netns/two"]);
  },
);

podsTest(
  "F72 F73 a pod that cannot be set up leaves nothing, and can be set up when the reason is gone",
  async (world) => {
    const { sandbox } = world;
    await sandbox.network("a");
    const plugin = await sandbox.network("b", { ADD: REFUSAL });
    await using pods = await world.open();
    const pod = await world.pod("web", { networks: [{ name: "a" }, { name: "b" }] });
    const error = await assertRejects(() => pods.setUp(pod), CniError);
    assertEquals({ code: error.code, network: error.context.network }, { code: 107, network: "b" });
    assertEquals(await sandbox.left(), ["netns/web"]);
    await plugin.answer("ADD", {});
    assertEquals((await pods.setUp(pod)).networks.length, 2);
    const again = await assertRejects(() => pods.setUp(pod), CniError);
    assertEquals(again.kind, "conflict");
    assertEquals((await pods.podStatus(pod.containerId)).ready, true);
    assertEquals(await pods.tearDown(pod.containerId), []);
  },
);

podsTest(
  "F51 G36 while ten plugins hang in ADD and ten in STATUS, the status is there at once, the directory is read again, and other pods are set up",
  async (world) => {
    const { sandbox } = world;
    for (let n = 0; n < 10; n++) {
      const name = `h${n}`;
      await sandbox.network(name, { ADD: { hang: true }, STATUS: { hang: true } });
    }
    await sandbox.network("z");
    await using pods = await world.open({ timeouts: { STATUS: 60_000 } });
    const stop = new AbortController();
    const hanging = await Promise.all(
      Array.from({ length: 10 }, (_, n) => world.pod(`p${n}`, { networks: [{ name: `h${n}` }] })),
    );
    const under = hanging.map((pod) => pods.setUp(pod, { signal: stop.signal }).catch((error) => error));
    const called = async (verb: string) =>
      (await sandbox.calls()).filter((line) => line.includes(` ${verb}`)).length;
    await until(async () => await called("ADD") >= 10 && await called("STATUS") >= 10);

    const times: number[] = [];
    for (let n = 0; n < 21; n++) {
      const started = performance.now();
      const statuses = await pods.status();
      times.push(performance.now() - started);
      assertEquals(statuses.length, 11);
    }
    // The median: the machine may be busy, but nothing was waited for.
    assert(times.toSorted((a, b) => a - b)[10]! < 500, `${times}`);

    await sandbox.network("y");
    assertEquals((await pods.reload()).length, 12);
    const other = await world.pod("other", { networks: [{ name: "z" }, { name: "y" }] });
    assertEquals((await pods.setUp(other)).networks.length, 2);
    assertEquals(await pods.tearDown(other.containerId), []);
    stop.abort();
    for (const outcome of await Promise.all(under)) assertEquals(outcome.kind, "cancelled");
    await until(async () => (await pods.attachments()).length === 0);
  },
);

podsTest(
  "F110 the status of one network or all is probed again on demand, and unknown names are errors",
  async (world) => {
    const { sandbox } = world;
    await sandbox.network("a");
    const plugin = await sandbox.network("b", {
      STATUS: { stdout: '{"code": 50, "msg": "agent down"}', code: 1 },
    });
    await using pods = await world.open();
    assertEquals((await pods.status()).map(({ network }) => network), ["a", "b"]);
    const all = await pods.status({ fresh: true });
    assertEquals(all.map(({ network, ready, reason }) => [network, ready, reason]), [
      ["a", true, undefined],
      ["b", false, "plugin-not-ready"],
    ]);
    await plugin.answer("STATUS", {});
    assertEquals((await pods.status({ network: "b" }))[0]?.ready, false);
    assertEquals((await pods.status({ network: "b", fresh: true }))[0]?.ready, true);
    assertEquals((await assertRejects(() => pods.status({ network: "c" }), CniError)).kind, "not-found");
    await sandbox.network("c");
    assertEquals((await pods.status({ network: "c" })).map(({ network, ready }) => [network, ready]), [[
      "c",
      true,
    ]]);
  },
);

podsTest("F52 a wait for the lock of a pod ends with its signal", async (world) => {
  const { sandbox } = world;
  await sandbox.network("a", { ADD: { hang: true } });
  await using pods = await world.open();
  const pod = await world.pod("web");
  const stop = new AbortController();
  const hanging = pods.setUp(pod, { signal: stop.signal }).catch((error) => error);
  await until(async () => (await sandbox.calls()).includes("a ADD web eth0"));
  for (
    const call of [
      (signal: AbortSignal) => pods.tearDown(pod.containerId, { signal }),
      (signal: AbortSignal) => pods.podStatus(pod.containerId, { signal }),
      (signal: AbortSignal) => pods.setUp(pod, { signal }),
    ]
  ) {
    const error = await assertRejects(() => call(AbortSignal.timeout(100)), CniError);
    assertEquals(error.kind, "timeout");
  }
  stop.abort();
  assertEquals((await hanging).kind, "cancelled");
});

podsTest("F112 F113 closing twice is fine, and what runs beside the calls ends", async (world) => {
  await world.sandbox.network("a");
  const pods = await world.open({ watch: true, gcIntervalMs: 50 });
  assertEquals(await pods.defaultNetwork(), "a");
  await pods[Symbol.asyncDispose]();
  await pods[Symbol.asyncDispose]();
});
