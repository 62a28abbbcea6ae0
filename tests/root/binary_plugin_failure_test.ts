// The errors of the program when a plugin, or the configuration that names it, is wrong: each has its own
// message and exit code, is an object with --json, and leaves nothing behind.
import { assert, assertEquals } from "@std/assert";
import { binaryTest, type BinaryWorld } from "./binary_world.ts";

const GOOD = `#!/bin/sh\ncat >/dev/null\n[ "$CNI_COMMAND" != ADD ] || echo '{"dns": {}}'\n`;
/** A plugin that does this at ADD, and succeeds at DEL. */
const atAdd = (script: string) =>
  `#!/bin/sh\ncat >/dev/null\n[ "$CNI_COMMAND" = ADD ] || exit 0\n${script}\n`;

interface Case {
  readonly name: string;
  /** Makes the plugin `bad`. */
  readonly make: (world: BinaryWorld) => Promise<unknown>;
  readonly kind: string;
  readonly code: number;
  /** The error object has these members. */
  readonly members?: Readonly<Record<string, unknown>>;
  /** What the first line of the text says after the plugin; "BAD" is its path. */
  readonly says: string;
  /** The lines below it. */
  readonly below?: readonly string[];
  /** @default {1} */
  readonly exit?: number;
}

const CASES: readonly Case[] = [
  {
    name: "is missing",
    make: () => Promise.resolve(),
    kind: "plugin-missing",
    code: 0,
    says: 'failed to find plugin "bad" in path [DIR /opt/bad/bin]',
    below: ["hint: install the plugin into one of these directories or name its directory with --plugin-dir"],
  },
  {
    name: "is not executable",
    make: (world) => world.plugin("bad", GOOD, 0o644),
    kind: "plugin-missing",
    code: 0,
    says: 'BAD is not executable; no executable plugin "bad" in path [DIR /opt/bad/bin]',
    below: ["hint: chmod +x BAD"],
  },
  {
    name: "is not a program",
    make: (world) => world.plugin("bad", "neither a script nor a binary\n"),
    kind: "plugin-start",
    code: 0,
    says: "BAD cannot be started: it is not a program for this machine",
  },
  {
    name: "names an interpreter that does not exist",
    make: (world) => world.plugin("bad", "#!/no/such/interpreter\n"),
    kind: "plugin-start",
    code: 0,
    says: "BAD cannot be started: its interpreter is missing",
  },
  {
    name: "prints nothing",
    make: (world) => world.plugin("bad", atAdd("exit 0")),
    kind: "plugin-output",
    code: 6,
    says: "the plugin succeeded, but did not print a result (code 6",
  },
  {
    name: "prints garbage",
    make: (world) => world.plugin("bad", atAdd("echo 'hello world'")),
    kind: "plugin-output",
    code: 6,
    says: 'the plugin did not print a JSON result: "hello world\\n"',
  },
  {
    name: "prints a result of an invalid shape",
    make: (world) => world.plugin("bad", atAdd(`echo '{"cniVersion": "1.0.0", "ips": [{"address": 5}]}'`)),
    kind: "plugin-output",
    code: 6,
    says: "ips[0].address",
  },
  {
    name: "prints garbage and fails",
    make: (world) => world.plugin("bad", atAdd("echo oops; exit 3")),
    kind: "plugin-output",
    code: 0,
    members: { exitCode: 3 },
    says: 'the plugin ended with exit status 3 and did not print an error object: "oops\\n"',
  },
  {
    name: "fails without a message",
    make: (world) => world.plugin("bad", atAdd("exit 7")),
    kind: "plugin-crash",
    code: 0,
    members: { exitCode: 7 },
    says: "the plugin ended with exit status 7 without a message",
  },
  {
    name: "fails with a message on standard error",
    make: (world) => world.plugin("bad", atAdd("echo 'panic: no' >&2; exit 2")),
    kind: "plugin-crash",
    code: 0,
    members: { exitCode: 2, stderr: "panic: no" },
    says: 'the plugin ended with exit status 2; it wrote to standard error: "panic: no"',
  },
  {
    name: "dies by a signal",
    make: (world) => world.plugin("bad", atAdd("kill -SEGV $$")),
    kind: "plugin-crash",
    code: 0,
    members: { signal: "SIGSEGV" },
    says: "the plugin was ended by signal SIGSEGV without a message",
  },
  {
    name: "prints an error object",
    make: (world) =>
      world.plugin(
        "bad",
        atAdd(`echo '{"code": 107, "msg": "no uplink", "details": "eth7 is down"}'; exit 1`),
      ),
    kind: "plugin",
    code: 107,
    members: { msg: "no uplink", details: "eth7 is down", exitCode: 1 },
    says: "no uplink; eth7 is down (code 107",
  },
  {
    name: "prints an error object and explains itself on standard error",
    make: (world) =>
      world.plugin("bad", atAdd(`echo one >&2; echo two >&2; echo '{"code": 100, "msg": "no"}'; exit 1`)),
    kind: "plugin",
    code: 100,
    members: { stderr: "one\ntwo" },
    says: "no (code 100",
    below: ["stderr: one", "stderr: two"],
  },
  {
    name: "prints a result and then fails",
    make: (world) => world.plugin("bad", atAdd(`echo '{"cniVersion": "1.0.0"}'; exit 1`)),
    kind: "plugin-crash",
    code: 0,
    members: { exitCode: 1 },
    says:
      'the plugin ended with exit status 1 and its error object has no message; it printed: "{\\"cniVersion\\"',
  },
  {
    name: "is not ready",
    make: (world) => world.plugin("bad", atAdd(`echo '{"code": 50, "msg": "my daemon is down"}'; exit 1`)),
    kind: "not-ready",
    code: 50,
    says: "my daemon is down (code 50",
    below: ["hint: the plugin cannot attach containers now; see its daemon"],
    exit: 6,
  },
  {
    name: "does not know the version",
    make: (world) =>
      world.plugin("bad", atAdd(`echo '{"code": 1, "msg": "incompatible CNI versions"}'; exit 1`)),
    kind: "plugin",
    code: 1,
    says: "incompatible CNI versions (code 1",
    below: ["hint: give the network a cniVersion that all of its plugins support"],
  },
];

