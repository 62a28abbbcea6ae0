// Forgetting attachments that cannot be detached, and the limit for one pod, on the command line and in the
// daemon.
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { binaryTest, type BinaryWorld } from "./binary_world.ts";
import { DaemonProcess } from "./daemon_world.ts";

/** Its ADD fails while a file asks for that, and its DEL always fails. */
const BROKEN = `#!/bin/sh
cat >/dev/null
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}' ;;
ADD) [ ! -e "$0.refuses" ] || { echo '{"code": 107, "msg": "no room"}'; exit 1; }; echo '{"cniVersion": "1.0.0"}' ;;
DEL) echo '{"code": 108, "msg": "will not"}'; exit 1 ;;
esac
`;

async function brokenNetwork(world: BinaryWorld, refuses = true): Promise<void> {
  const path = await world.plugin("broken", BROKEN);
  if (refuses) await Deno.writeTextFile(`${path}.refuses`, "");
  await world.list([{ type: "broken" }]);
}

const attachments = async (world: BinaryWorld, ...more: string[]): Promise<string[]> =>
  (await world.json(["attachments", ...more])).map((each: Record<string, string>) =>
    `${each.containerId} ${each.ifName} ${each.state}`
  );

const WHY = "--reason=its master is gone";

binaryTest(
  "forget says what it would do, does it once, and writes the reason into the log",
  [],
  async (world) => {
    await brokenNetwork(world);
    const [one, two] = [world.id("one"), world.id("two")];
    for (const id of [one, two]) await world.podwire(["run", `pod-${id}`, "--id", id]);
    const failed = [`${one} eth0 failed`, `${two} eth0 failed`];
    assertEquals(await attachments(world), failed);

    const name = `attachment ${one} ${world.network}:eth0`;
    const left = 'may be left  whatever plugin "broken" made for it\n';
    assertEquals(await world.done(["forget", one, WHY, "--dry-run"]), `would forget ${name}\n${left}`);
    const plan = await world.json(["forget", one, WHY, "--dry-run"]);
    assertEquals(
      plan.forgotten.map((
        { containerId, ifName, how }: Record<string, string>,
      ) => [containerId, ifName, how]),
      [
        [one, "eth0", "let go"],
      ],
    );
    assertEquals(await attachments(world), failed);

    const done = await world.podwire(["forget", one, "eth0", world.network, WHY]);
    const said = `Cannot DEL network "${world.network}", plugin "broken" (1 of 1): will not`;
    assertEquals({ code: done.code, stdout: done.stdout }, {
      code: 0,
      stdout: `let go       ${name}: ${said}\n${left}`,
    });
    assertMatch(done.stderr, /^warn: an attachment is forgotten: its master is gone [^\n]*\n$/);
    assertStringIncludes(done.stderr, `containerId=${one}`);
    assertEquals(await attachments(world), [failed[1]]);
    assertEquals((await world.refused(3, ["forget", one, WHY])).kind, "not-found");

    const last = await world.podwire(["forget", two, WHY, "--json"]);
    const [{ how, error }] = JSON.parse(last.stdout).forgotten;
    assertEquals({ lastCode: last.code, how, kind: error.kind, errorCode: error.code }, {
      lastCode: 0,
      how: "let go",
      kind: "plugin",
      errorCode: 108,
    });
    assertEquals(await world.traces(), []);
  },
);

binaryTest("forget refuses an ambiguous request, and keeps what can be detached", [], async (world) => {
  await brokenNetwork(world, false);
  const id = world.id("one");
  await world.done(["run", "web", "--id", id]);
  const cases: readonly (readonly [number, string, RegExp, readonly string[]])[] = [
    [2, "usage", /--reason is missing/, [id]],
    [2, "usage", /--reason needs a value/, [id, "--reason="]],
    [2, "usage", /a reason is needed/, [id, "--reason= "]],
    [2, "usage", /invalid characters in containerID/, ["../one", WHY]],
    [2, "usage", /interface name contains/, [id, "a/b", WHY]],
    [2, "usage", /unexpected argument "more"/, [id, "eth0", world.network, "more", WHY]],
    [3, "not-found", /no attachment of the container "absent" is on record/, ["absent", WHY]],
    // The whole container ID: a prefix may be another container's.
    [3, "not-found", /is on record/, [id.slice(0, -1), WHY]],
    [3, "not-found", /as "eth7" is on record/, [id, "eth7", WHY]],
    [3, "not-found", /to network "other" as "eth0" is on record/, [id, "eth0", "other", WHY]],
    [1, "conflict", /is attached to network/, [id, WHY]],
    [1, "conflict", /is attached to network/, [id, WHY, "--dry-run"]],
  ];
  for (const [code, kind, words, args] of cases) {
    const error = await world.refused(code, ["forget", ...args]);
    assertEquals(error.kind, kind, JSON.stringify(args));
    assertMatch(error.msg, words);
  }
  assertEquals(await attachments(world), [`${id} eth0 attached`]);
  assertEquals((await world.podwire(["rm", "-f", "web"])).code, 0);
  assertEquals(await attachments(world, "--failed"), [`${id} eth0 failed`]);
  await world.podwire(["forget", id, WHY]);
  assertEquals(await world.traces(), []);
});

