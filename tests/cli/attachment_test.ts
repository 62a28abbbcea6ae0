// The verbs of cnitool, in process: what they read and print, and their exit codes. The plugins are real.
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { main } from "../../lib/cli/main.ts";
import { CniError } from "../../lib/cni/error.ts";
import { parseCniArgs } from "../../lib/plugin/invocation.ts";
import { PluginFolder } from "../recording_plugin.ts";
import { FakeIo, type FakeProcess, podwire } from "./fake_io.ts";

const RESULT = '{"cniVersion":"1.0.0","ips":[{"address":"10.9.8.7/24"}]}';

/** The namespace is that of this process, so that no test needs root. The plugin does not read it. */
const TOOL = { type: "tool", podwireExistingLink: true };

/** One network `net` with a recording plugin, and a namespace to attach. */
class ToolWorld implements AsyncDisposable {
  private constructor(readonly dir: string, readonly plugins: PluginFolder) {}

  static async make(): Promise<ToolWorld> {
    const dir = await Deno.makeTempDir({ prefix: "podwire-tool-" });
    await Deno.mkdir(`${dir}/net.d`);
    await Deno.symlink("/proc/self/ns/net", `${dir}/netns`);
    const world = new ToolWorld(dir, await PluginFolder.make());
    await world.conf("10-net.conflist", {
      plugins: [{ ...TOOL, capabilities: { portMappings: true } }],
    });
    return world;
  }

  async conf(file: string, more: Record<string, unknown>): Promise<void> {
    const json = { cniVersion: "1.0.0", name: "net", ...more };
    await Deno.writeTextFile(`${this.dir}/net.d/${file}`, JSON.stringify(json));
  }

  get env(): Readonly<Record<string, string>> {
    return { NETCONFPATH: `${this.dir}/net.d`, CNI_PATH: this.plugins.dir, CNI_NETNS_OVERRIDE: "1" };
  }

  get netns(): string {
    return `${this.dir}/netns`;
  }

  /** Runs the program with directories of its own. */
  async tool(args: readonly string[], env: Readonly<Record<string, string>> = {}, more: FakeProcess = {}) {
    const dirs = ["cache", "state", "netns"].map((name) => `--${name}-dir=${this.dir}/${name}.d`);
    return await podwire([...args, ...dirs], { env: { ...this.env, ...env }, ...more });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.plugins[Symbol.asyncDispose]();
    await Deno.remove(this.dir, { recursive: true });
  }
}

Deno.test("H2 two operands are needed; one too many is refused, not ignored", async () => {
  await using world = await ToolWorld.make();
  await world.plugins.install("tool");
  for (const verb of ["add", "check", "del"]) {
    // `check` alone has another form: one operand names a sandbox.
    const one = verb === "check" ? [] : [["net"]];
    for (const operands of [[], ...one, ["net", world.netns, "more"]]) {
      const { code, stdout, stderr } = await world.tool([verb, ...operands]);
      assertEquals({ verb, code, stdout }, { verb, code: 2, stdout: "" });
      assertStringIncludes(stderr, `podwire ${verb} NETWORK NETNS`);
    }
  }
  const { code, stderr } = await world.tool(["check", "net"]);
  assertEquals(code, 3);
  assertStringIncludes(stderr, 'no sandbox "net"');
  assertEquals(await world.plugins.verbs(), []);
});

Deno.test("H3 H9 the interface comes from the option before or after the operands, else from the variable, else it is eth0", async () => {
  await using world = await ToolWorld.make();
  const plugin = await world.plugins.install("tool");
  const variable = { CNI_IFNAME: "var0" };
  const cases: readonly [readonly string[], Readonly<Record<string, string>>, string][] = [
    [["check", "-i", "opt0", "net", world.netns], variable, "opt0"],
    [["check", "net", world.netns, "--ifname=opt1"], variable, "opt1"],
    [["check", "net", world.netns], variable, "var0"],
    [["check", "net", world.netns], { CNI_IFNAME: "" }, "eth0"],
    [["check", "net", world.netns], {}, "eth0"],
  ];
  for (const [args, env] of cases) assertEquals((await world.tool(args, env)).code, 0);
  assertEquals((await plugin.calls()).map(({ env }) => env.CNI_IFNAME), cases.map(([, , name]) => name));
  for (const args of [["-h"], ["--help"], ["check", "--help"], ["check", "-h", "net"]]) {
    const { code, stdout, stderr } = await world.tool(args);
    assertEquals({ code, stderr }, { code: 0, stderr: "" });
    assertStringIncludes(stdout, "Usage: podwire ");
  }
});

