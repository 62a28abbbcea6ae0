// Plugins that do not answer: the program ends in time, names the plugin, and leaves nothing running.
import { assert, assertEquals } from "@std/assert";
import { binaryTest, type BinaryWorld } from "./binary_world.ts";

const GOOD = `#!/bin/sh
cat >/dev/null
[ "$CNI_COMMAND" != ADD ] || echo '{"dns": {}}'
`;
/** Waits for a child that holds its pipes. */
const HANGING_ADD = `#!/bin/sh
cat >/dev/null
[ "$CNI_COMMAND" = ADD ] || exit 0
echo "still thinking" >&2
sleep 600 &
wait
`;
const STUBBORN_ADD = HANGING_ADD.replace("sleep 600 &", "trap '' TERM; sleep 600 &");
/** The child has a session of its own: no signal to the plugin's group reaches it, and it holds the pipes. */
const RUNAWAY_ADD = HANGING_ADD.replace("sleep 600 &", "setsid sleep 600 &");

/** Runs a sandbox on a chain whose second plugin hangs, and returns the error and the elapsed time. */
async function runHanging(world: BinaryWorld, plugin: string, ...options: string[]) {
  await world.plugin("good", GOOD);
  await world.plugin("slow", plugin);
  await world.list([{ type: "good" }, { type: "slow" }, { type: "good" }]);
  const id = world.id("web");
  const started = performance.now();
  const error = await world.refused(5, ["run", "web", "--id", id, "--timeout", "ADD=3s", ...options]);
  const seconds = (performance.now() - started) / 1000;
  assertEquals({ kind: error.kind, verb: error.verb, network: error.network }, {
    kind: "timeout",
    verb: "ADD",
    network: world.network,
  });
  assertEquals({ plugin: error.plugin, pluginIndex: error.pluginIndex, stderr: error.stderr }, {
    plugin: "slow",
    pluginIndex: 1,
    stderr: "still thinking",
  });
  assertEquals(error.msg, "no answer within 3s");
  assert(error.elapsedMs > 2_900 && error.elapsedMs < 60_000, `${error.elapsedMs} ms`);
  return { error, seconds, id };
}

for (
  const [what, plugin] of [["a child", HANGING_ADD], ["a child and no ear for TERM", STUBBORN_ADD]] as const
) {
  binaryTest(`a plugin that hangs with ${what} is ended in time, and nothing is left`, [], async (world) => {
    const { error, seconds } = await runHanging(world, plugin);
    assert(seconds < 60, `${seconds} s`);
    assertEquals(error.hint, undefined);
    assertEquals(await world.traces(), []);
    assertEquals(await world.json(["attachments"]), []);
  });
}

binaryTest(
  "a grandchild that left its process group does not delay the program, and ends with it",
  [],
  async (world) => {
    const { seconds } = await runHanging(world, RUNAWAY_ADD);
    assert(seconds < 60, `${seconds} s`);
    assertEquals(await world.traces(), []);
  },
);

