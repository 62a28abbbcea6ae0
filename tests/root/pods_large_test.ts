// Large numbers: pods whose set-up carries 64 kB, 1,000 networks in the directory, 2,000 pods on record, or
// as many as PODWIRE_TEST_PODS says. Everything is found by its name, so the number of system calls does not
// grow with the number of things.
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import type { Pods } from "../../lib/runtime/pods.ts";
import { FileCalls } from "../file_calls.ts";
import { idsFrom, multiply } from "../many_records.ts";
import { podsTest, type PodsWorld } from "./pods_world.ts";
import { until } from "./sandbox_world.ts";

const PODS = Number(Deno.env.get("PODWIRE_TEST_PODS") ?? 2_000);
/** The others have one each: there are not as many as 10,000. */
const WITHOUT_PORT = Math.floor(PODS * 0.9);
const ANNOTATIONS = "io.kubernetes.cri.pod-annotations";

podsTest(
  "F2 F67 F76 64 kB of annotations reach ADD, CHECK and DEL complete, and are on record and in the cache meanwhile",
  async (world) => {
    const { sandbox } = world;
    const plugin = await sandbox.network("a");
    const list = {
      cniVersion: "1.1.0",
      name: "a",
      plugins: [{ type: "a", capabilities: { [ANNOTATIONS]: true } }],
    };
    await Deno.writeTextFile(`${sandbox.confDir}/a.conflist`, JSON.stringify(list));
    const annotations = Object.fromEntries(
      Array.from({ length: 64 }, (_, index) => [`example.net/${index}`, '\u00e4"\n\u{1f600}'.repeat(128)]),
    );
    assert(new TextEncoder().encode(JSON.stringify(annotations)).length > 64 * 1024);
    await using pods = await world.open();
    const pod = await world.pod("web", { annotations });
    await pods.setUp(pod);
    const [record] = await pods.attachments();
    assertEquals(record?.capabilityArgs[ANNOTATIONS], annotations);
    const cached = await Deno.readTextFile(`${sandbox.dir}/cache/results/a-${pod.containerId}-eth0`);
    assertEquals(JSON.parse(cached).capabilityArgs[ANNOTATIONS], annotations);
    assertEquals((await pods.podStatus(pod.containerId)).ready, true);
    // The record counts, whatever happens to the file.
    await Deno.remove(`${sandbox.confDir}/a.conflist`);
    assertEquals(await pods.tearDown(pod.containerId), []);
    const seen = (await plugin.calls()).filter(({ verb }) => ["ADD", "CHECK", "DEL"].includes(verb));
    assertEquals(seen.map(({ verb, config }) => [verb, config.runtimeConfig[ANNOTATIONS]]), [
      ["ADD", annotations],
      ["CHECK", annotations],
      ["DEL", annotations],
    ]);
    assertEquals(await sandbox.left(), ["netns/web"]);
  },
);

podsTest(
  "F65 F70 arguments that do not fit into an environment are refused before anything runs",
  async (world) => {
    const { sandbox } = world;
    await sandbox.network("a");
    await sandbox.network("b");
    await using pods = await world.open();
    const args = [["IgnoreUnknown", "1"], ["TEXT", "x".repeat(131_072)]] as const;
    const pod = await world.pod("web", { networks: [{ name: "a" }, { name: "b", args }] });
    const error = await assertRejects(() => pods.setUp(pod), CniError);
    assertEquals(error.kind, "usage");
    assertMatch(error.message, /together are too long for the variable CNI_ARGS/);
    assertEquals((await sandbox.calls()).filter((line) => line.includes(" ADD ")), []);
    assertEquals(await sandbox.left(), ["netns/web"]);
    await pods.setUp({ ...pod, networks: [{ name: "a" }, { name: "b" }] });
    assertEquals(await pods.tearDown(pod.containerId), []);
  },
);

/** A plugin that costs next to nothing. */
const QUICK = `#!/bin/sh
while read -r line; do :; done
case $CNI_COMMAND in
  ADD) echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.2/24"}]}' ;;
  VERSION) echo '{"cniVersion": "1.1.0", "supportedVersions": ["1.0.0", "1.1.0"]}' ;;
esac
`;

