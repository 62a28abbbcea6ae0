// `status` and `gc`, in process and with recording plugins: their output and their exit codes.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { main } from "../../lib/cli/main.ts";
import type { AttachmentStore } from "../../lib/state/attachment_store.ts";
import { ResultCache } from "../../lib/state/result_cache.ts";
import { type Answer, PluginFolder } from "../recording_plugin.ts";
import { FakeIo, type FakeProcess, podwire } from "./fake_io.ts";
import { storesIn } from "../stores.ts";

const AWAY: Answer = { stdout: '{"code": 50, "msg": "the daemon is away"}', code: 1 };

class World implements AsyncDisposable {
  private constructor(readonly dir: string, readonly plugins: PluginFolder) {}

  static async make(): Promise<World> {
    const dir = await Deno.makeTempDir({ prefix: "podwire-status-gc-" });
    await Deno.mkdir(`${dir}/net.d`);
    await Deno.symlink("/proc/self/ns/net", `${dir}/netns`);
    return new World(dir, await PluginFolder.make());
  }

  /** Adds a network and a plugin of the same name. */
  async network(name: string, answers: Readonly<Record<string, Answer>> = {}, more = {}) {
    const json = { cniVersion: "1.1.0", name, plugins: [{ type: name, podwireExistingLink: true }], ...more };
    await Deno.writeTextFile(`${this.dir}/net.d/${name}.conflist`, JSON.stringify(json));
    return await this.plugins.install(name, answers);
  }

  async podwire(args: readonly string[], process: FakeProcess = {}) {
    // The namespace is that of this process, so that no test needs root.
    const own = { CNI_NETNS_OVERRIDE: "1" };
    const env = { NETCONFPATH: `${this.dir}/net.d`, CNI_PATH: this.plugins.dir, ...own, ...process.env };
    const dirs = ["cache", "state", "netns"].map((name) => `--${name}-dir=${this.dir}/${name}.d`);
    return await podwire([...args, ...dirs], { ...process, env });
  }

  async add(network: string, id: string): Promise<void> {
    const { code, stderr } = await this.podwire(["add", network, `${this.dir}/netns`, "--id", id]);
    assertEquals({ code, stderr }, { code: 0, stderr: "" });
  }

  get store(): AttachmentStore {
    return storesIn(`${this.dir}/state.d`).store;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.plugins[Symbol.asyncDispose]();
    await Deno.remove(this.dir, { recursive: true });
  }
}

/** Defines a test with a new world. */
function worldTest(name: string, fn: (world: World) => Promise<void>): void {
  Deno.test(name, async () => {
    await using world = await World.make();
    await fn(world);
  });
}

worldTest(
  "H1 H17 status NETWORK NETNS prints nothing for a ready network, and needs no root",
  async (world) => {
    const web = await world.network("web");
    for (const operands of [["web"], ["web", "/any/where"], ["-i", "eth5", "web", "/any/where"]]) {
      const { code, stdout, stderr } = await world.podwire(["status", ...operands], { uid: 1000 });
      assertEquals({ code, stdout, stderr }, { code: 0, stdout: "", stderr: "" });
    }
    const verbs = (await web.calls()).map(({ verb }) => verb);
    assertEquals(verbs, ["VERSION", "STATUS", "VERSION", "STATUS", "VERSION", "STATUS"]);
  },
);

worldTest(
  "D51 H17 status NETWORK says on standard error why a network is not ready, and exits 6",
  async (world) => {
    await world.network("web", { STATUS: AWAY });
    const { code, stdout, stderr } = await world.podwire(["status", "web", "/x"]);
    assertEquals({ code, stdout }, { code: 6, stdout: "" });
    assertMatch(
      stderr,
      /^podwire: Cannot STATUS network "web", plugin "web" \(1 of 1\): the daemon is away \(code 50\)\n/,
    );
    assertEquals(stderr.split("the daemon is away").length, 2, "H24: it is said once");
  },
);