binaryTest("the daemon forgets as the command line does", [], async (world) => {
  await brokenNetwork(world);
  await using daemon = await DaemonProcess.start(world);
  const id = world.id("one");
  const made = await daemon.call("POST", "/v1/sandboxes", { name: "web", id });
  assertEquals({ status: made.status, code: made.json.error.code }, { status: 500, code: 107 }, made.text);
  const forget = (target: string, body: unknown) =>
    daemon.call("POST", `/v1/attachments/${target}/forget`, body);
  const reason = "its master is gone";
  const cases: readonly (readonly [number, string, unknown])[] = [
    [400, id, {}],
    [400, id, { reason: " " }],
    [400, id, { reason, ifName: "a/b" }],
    [400, "..one", { reason }],
    [400, "a".repeat(5_000), { reason }],
    [404, "absent", { reason }],
    [404, id, { reason, ifName: "eth7" }],
    [404, id, { reason, network: "other" }],
  ];
  for (const [status, target, body] of cases) {
    const answer = await forget(target, body);
    assertEquals(answer.status, status, `${target.slice(0, 20)} ${JSON.stringify(body)}: ${answer.text}`);
  }
  const plan = await forget(id, { reason, dryRun: true });
  assertEquals({ status: plan.status, forgottenCount: plan.json.forgotten.length }, {
    status: 200,
    forgottenCount: 1,
  }, plan.text);
  assertEquals(await attachments(world), [`${id} eth0 failed`]);
  const done = await forget(id, { reason, ifName: "eth0", network: world.network });
  assertEquals(
    { status: done.status, code: done.json.forgotten[0].error.code },
    { status: 200, code: 108 },
    done.text,
  );
  assertEquals((await daemon.call("GET", "/v1/attachments")).json, []);
  const lines = await daemon.end();
  assertEquals(lines.filter(({ msg }) => String(msg).endsWith(`is forgotten: ${reason}`)).length, 1);
});

binaryTest("a pod may leave as many failed attachments as --max-failed allows", [], async (world) => {
  await brokenNetwork(world);
  const run = (name: string, ...more: string[]) => {
    const id = world.id(`${name}${crypto.randomUUID().slice(0, 8)}`);
    return world.refused(1, ["run", name, "--id", id, ...more]);
  };
  for (let left = 0; left < 2; left++) assertEquals((await run("web", "--max-failed=2")).code, 107);
  const refused = await run("web", "--max-failed=2");
  assertEquals(refused.kind, "conflict");
  assertStringIncludes(refused.details, "(--max-failed)");
  assertStringIncludes(refused.hint, "podwire forget ID --reason TEXT");
  assertEquals((await run("db", "--max-failed=2")).code, 107, "another pod");
  assertEquals((await run("web")).code, 107, "16 where nothing is said");
  assertEquals((await run("web", "--max-failed=0")).code, 107, "any number");
  for (const word of ["-1", "1.5", "many", "1e3", "99999999999"]) {
    const { msg } = await world.refused(2, ["run", "web", `--max-failed=${word}`]);
    assertEquals(msg, `--max-failed: "${word}" is not a whole number from 0 on`);
  }
  assertEquals((await attachments(world, "--failed")).length, 5);
});

binaryTest("the daemon respects --max-failed, too", [], async (world) => {
  await brokenNetwork(world);
  await using daemon = await DaemonProcess.start(world, ["--max-failed=2"]);
  const run = async (name: string) => {
    const id = world.id(`${name}${crypto.randomUUID().slice(0, 8)}`);
    const { status, json } = await daemon.call("POST", "/v1/sandboxes", { name, id });
    return [status, json.error.kind];
  };
  for (let left = 0; left < 2; left++) assertEquals(await run("web"), [500, "plugin"]);
  assertEquals(await run("web"), [409, "conflict"]);
  assertEquals(await run("db"), [500, "plugin"]);
  const failed = (await daemon.call("GET", "/v1/attachments?failed=true")).json;
  const { containerId } = failed.find((each: { containerId: string }) => each.containerId.startsWith("web"));
  const target = `/v1/attachments/${containerId}/forget`;
  assertEquals((await daemon.call("POST", target, { reason: "a test" })).status, 200);
  assertEquals(await run("web"), [500, "plugin"]);
  await daemon.end();
});