async function quickNetworks({ sandbox }: PodsWorld, names: readonly string[], mtu?: number): Promise<void> {
  await Deno.writeTextFile(`${sandbox.plugins.dir}/quick`, QUICK, { mode: 0o755 });
  for (const name of names) {
    const plugin = { type: "quick", capabilities: { portMappings: true }, ...(mtu && { mtu }) };
    const list = { cniVersion: "1.0.0", name, plugins: [plugin] };
    const temp = `${sandbox.confDir}/${name}.tmp`;
    await Deno.writeTextFile(temp, JSON.stringify(list));
    await Deno.rename(temp, `${sandbox.confDir}/${name}.conflist`);
  }
}

/** One pod comes and goes. */
async function comeAndGo(world: PodsWorld, pods: Pods, name: string, networks?: { name: string }[]) {
  const pod = await world.pod(name, networks === undefined ? {} : { networks });
  const { networks: attached } = await pods.setUp(pod);
  assertEquals((await pods.podStatus(pod.containerId)).ready, true);
  assertEquals(await pods.tearDown(pod.containerId), []);
  return attached.map((one) => one.name);
}

podsTest(
  "F17 F24 F26 F36 with 1,000 networks each of them can be used, the status is there at once, and one file that changes is read alone",
  async (world) => {
    const names = idsFrom("net", 1_000);
    await quickNetworks(world, names);
    await using pods = await world.open({ watch: true });
    assertEquals(
      (await pods.networks()).map(({ name, status }) => `${name} ${status}`),
      names.map((name) => `${name} used`),
    );
    assertEquals(await comeAndGo(world, pods, "any"), ["net00000"]);
    assertEquals(await comeAndGo(world, pods, "last", [{ name: "net00999" }, { name: "net00500" }]), [
      "net00999",
      "net00500",
    ]);
    await until(async () => (await pods.status()).every(({ ready }) => ready));
    const times: number[] = [];
    for (let n = 0; n < 21; n++) {
      const start = performance.now();
      assertEquals((await pods.status()).length, 1_000);
      times.push(performance.now() - start);
    }
    // No plugin could answer as often in this time, nor could the files be read.
    assert(times.toSorted((a, b) => a - b)[10]! < 500, `${times}`);

    // A file that was written a moment ago is read twice.
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    await pods.reload();
    const notified = Promise.withResolvers<void>();
    using _listening = pods.onNetworks(() => notified.resolve());
    using calls = new FileCalls();
    await quickNetworks(world, ["net00700"], 9_000);
    await notified.promise;
    assert((calls.take().readTextFile ?? 0) < 20, "only what has changed is read");
    assertEquals((await pods.networks()).length, 1_000);
    assertEquals(await comeAndGo(world, pods, "after", [{ name: "net00700" }]), ["net00700"]);
    await Deno.remove(`${world.sandbox.confDir}/net00000.conflist`);
    await until(async () => await pods.defaultNetwork() === "net00001");
    assertEquals(await world.sandbox.left(), ["netns/after", "netns/any", "netns/last"]);
  },
);

/** Runs a test whose records are in memory, where many are written in seconds. */
function manyTest(name: string, fn: (world: PodsWorld) => Promise<void>): void {
  podsTest(name, async (world) => {
    const { sandbox } = world;
    const dirs = [sandbox.stateDir, `${sandbox.dir}/cache`];
    for (const dir of dirs) {
      await sandbox.sh('mkdir -p "$1"; mount -t tmpfs -o mode=0700 podwire-test "$1"', dir);
    }
    try {
      await fn(world);
    } finally {
      for (const dir of dirs) await sandbox.sh('umount -l "$1"', dir);
    }
  });
}

type Counts = Readonly<Record<string, number>>;

/** The system calls while one pod comes, is looked at, and goes. */
async function counted(world: PodsWorld, pods: Pods, name: string): Promise<Record<string, Counts>> {
  const publish = [{ hostIP: "", hostPort: 19_999, containerPort: 80, protocol: "tcp" }] as const;
  const { containerId, ...pod } = await world.pod(name, { publish });
  using calls = new FileCalls();
  await pods.setUp({ containerId, ...pod });
  const setUp = calls.take();
  assertEquals((await pods.podStatus(containerId)).ready, true);
  const status = calls.take();
  assertEquals(await pods.tearDown(containerId), []);
  return { setUp, status, tearDown: calls.take() };
}