Deno.test("H4 H5 H27 NETCONFPATH is searched by name: first lists, then single configurations", async () => {
  await using world = await ToolWorld.make();
  const plugin = await world.plugins.install("tool");
  await world.conf("05-net.conf", { type: "not-this-one" });
  await world.conf("20-other.conf", { name: "other", ...TOOL });
  await Deno.writeTextFile(`${world.dir}/net.d/00-broken.conflist`, "{");
  assertEquals((await world.tool(["check", "net", world.netns])).code, 0);
  assertEquals((await world.tool(["check", "other", world.netns])).code, 0);
  assertEquals((await plugin.calls()).map(({ config }) => config.name), ["net", "other"]);
  const absent = await world.tool(["check", "absent", world.netns]);
  assertEquals(absent.code, 3);
  assertStringIncludes(absent.stderr, `no net configuration with name "absent" in ${world.dir}/net.d`);
  const none = await world.tool(["check", "net", world.netns], { NETCONFPATH: `${world.dir}/nowhere` });
  assertEquals(none.code, 3);
});

Deno.test("H6 CNI_PATH is split, and a plugin that is in none of its directories is missing", async () => {
  await using world = await ToolWorld.make();
  await using front = await PluginFolder.make();
  await front.install("tool");
  await world.plugins.install("tool");
  const CNI_PATH = `/nowhere:${front.dir}:${world.plugins.dir}`;
  assertEquals((await world.tool(["check", "net", world.netns], { CNI_PATH })).code, 0);
  assertEquals([await front.verbs(), await world.plugins.verbs()], [["tool CHECK"], []]);
  const missing = await world.tool(["check", "net", world.netns], { CNI_PATH: "/nowhere" });
  assertEquals({ code: missing.code, stdout: missing.stdout }, { code: 1, stdout: "" });
  assertStringIncludes(missing.stderr, 'failed to find plugin "tool" in path [/nowhere /opt/tool/bin]');
});

Deno.test("H7 CAP_ARGS is one JSON object, or nothing", async () => {
  await using world = await ToolWorld.make();
  const plugin = await world.plugins.install("tool");
  const check = (CAP_ARGS: string) => world.tool(["check", "net", world.netns], { CAP_ARGS });
  for (const text of ["", '{"portMappings": [{"hostPort": 8080}], "unasked": 1}', "{}"]) {
    assertEquals((await check(text)).code, 0);
  }
  assertEquals((await plugin.calls()).map(({ config }) => config.runtimeConfig), [
    undefined,
    { portMappings: [{ hostPort: 8080 }] },
    undefined,
  ]);
  for (const text of ["[]", "7", '"x"', "null", "{", "{} {}", " "]) {
    const { code, stdout, stderr } = await check(text);
    assert(code !== 0, text);
    assertEquals(stdout, "");
    assertStringIncludes(stderr, "CAP_ARGS");
  }
  assertEquals((await plugin.calls()).length, 3);
});