worldTest(
  "D50 status of a network below 1.1.0 succeeds silently, unless a plugin is missing or too old for it",
  async (world) => {
    const web = await world.network("web", { STATUS: AWAY }, { cniVersion: "1.0.0" });
    const { code, stdout, stderr } = await world.podwire(["status", "web", "/x"]);
    assertEquals({ code, stdout, stderr }, { code: 0, stdout: "", stderr: "" });
    await web.answer("VERSION", { stdout: '{"cniVersion": "0.4.0", "supportedVersions": ["0.4.0"]}' });
    const old = await world.podwire(["status", "web", "/x"]);
    assertEquals({ code: old.code, stdout: old.stdout }, { code: 6, stdout: "" });
    assertMatch(old.stderr, /plugin web does not support config version "1.0.0"; it supports 0.4.0/);
    await Deno.remove(web.path);
    const absent = await world.podwire(["status", "web", "/x"]);
    assertEquals({ code: absent.code, stdout: absent.stdout }, { code: 6, stdout: "" });
    assertMatch(
      absent.stderr,
      /^podwire: Cannot STATUS network "web", plugin "web" \(1 of 1\): failed to find/,
    );
  },
);

worldTest(
  "status without NETWORK shows all networks, with the reason of each that is not ready",
  async (world) => {
    await world.network("a");
    await world.network("b", { STATUS: AWAY });
    await world.network("c", {}, { plugins: [{ type: "absent" }] });
    await world.network("d", { STATUS: { stdout: '{"code": 51, "msg": "no way out"}', code: 1 } });
    await world.network("e", {
      VERSION: { stdout: '{"cniVersion": "1.0.0", "supportedVersions": ["0.3.1"]}' },
    }, {
      cniVersions: ["1.0.0"],
    });
    await world.network("f", { STATUS: { hang: true } });
    await world.network("g", {}, { cniVersion: "1.0.0" });
    const { code, stdout, stderr } = await world.podwire(["status", "--timeout", "STATUS=8s"]);
    assertEquals({ code, stderr }, { code: 6, stderr: "" });
    const rows = stdout.trimEnd().split("\n").map((line) => line.split(/ {2,}/).slice(0, 3));
    assertEquals(rows, [
      ["NETWORK", "READY", "REASON"],
      ["a", "yes", "-"],
      ["b", "no", "plugin-not-ready"],
      ["c", "no", "plugin-missing"],
      ["d", "no", "limited-connectivity"],
      ["e", "no", "version-mismatch"],
      ["f", "no", "timeout"],
      ["g", "yes", "-"],
    ]);
    assertStringIncludes(stdout, "the daemon is away");
    assertStringIncludes(stdout, "version 1.0.0 has no STATUS; its plugins are there and support it");
    const json = JSON.parse((await world.podwire(["status", "--json", "--timeout", "STATUS=8s"])).stdout);
    const { since } = json[0];
    assertMatch(since, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    const file = (name: string) => `${world.dir}/net.d/${name}.conflist`;
    assertEquals(json[0], { network: "a", ready: true, reason: null, msg: null, since, file: file("a") });
    assertEquals(json[1], {
      network: "b",
      ready: false,
      reason: "plugin-not-ready",
      msg: 'Cannot STATUS network "b", plugin "b" (1 of 1): the daemon is away',
      since,
      file: file("b"),
    });
  },
);

worldTest("status NETWORK --json prints an array of one element, and nothing else", async (world) => {
  await world.network("web", { STATUS: AWAY });
  const { code, stdout, stderr } = await world.podwire(["status", "--json", "web"]);
  assertEquals({ code, stderr }, { code: 6, stderr: "" });
  const [{ ready, reason }, ...more] = JSON.parse(stdout);
  assertEquals({ ready, reason, more }, { ready: false, reason: "plugin-not-ready", more: [] });
});

worldTest(
  "H5 H14 status and gc check the network first, then the variables of cnitool",
  async (world) => {
    await world.network("web");
    for (const verb of ["status", "gc"]) {
      const env = verb === "status" ? { CNI_ARGS: "bad" } : {};
      const absent = await world.podwire([verb, "absent", "/x"], { env });
      assertEquals({ code: absent.code, stdout: absent.stdout }, { code: 3, stdout: "" });
      assertMatch(absent.stderr, /no net configuration with name "absent"/);
      const both = await world.podwire([verb, "web", "/x"], { env: { CNI_ARGS: "bad", CAP_ARGS: "[]" } });
      assertEquals({ code: both.code, stdout: both.stdout }, { code: 2, stdout: "" });
      assertMatch(both.stderr, /CAP_ARGS/);
      const args = await world.podwire([verb, "web", "/x"], { env: { CNI_ARGS: "bad" } });
      assertEquals(args.code, 2);
      assertMatch(args.stderr, /CNI_ARGS: invalid pair "bad"/);
    }
    assertEquals(await world.plugins.verbs(), []);
  },
);

worldTest(
  "F132 G24 status of a directory without a usable network is not ready, and names the rejected files",
  async (world) => {
    const empty = await world.podwire(["status", "--json", "--default-network", "web"]);
    const { network, ready, reason, msg } = JSON.parse(empty.stdout).at(-1);
    assertEquals({ code: empty.code, network, ready, reason }, {
      code: 6,
      network: "web",
      ready: false,
      reason: "no-config",
    });
    assertMatch(msg, /the default network "web" is not in /);
    await Deno.writeTextFile(`${world.dir}/net.d/10-bad.conflist`, "{");
    const { code, stdout, stderr } = await world.podwire(["status"]);
    assertEquals({ code, stderr }, { code: 6, stderr: "" });
    assertMatch(stdout, /^NETWORK .*\n.* no {5}invalid-config .*10-bad.conflist:1:2: .*\n$/);
    const named = await world.podwire(["status", "web"]);
    assertEquals({ code: named.code, stdout: named.stdout }, { code: 3, stdout: "" });
    assertMatch(named.stderr, /no net configuration with name "web" .*10-bad.conflist:1:2/);
  },
);

worldTest(
  "an unusable file is listed, and does not affect the networks in use",
  async (world) => {
    await world.network("web");
    await Deno.writeTextFile(`${world.dir}/net.d/zz-bad.conflist`, "{");
    const { code, stdout, stderr } = await world.podwire(["status"]);
    assertEquals({ code, stderr }, { code: 0, stderr: "" });
    assertEquals(stdout.split("\n").map((line) => line.split(/ {2,}/)[2]), [
      "REASON",
      "-",
      "invalid-config",
      undefined,
    ]);
  },
);

worldTest(
  "if the first file is unusable, there is no default network: invalid-config with file and line, exit 6",
  async (world) => {
    await world.network("web");
    const file = `${world.dir}/net.d/00-bad.conflist`;
    await Deno.writeTextFile(file, '{\n  "name": 7\n}');
    const status = await world.podwire(["status", "--json"]);
    assertEquals(status.code, 6);
    const rows = JSON.parse(status.stdout).map((
      { network, ready, reason }: Record<string, unknown>,
    ) => [network, ready, reason]);
    assertEquals(rows, [[null, false, "invalid-config"], ["web", true, null], [
      null,
      false,
      "invalid-config",
    ]]);
    const run = await world.podwire(["run", "pod"]);
    assertEquals({ code: run.code, stdout: run.stdout }, { code: 6, stdout: "" });
    assertMatch(run.stderr, /00-bad\.conflist:2:11: the first configuration file cannot be used/);
    // A network that is named is still found.
    assertEquals((await world.podwire(["status", "--default-network", "web"])).code, 0);
  },
);

worldTest(
  "with --no-embedded, an empty directory has no network: no-config, exit 6",
  async (world) => {
    const status = await world.podwire(["status", "--json", "--no-embedded"]);
    assertEquals(status.code, 6);
    assertEquals(JSON.parse(status.stdout).map(({ reason }: Record<string, unknown>) => reason), [
      "no-config",
    ]);
    const run = await world.podwire(["run", "pod", "--no-embedded"]);
    assertEquals({ code: run.code, stdout: run.stdout }, { code: 6, stdout: "" });
    assertMatch(run.stderr, /no usable network configuration/);
  },
);

worldTest(
  "a named configuration directory that does not exist is an error",
  async (world) => {
    const dirs = ["--conf-dir", `${world.dir}/none`];
    for (const args of [["run", "pod"], ["networks"], ["status"]]) {
      const { code, stdout, stderr } = await world.podwire([...args, ...dirs]);
      assertEquals({ args, code, stdout }, { args, code: 3, stdout: "" });
      assertMatch(stderr, /\/none: the configuration directory does not exist \(code 5\)\n/);
    }
    const env = { NETCONFPATH: `${world.dir}/none` };
    assertEquals((await world.podwire(["networks"], { env })).code, 3);
  },
);

worldTest(
  "F110 F32 status is not ready without its default network, even if all others are ready",
  async (world) => {
    await world.network("web");
    const { code, stdout } = await world.podwire(["status", "--json", "--default-network", "main"]);
    const rows = JSON.parse(stdout).map((
      { network, ready, reason }: Record<string, unknown>,
    ) => [network, ready, reason]);
    assertEquals({ code, rows }, { code: 6, rows: [["web", true, null], ["main", false, "no-config"]] });
  },
);

worldTest(
  "the time since which a network is ready or not is kept on disk, and changes with the condition",
  async (world) => {
    const web = await world.network("web");
    const since = async () => {
      const [row] = JSON.parse((await world.podwire(["status", "web", "--json"])).stdout);
      return row.since;
    };
    const ready = await since();
    assertEquals(await since(), ready);
    await web.answer("STATUS", AWAY);
    const away = await since();
    assert(away > ready, `${away} after ${ready}`);
    assertEquals(await since(), away);
    await web.answer("STATUS", {});
    assert(await since() > away);
  },
);

worldTest("status --grace lets a network that was ready count as ready for that time", async (world) => {
  const web = await world.network("web", { STATUS: AWAY });
  assertEquals((await world.podwire(["status", "web", "--grace", "1h"])).code, 6, "it was never ready");
  await web.answer("STATUS", {});
  assertEquals((await world.podwire(["status", "web"])).code, 0);
  await web.answer("STATUS", AWAY);
  const one = await world.podwire(["status", "web", "--grace", "1h"]);
  assertEquals({ code: one.code, stdout: one.stdout, stderr: one.stderr }, {
    code: 0,
    stdout: "",
    stderr: "",
  });
  const all = await world.podwire(["status", "--grace", "1h"]);
  assertEquals(all.code, 0);
  assertMatch(
    all.stdout,
    /\nweb {6}yes {4}plugin-not-ready .* the daemon is away; counts as ready until \S+Z\n$/,
  );
  const [row] = JSON.parse((await world.podwire(["status", "web", "--grace", "1h", "--json"])).stdout);
  assertEquals({ ready: row.ready, reason: row.reason }, { ready: true, reason: "plugin-not-ready" });
  assertEquals(Date.parse(row.graceUntil) - Date.parse(row.since), 3_600_000);
  assertEquals((await world.podwire(["status", "web"])).code, 6, "there is none unless asked for");
  assertEquals((await world.podwire(["status", "web", "--grace", "1ms"])).code, 6, "it is over");
  assertEquals((await world.podwire(["status", "web", "--grace", "soon"])).code, 2);
});

worldTest("if nothing can be kept on disk, status prints no warning and gives no grace", async (world) => {
  const web = await world.network("web");
  await Deno.mkdir(`${world.dir}/state.d/readiness.json`, { recursive: true });
  const first = await world.podwire(["status", "--json", "--grace", "1h"]);
  assertEquals({ code: first.code, stderr: first.stderr, since: JSON.parse(first.stdout)[0].since }, {
    code: 0,
    stderr: "",
    since: null,
  });
  await web.answer("STATUS", AWAY);
  const away = await world.podwire(["status", "--json", "--grace", "1h"]);
  assertEquals({ code: away.code, since: JSON.parse(away.stdout)[0].since }, { code: 6, since: null });
});

worldTest(
  "H17 H19 H20 gc NETWORK NETNS prints nothing to standard output, and keeps what was made by hand",
  async (world) => {
    await world.network("web");
    await world.add("web", "hand1");
    const { code, stdout, stderr } = await world.podwire(["gc", "-i", "eth0", "web", "/any/where"]);
    assertEquals({ code, stdout }, { code: 0, stdout: "" });
    assertMatch(
      stderr,
      /^kept {5}attachment hand1 web:eth0: it was made by hand \(owner "cli"\), which only its maker can judge\n/,
    );
    assertStringIncludes(
      stderr,
      "podwire: kept an attachment made by hand: --all removes all of them, --valid ID:IFNAME",
    );
    assertEquals(await world.plugins.verbs(), ["web ADD", "web GC"]);
  },
);

worldTest("H20 gc --all removes all that was made by hand, --valid all but what it names", async (world) => {
  await world.network("web");
  for (const id of ["hand1", "hand2", "hand3"]) await world.add("web", id);
  const valid = await world.podwire(["gc", "--valid", "hand1:eth0", "--valid=hand2:eth0"]);
  assertEquals({ code: valid.code, stderr: valid.stderr }, { code: 0, stderr: "" });
  assertEquals(
    valid.stdout,
    "removed  attachment hand3 web:eth0: it was made by hand, and not named as valid\n" +
      "kept     attachment hand2 web:eth0: it was named as valid\n" +
      "kept     attachment hand1 web:eth0: it was named as valid\n",
  );
  const all = JSON.parse((await world.podwire(["gc", "--all", "--json"])).stdout);
  assertEquals(all.removed.map(({ containerId }: { containerId: string }) => containerId), [
    "hand2",
    "hand1",
  ]);
  assertEquals({ kept: all.kept, failed: all.failed }, { kept: [], failed: [] });
  assertEquals(await world.store.all(), []);
});

worldTest("gc --dry-run prints what and why to standard output, and runs nothing", async (world) => {
  await world.network("web");
  await world.add("web", "hand");
  const dry = await world.podwire(["gc", "web", "/x", "--dry-run", "--all"]);
  assertEquals({ code: dry.code, stderr: dry.stderr }, { code: 0, stderr: "" });
  assertEquals(
    dry.stdout,
    "would remove attachment hand web:eth0: it was made by hand, and all such were to be removed\n",
  );
  const kept = await world.podwire(["gc", "--dry-run"]);
  assertMatch(kept.stdout, /^would keep attachment hand web:eth0: it was made by hand/);
  assertMatch(kept.stderr, /--all removes all of them/);
  assertEquals([await world.plugins.verbs(), (await world.store.all()).length], [["web ADD"], 1]);
});

worldTest("D61 gc exits 1 when something failed, and --json shows each failure completely", async (world) => {
  const web = await world.network("web", { GC: { code: 3, stderr: "broken" } });
  await world.add("web", "hand");
  await web.answer("DEL", { stdout: '{"code": 108, "msg": "will not"}', code: 1 });
  const { code, stdout } = await world.podwire(["gc", "--all", "--json"]);
  const { removed, kept, failed } = JSON.parse(stdout);
  assertEquals({ code, removed, kept }, { code: 1, removed: [], kept: [] });
  assertEquals(
    failed.map((
      { kind, containerId, plugin, error }: Record<string, Record<string, unknown>>,
    ) => [kind, containerId ?? plugin, error?.code, error?.verb]),
    [["attachment", "hand", 108, "DEL"], ["plugin", "web", 0, "GC"]],
  );
  const text = await world.podwire(["gc"]);
  assertEquals(text.code, 1);
  assertMatch(text.stdout, /^failed {3}attachment hand web:eth0: .*will not$/m);
  assertMatch(text.stdout, /^failed {3}network web plugin web: .*exit status 3/m);
});

worldTest(
  "gc of a network whose file is gone uses the records; for an unknown network it exits 3",
  async (world) => {
    await world.network("web");
    await world.network("other");
    await world.add("web", "hand");
    await Deno.remove(`${world.dir}/net.d/web.conflist`);
    assertEquals((await world.podwire(["gc", "web", "/x", "--all"])).code, 0);
    assertEquals(await world.plugins.verbs(), ["web ADD", "web DEL", "web GC"]);
    assertEquals((await world.podwire(["gc", "web", "/x", "--all"])).code, 3);
  },
);

worldTest("gc never removes attachments of other runtimes", async (world) => {
  await world.network("web");
  const entry = { network: "web", ifName: "eth0", netns: "", config: "{}", cniArgs: [], capabilityArgs: {} };
  await new ResultCache(`${world.dir}/cache.d`).write({ ...entry, containerId: "theirs", result: undefined });
  const { code, stdout } = await world.podwire(["gc", "--all"]);
  assertEquals({ code, stdout }, {
    code: 0,
    stdout: "kept     attachment theirs web:eth0: another runtime attached it\n",
  });
  assertEquals(await world.plugins.verbs(), ["web GC"]);
});

worldTest("gc refuses invalid options, and users other than root", async (world) => {
  await world.network("web");
  const cases = [
    [["--valid", "c1"], '--valid: "c1" is not ID:IFNAME'],
    [["--valid", "c1:"], '--valid: "c1:" is not ID:IFNAME'],
    [["--valid", "a:b:c"], '--valid: "a:b:c" is not ID:IFNAME'],
    [["--valid", "../x:eth0"], "invalid characters"],
    [["--valid", "c1:eth0", "--all"], "cannot be removed while some are named as valid"],
    [["web", "/x", "more"], 'unexpected argument "more"'],
  ] as const;
  for (const [args, words] of cases) {
    const { code, stdout, stderr } = await world.podwire(["gc", ...args]);
    assertEquals({ args, code, stdout }, { args, code: 2, stdout: "" });
    assertStringIncludes(stderr, words);
  }
  const user = await world.podwire(["gc"], { uid: 1000 });
  assertEquals({ code: user.code, stdout: user.stdout }, { code: 4, stdout: "" });
  assert(user.stderr.includes("gc needs root"), user.stderr);
  assertEquals(await world.plugins.verbs(), []);
});

worldTest("H26 an interrupted status or gc ends the plugin and exits 130", async (world) => {
  await world.network("web", { STATUS: { hang: true }, GC: { hang: true } });
  const dirs = ["cache", "state", "netns"].map((name) => `--${name}-dir=${world.dir}/${name}.d`);
  for (const verb of ["status", "gc"]) {
    const env = { NETCONFPATH: `${world.dir}/net.d`, CNI_PATH: world.plugins.dir };
    const io = new FakeIo([verb, "web", "/x", ...dirs], { env });
    const ended = main(io);
    const started = `web ${verb.toUpperCase()}`;
    while (!(await world.plugins.verbs()).includes(started)) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    io.send("SIGINT");
    assertEquals({ verb, ended: await ended, stdout: io.stdout, listeners: io.listeners }, {
      verb,
      ended: 130,
      stdout: "",
      listeners: 0,
    });
    assertStringIncludes(io.stderr, "interrupted by SIGINT");
  }
});
