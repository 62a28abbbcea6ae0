// The records of pods decide, whatever the configuration directory says by then.
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { podsTest } from "./pods_world.ts";
import { DEL_REFUSAL, until } from "./sandbox_world.ts";
import { putRecord, recordFile } from "../stores.ts";

/** A plugin that gives the interface two addresses of IPv4 and one of IPv6. */
const MAKES_LINK = 'nsenter --net="$CNI_NETNS" ip link add "$CNI_IFNAME" type bridge\n' +
  'nsenter --net="$CNI_NETNS" ip link set "$CNI_IFNAME" address 02:00:00:00:00:07 up\n' +
  "for address in 10.1.0.2/24 10.1.0.3/32; do\n" +
  '  nsenter --net="$CNI_NETNS" ip addr add "$address" dev "$CNI_IFNAME"\ndone\n' +
  'nsenter --net="$CNI_NETNS" ip addr add fd00::2/64 dev "$CNI_IFNAME" nodad\n';

podsTest(
  "F74 F83 F87-F89 F135 a pod is inspected and torn down by its record, not by the default network or the present files",
  async (world) => {
    const { sandbox } = world;
    const b = await sandbox.network("b");
    await sandbox.network("c");
    await using pods = await world.open();
    const pod = await world.pod("web", { networks: [{ name: "c" }, { name: "b" }] });
    await pods.setUp(pod);
    // Another default network, and another configuration with the same name.
    await sandbox.network("a");
    const changed = { cniVersion: "1.1.0", name: "b", plugins: [{ type: "b", mark: "new" }] };
    await Deno.writeTextFile(`${sandbox.confDir}/b.conflist`, JSON.stringify(changed));
    await Deno.remove(`${sandbox.confDir}/c.conflist`);
    assertEquals((await pods.reload()).map(({ name }) => name), ["a", "b"]);

    const { networks, ready } = await pods.podStatus(pod.containerId);
    assertEquals({ ready, networks: networks.map(({ name, ifName }) => `${name}=${ifName}`) }, {
      ready: true,
      networks: [
        "c=eth0",
        "b=eth1",
      ],
    });
    assertEquals(await pods.tearDown(pod.containerId), []);
    const verbs = (await sandbox.calls()).filter((line) => !/VERSION|STATUS/.test(line));
    assertEquals(verbs.slice(2), [
      "c CHECK web eth0",
      "b CHECK web eth1",
      "b DEL web eth1",
      "c DEL web eth0",
    ]);
    for (const { verb, config } of await b.calls()) {
      if (verb === "CHECK" || verb === "DEL") {
        assertEquals({ verb, mark: config.mark }, { verb, mark: undefined });
      }
    }
    const lo = await sandbox.sh('nsenter --net="$1" ip -br link show dev lo', pod.netns);
    assertStringIncludes(lo, "LOOPBACK,UP");
  },
);

podsTest(
  "F74 F77 F82 of another runtime's pod the named networks are detached, except for one failure, whatever settings stand beside them",
  async (world) => {
    const { sandbox } = world;
    const a = await sandbox.network("a");
    await sandbox.network("b");
    await using pods = await world.open();
    const { containerId, netns } = await world.pod("foreign");
    const networks = [
      { name: "a", ifName: "eth0", ips: ["no address"], mac: "no MAC" },
      { name: "gone", ifName: "eth1" },
      { name: "b", ifName: "eth2" },
    ];
    const failures = await pods.tearDown({ containerId, netns, networks });
    assertEquals(failures.map(({ kind, context }) => [kind, context.network, context.ifName]), [
      ["not-found", "gone", "eth1"],
    ]);
    const called = (await sandbox.calls()).filter((line) => line.includes("foreign"));
    assertEquals(called, ["b DEL foreign eth2", "a DEL foreign eth0"]);
    const call = (await a.calls()).find(({ verb }) => verb === "DEL");
    // Nothing says that the interface there belongs to the pod.
    assertEquals({
      CNI_NETNS: call?.env.CNI_NETNS,
      name: call?.config.name,
      prevResult: call?.config.prevResult,
    }, { CNI_NETNS: "", name: "a", prevResult: undefined });
  },
);

