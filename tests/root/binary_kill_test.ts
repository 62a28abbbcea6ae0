// `kill -9` at any moment: `podwire recover` or the next `run` undoes what it interrupts, and leaves no
// trace.
//
// PODWIRE_TEST_KILLS=100 sets the number of kills in each test (`./denow task test
// tests/root/binary_kill_test.ts`).
import { assert, assertEquals } from "@std/assert";
import { binaryTest, type BinaryWorld, sh, until } from "./binary_world.ts";
import { CNI_1_9_1 } from "./need.ts";

const KILLS = Number(Deno.env.get("PODWIRE_TEST_KILLS") ?? 6);

/** Each verb takes some time, and leaves a marker file from the start of ADD to the end of DEL. */
const SLOW = (mark: string) =>
  `#!/bin/sh
cat >/dev/null
case $CNI_COMMAND in
  ADD) touch ${mark}; sleep 0.1; echo '{"dns": {}}' ;;
  DEL) sleep 0.05; rm -f ${mark} ;;
esac
`;

/** The command that is killed, and how it is prepared. */
interface Round {
  readonly args: (id: string) => readonly string[];
  readonly before?: (id: string) => Promise<unknown>;
}

/**
 * Kills the command again and again, each time a little later, through all of its duration. After every
 * second kill `recover` cleans up, after the others the next `run`.
 */
async function killThroughout(world: BinaryWorld, options: readonly string[], round: Round): Promise<void> {
  const call = { dirs: [...world.dirs, ...options] };
  const started = performance.now();
  await round.before?.(world.id("whole"));
  const beforeMs = performance.now() - started;
  await world.done(round.args(world.id("whole")), call);
  const duration = performance.now() - started - (round.before === undefined ? 0 : beforeMs);
  await world.podwire(["rm", "-f", world.id("whole")], call);
  assertEquals(await world.traces(), []);

  let interrupted = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    const id = world.id(`k${kill}`);
    await round.before?.(id);
    const child = world.start(round.args(id), call);
    // One moment in each part of the duration, at random.
    await new Promise((resolve) => setTimeout(resolve, duration * (kill + Math.random()) / KILLS));
    killed(child);
    if (!(await child.output()).success) interrupted++;
    if (kill % 2 === 0) {
      const report = await world.json(["recover"], call);
      assertEquals(report.failed, [], `kill ${kill}`);
    } else {
      const next = world.id(`n${kill}`);
      await world.done(["run", "--id", next], call);
      await world.done(["rm", next], call);
    }
    // A sandbox that was ready before the kill stays: no one asked to remove it.
    const { stdout } = await world.podwire(["ps", "--json"], call);
    for (const sandbox of JSON.parse(stdout)) {
      assert(["ready", "stopped"].includes(sandbox.state), JSON.stringify(sandbox));
      await world.done(["rm", sandbox.id], call);
    }
    assertEquals(await world.traces(), [], `kill ${kill}`);
  }
  assert(interrupted > 0, "every kill came too late");
}

function killed(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch (error) {
    // The command was done already.
    if (!(error instanceof TypeError)) throw error;
  }
}

const run: Round = { args: (id) => ["run", `name-${id}`, "--id", id] };

binaryTest(
  "kill -9 of run, with built-in plugins on a network of its own, leaves nothing",
  ["nft"],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    await killThroughout(world, ["--builtin=prefer"], run);
  },
);

binaryTest("kill -9 of run, on the embedded network, leaves nothing", [], async (world) => {
  await killThroughout(world, [], run);
});

binaryTest(
  "kill -9 of run, with slow plugins, leaves nothing, and no process",
  [],
  async (world) => {
    await Deno.mkdir(`${world.dir}/addresses`);
    for (const type of ["one", "two", "three"]) {
      await world.plugin(
        type,
        SLOW(`${world.dir}/addresses/${type}-$CNI_CONTAINERID`),
      );
    }
    await world.list([{ type: "one" }, { type: "two" }, { type: "three" }]);
    await killThroughout(world, [], run);
  },
);

binaryTest("kill -9 of run, with real plugins, leaves nothing", ["cni-1.9.1", "iptables"], async (world) => {
  // If the ADD of this bridge is killed between the addresses and their masquerading, its own DEL cannot undo
  // it while the namespace exists: the plugin takes the message of iptables about the missing chain for a
  // failure.
  await world.list([world.bridgePlugin({ ipMasq: false }), { type: "tuning", mtu: 1400 }]);
  await killThroughout(world, [`--plugin-dir=${CNI_1_9_1}`, "--builtin=off"], run);
});