/** The least of three times: what runs now and then beside the calls is counted too. */
async function fewest(world: PodsWorld, pods: Pods, name: string): Promise<Record<string, Counts>> {
  const rounds: Record<string, Counts>[] = [];
  for (const nth of [1, 2, 3]) rounds.push(await counted(world, pods, `${name}-${nth}`));
  return Object.fromEntries(
    Object.keys(rounds[0] ?? {}).map((what) => {
      const all = rounds.map((round) => round[what] ?? {});
      const names = Object.keys(all[0] ?? {}).filter((name) => all.every((counts) => name in counts));
      return [
        what,
        Object.fromEntries(names.map((name) => [name, Math.min(...all.map((one) => one[name]!))])),
      ];
    }),
  );
}

/** What takes more calls than expected, and how many. */
function moreCalls(actual: Record<string, Counts>, expected: Record<string, Counts>): string[] {
  return Object.entries(actual).flatMap(([what, counts]) =>
    Object.entries(counts).flatMap(([call, count]) => {
      const most = expected[what]?.[call] ?? 0;
      return count > most ? [`${what}: ${count} of ${call}, not ${most}`] : [];
    })
  );
}

/** Its claims are in other files than that of the pod that is counted. */
const OTHER_BLOCK = 20_032;

manyTest(
  `F49 F79 F91 F97 beside ${PODS} pods on record one comes and goes with as many calls as alone, and all are listed, judged and kept`,
  async (world) => {
    const { sandbox } = world;
    await quickNetworks(world, ["net"]);
    await using pods = await world.open();
    const like = await world.pod("like");
    await pods.setUp(like);
    await until(async () => (await pods.status()).every(({ ready }) => ready));
    await counted(world, pods, "first");
    const alone = await fewest(world, pods, "alone");
    assert((alone.setUp?.open ?? 0) > 0 && (alone.tearDown?.remove ?? 0) > 0, "they are counted");
    const ids = idsFrom(`${sandbox.id("copy")}-`, PODS);
    const dirs = { stateDir: sandbox.stateDir, cacheDir: `${sandbox.dir}/cache`, runDir: sandbox.runDir };
    await multiply(dirs, like.containerId, { ids: ids.slice(0, WITHOUT_PORT) });
    await multiply(dirs, like.containerId, { ids: ids.slice(WITHOUT_PORT), firstPort: OTHER_BLOCK });
    // Again, as something may run now and then in all of three rounds; what reads each record always does.
    let more = moreCalls(await fewest(world, pods, "beside"), alone);
    for (let again = 1; again <= 3 && more.length > 0; again++) {
      more = moreCalls(await fewest(world, pods, `beside-${again}`), alone);
    }
    assertEquals(more, []);
    // A process that has just begun need not read all of them either.
    {
      await using others = await world.open();
      await until(async () => (await others.status()).every(({ ready }) => ready));
      using calls = new FileCalls();
      const pod = await world.pod("other");
      await others.setUp(pod);
      assertEquals(await others.tearDown(pod.containerId), []);
      assert((calls.take().names ?? 0) < 50);
    }
    // Nor need it for a default network that stays since they exist.
    await quickNetworks(world, ["another"]);
    assertEquals(await pods.defaultNetwork(), "net");
    const { setUp } = await fewest(world, pods, "pinned");
    assert((setUp?.names ?? 0) < 50, JSON.stringify(setUp));

    assertEquals((await pods.podStatus(ids[777] ?? "")).ready, true);
    assertEquals((await pods.attachments()).length, PODS + 1);
    const swept = await pods.gc({ dryRun: true });
    assertEquals({ removed: swept.removed, failed: swept.failed, keptCount: swept.kept.length }, {
      removed: [],
      failed: [],
      keptCount: PODS + 1,
    });
    const valid = [like.containerId, ...ids.slice(100)];
    const judged = await pods.gc({ dryRun: true, validPods: valid });
    // Every other one is a sandbox of podwire itself, which no engine judges; of a pod the record is removed,
    // too.
    assertEquals({ removedCount: judged.removed.length, failed: judged.failed }, {
      removedCount: 100,
      failed: [],
    });
    const gone = new Set(judged.removed.map(({ containerId }) => containerId));
    assertEquals([...gone].sort(), ids.slice(0, 100).filter((_, index) => index % 2 === 0));

    let progress = 0;
    const { removed, failed } = await pods.recover({ onProgress: ({ done }) => progress = done });
    assertEquals({ removed, failed, progress }, { removed: [], failed: [], progress: PODS + 1 });
    assertEquals(await pods.tearDown(ids[0] ?? ""), []);
    assertEquals((await pods.attachments()).length, PODS);
  },
);