podsTest(
  "F75 a record that cannot be read is reported and keeps nothing else attached, and an empty ID is refused",
  async (world) => {
    const { sandbox } = world;
    await sandbox.network("a");
    await using pods = await world.open();
    const pod = await world.pod("web");
    await pods.setUp(pod);
    await putRecord(recordFile(sandbox.stateDir, pod.containerId), { ifName: "eth1", network: "a" }, "{");
    const failures = await pods.tearDown(pod.containerId);
    assertEquals(failures.map(({ context }) => context.ifName), ["eth1"]);
    assertStringIncludes(failures[0]?.message ?? "", "libcni's cache does not say how it was made");
    assertEquals((await sandbox.calls()).at(-1), "a DEL web eth0");
    const logged = sandbox.log.all.filter((line) => line.includes("a record cannot be used"));
    assertEquals(logged.length, 1);
    assertEquals((await assertRejects(() => pods.tearDown(""), CniError)).kind, "usage");
  },
);

podsTest(
  "F47 F53 a tear-down that begins during the set-up removes everything that the set-up made",
  async (world) => {
    const { sandbox } = world;
    const plugin = await sandbox.network("a");
    await plugin.answer("ADD", {
      stdout: '{"cniVersion": "1.1.0"}',
      script: 'while [ ! -e "$here/go" ]; do sleep 0.05; done',
    });
    await using pods = await world.open();
    const pod = await world.pod("web", { networks: [{ name: "a" }, { name: "a", ifName: "net1" }] });
    const settingUp = pods.setUp(pod);
    await until(async () => (await sandbox.calls()).includes("a ADD web eth0"));
    const tearingDown = pods.tearDown(pod.containerId);
    await Deno.writeTextFile(`${plugin.path}.d/go`, "");
    assertEquals((await settingUp).networks.length, 2);
    assertEquals(await tearingDown, []);
    assertEquals((await sandbox.calls()).filter((line) => line.includes("web")), [
      "a ADD web eth0",
      "a ADD web net1",
      "a DEL web net1",
      "a DEL web eth0",
    ]);
    assertEquals(await sandbox.left(), ["netns/web"]);
  },
);

podsTest(
  "F92 F93 F94 F96 F131 the status of a pod shows all addresses that its interface has, whatever the result said",
  async (world) => {
    const { sandbox } = world;
    const bare = { stdout: '{"cniVersion": "1.1.0"}' };
    await sandbox.network("a", { ADD: { ...bare, script: MAKES_LINK } });
    await sandbox.network("b", { ADD: bare });
    await using pods = await world.open();
    const pod = await world.pod("web", { networks: [{ name: "a" }, { name: "b" }] });
    await pods.setUp(pod);
    await Deno.remove(`${sandbox.confDir}/a.conflist`);
    const [a, b] = (await pods.podStatus(pod.containerId)).networks;
    assertEquals({ name: a?.link?.name, mac: a?.link?.mac, up: a?.link?.up }, {
      name: "eth0",
      mac: "02:00:00:00:00:07",
      up: true,
    });
    const seen = a?.link?.addresses.filter(({ scope }) => scope === "global").map(({ address }) => address);
    assertEquals(seen, ["10.1.0.2/24", "10.1.0.3/32", "fd00::2/64"]);
    assertEquals({ name: b?.name, link: b?.link }, { name: "b", link: undefined });
    await world.gone(pod);
    assertEquals((await pods.podStatus(pod.containerId)).networks[0]?.link, undefined);
    assertEquals(await pods.tearDown(pod.containerId), []);
  },
);