binaryTest("the next command finishes an rm that kill -9 interrupted", [], async (world) => {
  await world.list([world.bridgePlugin()]);
  await killThroughout(world, [], {
    before: (id) => world.done(["run", `name-${id}`, "--id", id]),
    args: (id) => ["rm", "-f", id],
  });
});

binaryTest("recover leaves alone what a living process works on", [], async (world) => {
  await world.plugin(
    "slow",
    `#!/bin/sh\ncat >/dev/null\n[ $CNI_COMMAND = ADD ] || exit 0\ntouch ${world.dir}/called; while [ ! -e ${world.dir}/go ]; do sleep 0.02; done; echo '{"dns": {}}'\n`,
  );
  await world.list([{ type: "slow" }]);
  const id = world.id("busy");
  const child = world.start(["run", "--id", id]);
  await until("the plugin runs", () => Deno.stat(`${world.dir}/called`).then(() => true, () => false));
  const report = await world.json(["recover"]);
  assertEquals({ removed: report.removed, failed: report.failed }, { removed: [], failed: [] });
  assertEquals(report.kept.map(({ containerId, why }: Record<string, string>) => [containerId, why]), [[
    id,
    "an operation on it is under way",
  ]]);
  await Deno.writeTextFile(`${world.dir}/go`, "");
  assertEquals((await child.output()).code, 0);
  assertEquals((await world.json(["inspect", id])).state, "ready");
  await world.done(["rm", id]);
  assertEquals(await world.traces(), []);
});

binaryTest("a plugin that a killed run left behind is ended before its work is undone", [], async (world) => {
  await world.plugin(
    "slow",
    `#!/bin/sh\ncat >/dev/null\n[ $CNI_COMMAND = ADD ] || exit 0\ntouch ${world.dir}/called; sleep 600 & wait\n`,
  );
  await world.list([{ type: "slow" }]);
  const id = world.id("left");
  const child = world.start(["run", "--id", id]);
  await until("the plugin runs", () => Deno.stat(`${world.dir}/called`).then(() => true, () => false));
  child.kill("SIGKILL");
  await child.output();
  // The shell may still be starting it.
  const sleeping = async () => (await world.processes()).filter((process) => process.includes("sleep 600"));
  await until("the plugin sleeps", async () => (await sleeping()).length === 1);
  assertEquals((await world.json(["inspect", id])).state, "broken");
  const report = await world.json(["recover"]);
  assertEquals(report.failed, []);
  assertEquals(report.removed.map(({ kind, why }: Record<string, string>) => [kind, why]), [
    ["attachment", "its run was interrupted"],
    ["sandbox", "its run was interrupted"],
  ]);
  assertEquals(await world.traces(), []);
});

binaryTest(
  "the sysctls that a killed run has set in a borrowed namespace are restored",
  [],
  async (world) => {
    await world.plugin(
      "slow",
      `#!/bin/sh\ncat >/dev/null\n[ $CNI_COMMAND = ADD ] || exit 0\ntouch ${world.dir}/called; sleep 600 & wait\n`,
    );
    await world.list([{ type: "slow" }]);
    const [id, path] = [world.id("left"), `${world.dir}/borrowed`];
    const [ttl, forward] = ["net.ipv4.ip_default_ttl", "net.ipv4.ip_forward"];
    await sh(`touch ${path}; unshare --net=${path} true`);
    try {
      const values = async () => (await sh(`nsenter --net=${path} sysctl -n ${ttl} ${forward}`)).trim();
      // A new namespace inherits it from the machine, where it may be 1 already.
      await sh(`nsenter --net=${path} sysctl -qw ${forward}=0`);
      const child = world.start([
        "run",
        "--id",
        id,
        "--netns",
        path,
        "--sysctl",
        `${ttl}=77`,
        "--sysctl",
        `${forward}=1`,
      ]);
      await until("the plugin runs", () => Deno.stat(`${world.dir}/called`).then(() => true, () => false));
      child.kill("SIGKILL");
      await child.output();
      assertEquals(await values(), "77\n1");
      // The value that the owner of the namespace has set stays.
      await sh(`nsenter --net=${path} sysctl -qw ${ttl}=99`);
      assertEquals((await world.json(["recover"])).failed, []);
      assertEquals(await values(), "99\n0");
    } finally {
      await sh(`umount ${path}; rm ${path}`);
    }
    assertEquals(await world.traces(), []);
  },
);