binaryTest(
  "the text names the plugin that hung, its place in the chain, and the elapsed time",
  [],
  async (world) => {
    await world.plugin("slow", HANGING_ADD);
    await world.list([{ type: "slow" }]);
    const { code, stdout, stderr } = await world.podwire(["run", "web", "--timeout", "3s"]);
    assertEquals({ code, stdout }, { code: 5, stdout: "" });
    const [first = "", ...more] = stderr.trimEnd().split("\n");
    assert(
      first.startsWith(
        `podwire: Cannot ADD network "${world.network}", plugin "slow" (1 of 1): no answer within 3s (`,
      ),
      first,
    );
    assert(/\(after \d+\.\ds/.test(first), first);
    assertEquals(more, ["  stderr: still thinking"]);
  },
);

binaryTest(
  "if DEL hangs too, the attachment stays on record as failed until recover removes it",
  [],
  async (world) => {
    const hanging = HANGING_ADD.replace(
      '[ "$CNI_COMMAND" = ADD ] || exit 0\n',
      `[ ! -e ${world.dir}/mended ] || exit 0\n`,
    );
    const { error, seconds, id } = await runHanging(world, hanging, "--timeout", "DEL=3s");
    assert(seconds < 120, `${seconds} s`);
    assert(error.hint.includes("podwire attachments") && error.hint.includes("podwire recover"), error.hint);

    assertEquals(await world.json(["ps"]), [], "the sandbox is not in the way");
    const [attachment, ...others] = await world.json(["attachments"]);
    assertEquals(others, []);
    assertEquals({
      containerId: attachment.containerId,
      network: attachment.network,
      state: attachment.state,
    }, { containerId: id, network: world.network, state: "failed" });
    assert(
      attachment.attempts >= 1 && Date.parse(attachment.nextTry) > Date.parse(attachment.since) - 1,
      "a next try",
    );
    assertEquals({
      kind: attachment.error.kind,
      plugin: attachment.error.plugin,
      verb: attachment.error.verb,
    }, { kind: "timeout", plugin: "slow", verb: "DEL" });
    assertEquals(await world.processes(), []);
    const namespaces = (await world.traces()).filter((trace) => trace.startsWith("netns/"));
    assertEquals(namespaces, [], "no half-made sandbox");

    const recover = ["recover", "--timeout", "DEL=3s", "--json"];
    const still = await world.podwire(recover);
    assertEquals({ code: still.code, failedCount: JSON.parse(still.stdout).failed.length }, {
      code: 1,
      failedCount: 1,
    });
    const table = await world.podwire(recover.slice(0, -1));
    assert(table.stdout.startsWith(`failed   attachment ${id} ${world.network}:eth0: `), table.stdout);
    const [again] = await world.json(["attachments"]);
    assert(again.attempts > attachment.attempts, "attempts are counted");

    await Deno.writeTextFile(`${world.dir}/mended`, "");
    const report = await world.json(["recover"]);
    assertEquals({ failed: report.failed, removedCount: report.removed.length }, {
      failed: [],
      removedCount: 1,
    });
    assertEquals({ containerId: report.removed[0].containerId, why: report.removed[0].why }, {
      containerId: id,
      why: "its DEL had failed",
    });
    assertEquals(await world.json(["attachments"]), []);
    assertEquals(await world.traces(), []);
  },
);

binaryTest(
  "a DEL that hangs does not block stop and rm -f; plain rm reports it and keeps the sandbox",
  [],
  async (world) => {
    const hanging = HANGING_ADD.replace(
      '[ "$CNI_COMMAND" = ADD ] || exit 0\n',
      `[ "$CNI_COMMAND" = DEL ] && [ ! -e ${world.dir}/mended ] || { echo '{"dns": {}}'; exit 0; }\n`,
    );
    await world.plugin("slow", hanging);
    await world.list([{ type: "slow" }]);
    const timeout = ["--timeout", "DEL=500ms"];
    await world.done(["run", "a"]);
    await world.done(["run", "b"]);
    const error = await world.refused(5, ["rm", "a", ...timeout]);
    assertEquals({ verb: error.verb, plugin: error.plugin }, { verb: "DEL", plugin: "slow" });
    assert(error.hint.includes("podwire rm -f"), error.hint);
    assertEquals((await world.json(["inspect", "a"])).state, "stopped");
    const stopped = await world.podwire(["stop", "b", ...timeout]);
    assertEquals({ code: stopped.code, stdout: stopped.stdout }, { code: 0, stdout: "" });
    assert(stopped.stderr.startsWith('warn: Cannot DEL network "'), stopped.stderr);
    for (const name of ["a", "b"]) {
      assertEquals(
        (await world.podwire(["rm", "-f", name, ...timeout])).code,
        0,
      );
    }
    assertEquals(await world.json(["ps"]), []);
    assertEquals((await world.json(["attachments"])).length, 2);
    await Deno.writeTextFile(`${world.dir}/mended`, "");
    assertEquals((await world.json(["recover"])).removed.length, 2);
    assertEquals(await world.traces(), []);
  },
);

binaryTest("Ctrl-C while a plugin hangs undoes everything and exits 130", [], async (world) => {
  await world.plugin("slow", HANGING_ADD.replace("echo ", `touch ${world.dir}/called; echo `));
  await world.list([{ type: "slow" }]);
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    await Deno.remove(`${world.dir}/called`).catch(() => {});
    const child = world.start(["run", "web", "--id", world.id(signal.toLowerCase()), "--json"]);
    while (!await Deno.stat(`${world.dir}/called`).then(() => true, () => false)) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const started = performance.now();
    child.kill(signal);
    const { code, stdout, stderr } = await child.output();
    assertEquals({ code, decode: new TextDecoder().decode(stdout) }, { code: 130, decode: "" });
    const error = JSON.parse(new TextDecoder().decode(stderr));
    assertEquals({ kind: error.kind, plugin: error.plugin }, { kind: "cancelled", plugin: "slow" });
    assert(error.msg.includes(signal), error.msg);
    assert(performance.now() - started < 60_000);
    assertEquals(await world.traces(), []);
  }
});