Deno.test("H8 B84 CNI_ARGS are ordered pairs of a key, one = and a value that may be empty, for every verb, run, status and plugins", async () => {
  await using world = await ToolWorld.make();
  const plugin = await world.plugins.install("tool");
  const check = (CNI_ARGS: string) => world.tool(["check", "net", world.netns], { CNI_ARGS });
  const good = ["", "B=2;A=1;B=3", "A=;B=2"];
  for (const text of good) {
    assertEquals((await check(text)).code, 0);
    parseCniArgs(text);
  }
  assertEquals((await plugin.calls()).map(({ env }) => env.CNI_ARGS), good);
  for (const text of ["A", "=1", "A=1;", ";A=1", "A=1;;B=2", "A=1;;B", "A=1=2", ";"]) {
    assertThrows(() => parseCniArgs(text), CniError, "ARGS: invalid pair");
    for (
      const args of [
        ...["add", "check", "del"].map((verb) => [verb, "net", world.netns]),
        ["status", "net"],
        [
          "run",
        ],
      ]
    ) {
      const { code, stderr } = await world.tool(args, { CNI_ARGS: text });
      assertEquals({ args, text, code }, { args, text, code: 2 });
      assertMatch(stderr, /^podwire: .*CNI_ARGS: invalid pair "/);
    }
  }
  assertEquals((await plugin.calls()).length, good.length);
});

Deno.test("a namespace without a slash is one of ip netns for each verb, also if the working directory has such a file; an empty one is refused", async () => {
  await using world = await ToolWorld.make();
  const plugin = await world.plugins.install("tool", { ADD: { stdout: RESULT } });
  await Deno.mkdir(`${world.dir}/netns.d`);
  await Deno.symlink("/proc/self/ns/net", `${world.dir}/netns.d/README.md`);
  const call = (verb: string, netns: string) => world.tool([verb, "net", netns]);
  for (const verb of ["add", "check", "del"]) {
    assertEquals((await call(verb, "README.md")).code, 0, verb);
    for (const none of ["", ".", ".."]) assertEquals((await call(verb, none)).code, 3);
  }
  const paths = (await plugin.calls()).map(({ env }) => env.CNI_NETNS);
  assertEquals(paths, Array.from({ length: 3 }, () => `${world.dir}/netns.d/README.md`));
});

Deno.test("H13 two paths of one namespace are one container: attached with one, checked and detached with the other", async () => {
  await using world = await ToolWorld.make();
  const plugin = await world.plugins.install("tool", { ADD: { stdout: RESULT } });
  await Deno.mkdir(`${world.dir}/run`);
  await Deno.symlink("run", `${world.dir}/var-run`);
  await Deno.symlink("/proc/self/ns/net", `${world.dir}/run/ns`);
  const [real, other] = [`${world.dir}/run/ns`, `${world.dir}/var-run/ns`];
  assertEquals((await world.tool(["add", "net", real])).code, 0);
  const again = await world.tool(["add", "net", other]);
  assertEquals(again.code, 1);
  assertStringIncludes(again.stderr, "is attached already");
  assertEquals((await world.tool(["check", "net", other])).code, 0);
  // Also if the namespace is gone.
  await Deno.remove(real);
  assertEquals((await world.tool(["del", "net", other])).code, 0);
  const calls = await plugin.calls();
  assertEquals(calls.map(({ verb }) => verb), ["ADD", "CHECK", "DEL"]);
  assertEquals(new Set(calls.map(({ env }) => env.CNI_CONTAINERID)).size, 1);
  assertEquals(JSON.parse((await world.tool(["attachments", "--json"])).stdout), []);
});

Deno.test("H13 a namespace that is not attached has the ID that cnitool gives the path as it is written", async () => {
  await using world = await ToolWorld.make();
  const plugin = await world.plugins.install("tool");
  for (const path of ["/run/netns/demo", "/var/run/netns/demo"]) await world.tool(["del", "net", path]);
  const [first, second] = await plugin.calls();
  assertEquals(first?.env.CNI_CONTAINERID, "cnitool-78367785f8561ce49ede");
  assert(second?.env.CNI_CONTAINERID !== first?.env.CNI_CONTAINERID);
});

Deno.test("D81 H14 if the network, a variable or the namespace is wrong, no plugin runs", async () => {
  await using world = await ToolWorld.make();
  await world.plugins.install("tool");
  const good = { network: "net", netns: world.netns, CAP_ARGS: "{}", CNI_ARGS: "A=1", CNI_IFNAME: "eth0" };
  const wrong: readonly [Partial<typeof good>, number][] = [
    [{ network: "absent" }, 3],
    [{ CAP_ARGS: "[]" }, 2],
    [{ CNI_ARGS: "A" }, 2],
    [{ CNI_IFNAME: "a/b" }, 2],
    [{ netns: `${world.dir}/absent` }, 3],
    [{ netns: "" }, 3],
    [{ netns: `${world.dir}/net.d` }, 3],
  ];
  for (const [change, code] of wrong) {
    const { network, netns, ...env } = { ...good, ...change };
    const outcome = await world.tool(["add", network, netns], env);
    assertEquals({ change, code: outcome.code, stdout: outcome.stdout }, { change, code, stdout: "" });
  }
  assertEquals(await world.plugins.verbs(), []);
});

Deno.test("H16 H17 add prints only the result, the other verbs print nothing", async () => {
  await using world = await ToolWorld.make();
  await world.plugins.install("tool", { ADD: { stdout: RESULT, stderr: "chatting\n" } });
  const printed = JSON.stringify(JSON.parse(RESULT), null, 4);
  for (const [verb, expected] of [["add", printed], ["check", ""], ["del", ""], ["del", ""]] as const) {
    const { code, stdout, stderr } = await world.tool([verb, "net", world.netns]);
    assertEquals({ verb, code, stdout, stderr }, { verb, code: 0, stdout: expected, stderr: "" });
  }
});

Deno.test("H18 del uses the arguments of its add, or those given now if nothing is on record", async () => {
  await using world = await ToolWorld.make();
  const plugin = await world.plugins.install("tool", { ADD: { stdout: RESULT } });
  await world.tool(["add", "net", world.netns], { CNI_ARGS: "A=then" });
  await world.conf("10-net.conflist", { plugins: [{ type: "another" }] });
  assertEquals((await world.tool(["del", "net", world.netns], { CNI_ARGS: "A=now" })).code, 0);
  await world.conf("10-net.conflist", { plugins: [TOOL] });
  assertEquals((await world.tool(["del", "net", world.netns], { CNI_ARGS: "A=now" })).code, 0);
  const dels = (await plugin.calls()).filter(({ verb }) => verb === "DEL");
  assertEquals(dels.map(({ env, config }) => [env.CNI_ARGS, config.prevResult?.ips[0].address]), [
    ["A=then", "10.9.8.7/24"],
    ["A=now", undefined],
  ]);
});

Deno.test("H22 the standard error of a plugin is logged at level info, and never printed to standard output", async () => {
  await using world = await ToolWorld.make();
  await world.plugins.install("tool", { CHECK: { stderr: "hello from the plugin\n" } });
  const { code, stdout, stderr } = await world.tool(["check", "net", world.netns, "--log-level=info"]);
  assertEquals({ code, stdout }, { code: 0, stdout: "" });
  assertStringIncludes(stderr, "hello from the plugin");
  assertStringIncludes(stderr, "tool");
});

Deno.test("F143 H23 H24 a failure is printed once, without the usage, and exits 1", async () => {
  await using world = await ToolWorld.make();
  await world.plugins.install("tool", {
    CHECK: { stdout: '{"code": 107, "msg": "not as it was"}', code: 1 },
  });
  const { code, stdout, stderr } = await world.tool(["check", "net", world.netns]);
  assertEquals({ code, stdout }, { code: 1, stdout: "" });
  assertEquals(stderr.split("not as it was").length, 2, stderr);
  assertEquals(/usage/i.test(stderr), false, stderr);
  const usage = await world.tool(["check"]);
  assertEquals(usage.code, 2);
  assertMatch(usage.stderr, /usage: podwire check NETWORK NETNS/);
});

Deno.test("H25 without a command the help is printed, and an unknown command is refused", async () => {
  for (const args of [[], ["help"]]) {
    const { code, stdout, stderr } = await podwire(args);
    assertEquals({ code, stderr }, { code: 0, stderr: "" });
    assertStringIncludes(stdout, "Usage: podwire COMMAND");
  }
  const { code, stdout, stderr } = await podwire(["attach", "net", "/run/netns/x"]);
  assertEquals({ code, stdout }, { code: 2, stdout: "" });
  assertStringIncludes(stderr, 'unknown command "attach"');
});

Deno.test("H26 an interrupt or the time limit ends an add that hangs, and undoes it", async () => {
  await using world = await ToolWorld.make();
  await world.plugins.install("tool", { ADD: { stdout: "", hang: true } });
  const limited = await world.tool(["add", "net", world.netns, "--timeout=ADD=5s"]);
  assertEquals({ code: limited.code, stdout: limited.stdout }, { code: 5, stdout: "" });
  const dirs = ["cache", "state", "netns"].map((name) => `--${name}-dir=${world.dir}/${name}.d`);
  const io = new FakeIo(["add", "net", world.netns, ...dirs], { env: world.env });
  const pending = main(io);
  while ((await world.plugins.verbs()).length < 3) await new Promise((resolve) => setTimeout(resolve, 10));
  io.send("SIGINT");
  assertEquals({ pending: await pending, stdout: io.stdout, listeners: io.listeners }, {
    pending: 130,
    stdout: "",
    listeners: 0,
  });
  assertEquals(await world.plugins.verbs(), ["tool ADD", "tool DEL", "tool ADD", "tool DEL"]);
  assertEquals(JSON.parse((await world.tool(["attachments", "--json"])).stdout), []);
});

Deno.test("a wait for a plugin is logged, once in the first seconds", async () => {
  await using world = await ToolWorld.make();
  await world.plugins.install("tool", { DEL: { sleep: 7 } });
  // Recovery in another test ends all plugins of its container.
  const id = crypto.randomUUID();
  const { code, stdout, stderr } = await world.tool(["del", "net", world.netns, "--id", id]);
  assertEquals({ code, stdout }, { code: 0, stdout: "" });
  assertMatch(
    stderr,
    new RegExp(`^warn: still waiting for plugin "tool", DEL of network "net" containerId=${id} ms=\\d+\n`),
  );
});