podsTest(
  "F84 G31 G32 a DEL that fails is a failure whatever its message, and does not keep the other networks attached",
  async (world) => {
    const { sandbox } = world;
    const words = { stdout: '{"code": 999, "msg": "link not found: no such file or directory"}', code: 1 };
    const plugin = await sandbox.network("a", { DEL: words });
    await sandbox.network("b", { DEL: DEL_REFUSAL });
    await sandbox.network("c");
    await using pods = await world.open();
    const pod = await world.pod("web", { networks: [{ name: "c" }, { name: "b" }, { name: "a" }] });
    await pods.setUp(pod);
    await world.gone(pod);
    const failures = await pods.tearDown(pod.containerId);
    assertEquals(failures.map(({ code, context }) => [code, context.network]), [[999, "a"], [108, "b"]]);
    assertEquals((await pods.attachments()).map(({ network, state }) => [network, state]), [
      ["b", "failed"],
      ["a", "failed"],
    ]);
    // The path could lead to another pod's namespace by now.
    const last = (await plugin.calls()).at(-1);
    assertEquals({ verb: last?.verb, CNI_NETNS: last?.env.CNI_NETNS }, { verb: "DEL", CNI_NETNS: "" });
  },
);

podsTest(
  "G33 G34 every network is asked with CHECK in order, those of old versions are not, and the first failure is the reason",
  async (world) => {
    const { sandbox } = world;
    const old = { cniVersion: "0.3.1", name: "a-old", plugins: [{ type: "a-old" }] };
    await sandbox.network("a-old", { ADD: { stdout: '{"cniVersion": "0.3.1"}' } });
    await Deno.writeTextFile(`${sandbox.confDir}/a-old.conflist`, JSON.stringify(old));
    const failing = (msg: string) => ({ stdout: JSON.stringify({ code: 120, msg }), code: 1 });
    const b = await sandbox.network("b");
    await sandbox.network("c", { CHECK: failing("third") });
    await using pods = await world.open();
    const pod = await world.pod("web", { networks: [{ name: "a-old" }, { name: "b" }, { name: "c" }] });
    await pods.setUp(pod);
    const look = async () => {
      const { ready, reason, networks } = await pods.podStatus(pod.containerId);
      return { ready, reason, networks: networks.map(({ checked, error }) => [checked, error?.msg]) };
    };
    const first = await look();
    assertEquals(first.networks, [[false, undefined], [true, undefined], [true, "third"]]);
    assertStringIncludes(first.reason ?? "", "third");
    await b.answer("CHECK", failing("second"));
    const second = await look();
    assertEquals({ ready: second.ready, networks: second.networks }, {
      ready: false,
      networks: [[false, undefined], [true, "second"], [
        true,
        "third",
      ]],
    });
    assertStringIncludes(second.reason ?? "", "second");
    const checks = (await sandbox.calls()).filter((line) => line.includes("CHECK"));
    assertEquals(checks, [...checks.slice(0, 2), "b CHECK web eth1", "c CHECK web eth2"]);
    assertEquals(checks.length, 4);
    assertEquals(await pods.tearDown(pod.containerId), []);
  },
);

podsTest(
  "F1 what is wrong with the name or the ID of a pod is reported in the terms of container engines",
  async (world) => {
    const { sandbox } = world;
    await sandbox.network("a");
    await using pods = await world.open();
    const pod = await world.pod("web");
    const refusal = async (request: typeof pod, by = pods) => {
      const { kind, msg } = await assertRejects(() => by.setUp(request), CniError);
      return sandbox.plain(`${kind}: ${msg}`);
    };
    const long = "c".repeat(129);
    assertEquals(await refusal({ ...pod, containerId: "a/b" }), 'usage: the container ID "a/b" is invalid');
    assertEquals(
      await refusal({ ...pod, containerId: long }),
      `usage: the container ID "${long}" is longer than 128 characters`,
    );
    assertEquals(await refusal({ ...pod, name: "a;b" }), 'usage: the pod name "a;b" is invalid');
    await pods.setUp(pod);
    assertEquals(
      await refusal(pod),
      'conflict: the container ID "web" is taken: its pod is set up already',
    );
    await using others = await world.open({ owner: "others" });
    assertEquals(
      await refusal(pod, others),
      'conflict: the container ID "web" is taken by a pod of another owner, "pods:pods"',
    );
    assertEquals(await pods.tearDown(pod.containerId), []);
    await sandbox.podwire().sandboxes.run({ id: pod.containerId });
    assertEquals(await refusal(pod), 'conflict: the container ID "web" is taken by a sandbox of its own');
    await sandbox.podwire().sandboxes.remove(pod.containerId);
  },
);