for (const { name, make, kind, code, members = {}, says, below = [], exit = 1 } of CASES) {
  binaryTest(`a plugin that ${name} has its own message`, [], async (world) => {
    await world.plugin("good", GOOD);
    await world.list([{ type: "good" }, { type: "bad" }]);
    await make(world);
    const error = await world.refused(exit, ["run", "web", "--id", world.id("json")]);
    const shown = { kind: error.kind, code: error.code, verb: error.verb, network: error.network };
    assertEquals(shown, { kind, code, verb: "ADD", network: world.network });
    assertEquals({ plugin: error.plugin, pluginIndex: error.pluginIndex }, { plugin: "bad", pluginIndex: 1 });
    for (const [member, value] of Object.entries(members)) assertEquals(error[member], value, member);

    const filled = (text: string) =>
      text.replaceAll("BAD", `${world.pluginDir}/bad`).replaceAll("DIR", world.pluginDir);
    const text = await world.podwire(["run", "web", "--id", world.id("text")]);
    assertEquals({ code: text.code, stdout: text.stdout }, { code: exit, stdout: "" });
    const [first = "", ...more] = text.stderr.trimEnd().split("\n");
    const tried = `podwire: Cannot ADD network "${world.network}", plugin "bad" (2 of 2): `;
    assert(first.startsWith(tried) && first.includes(filled(says)), `${first}\nshould say: ${filled(says)}`);
    assertEquals(more, below.map((line) => `  ${filled(line)}`));
    assertEquals(await world.traces(), []);
  });
}

binaryTest("a missing plugin is found before the others run", [], async (world) => {
  await world.plugin("good", GOOD.replace("cat", `touch ${world.dir}/called; cat`));
  await world.list([{ type: "good" }, { type: "bad" }]);
  await world.refused(1, ["run", "web"]);
  assertEquals(await Deno.stat(`${world.dir}/called`).catch(() => "not called"), "not called");
});

binaryTest(
  "a broken configuration is named with file, line and column, and no other network takes its place",
  [],
  async (world) => {
    await world.conf(
      "10-broken.conflist",
      '{\n  "cniVersion": "1.0.0",\n  "name": "web",\n  "plugins": [{"type": "good"},]\n}\n',
    );
    const file = `${world.confDir}/10-broken.conflist`;
    const error = await world.refused(6, ["run", "web"]);
    assertEquals(error.kind, "not-ready");
    assert(error.details.includes(`${file}:4:32: `), error.details);
    const byName = await world.refused(3, ["run", "web", "--network", "web"]);
    assert(byName.details.includes(`${file}:4:32: `), byName.details);
    const text = await world.podwire(["run", "web"]);
    assertEquals({ code: text.code, stdout: text.stdout }, { code: 6, stdout: "" });
    assert(
      text.stderr.startsWith(
        `podwire: no usable network configuration in ${world.confDir}; rejected: ${file}:4:32: `,
      ),
      text.stderr,
    );
    assertEquals(
      (await world.json(["networks"])).map((
        { status, line, column }: Record<string, unknown>,
      ) => [status, line, column]),
      [["rejected", 4, 32]],
    );
    assertEquals(await world.traces(), []);
  },
);

binaryTest(
  "a configuration that is JSON but not a network is named with the path in it",
  [],
  async (world) => {
    await world.conf(
      "10-web.conflist",
      '{"cniVersion": "1.0.0", "name": "web",\n "plugins": [{"type": "good"}, {"typ": "bad"}]}',
    );
    const { details } = await world.refused(6, ["run", "web"]);
    assert(
      details.includes(`${world.confDir}/10-web.conflist:2:`) && details.includes("plugins[1]"),
      details,
    );
  },
);

binaryTest("the message of a plugin reaches the terminal without its escape sequences", [], async (world) => {
  await world.plugin(
    "bad",
    atAdd(`printf '\\033]0;owned\\007\\033[2J' >&2; echo '{"code": 100, "msg": "\\\\u001b[31mred"}'; exit 1`),
  );
  await world.list([{ type: "bad" }]);
  for (const options of [[], ["--log-level=debug"], ["--log-level=debug", "--json"]]) {
    const { stderr } = await world.podwire(["run", "web", ...options]);
    assert(stderr.includes("red") && stderr.includes("owned"), stderr);
    // deno-lint-ignore no-control-regex
    assert(!/[\x00-\x08\x0b-\x1f\x7f-\x9f]/.test(stderr), JSON.stringify(stderr));
  }
});
