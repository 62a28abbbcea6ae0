import { assert, assertEquals } from "@std/assert";
import { CatalogReader } from "../../lib/catalog/reader.ts";
import { COMMANDS } from "../../lib/cli/commands.ts";
import { podwire } from "./fake_io.ts";
import { putRecord, recordFile } from "../stores.ts";

const config = JSON.parse(await Deno.readTextFile(new URL("../../deno.json", import.meta.url)));

async function withDirs(body: (dirs: readonly string[], dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "pwt-" });
  try {
    const names = ["conf-dir", "state-dir", "cache-dir", "netns-dir"];
    await Deno.mkdir(`${dir}/conf-dir`);
    await body(names.map((name) => `--${name}=${dir}/${name}`), dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("--version prints the version of deno.json, at any place", async () => {
  for (
    const args of [["--version"], ["-V"], ["--json", "-V"], ["-V", "ps"], ["run", "--version"], [
      "exec",
      "-V",
    ]]
  ) {
    const { code, stdout, stderr } = await podwire(args, { uid: 1000 });
    assertEquals({ args, code, stdout, stderr }, {
      args,
      code: 0,
      stdout: `podwire ${config.version}\n`,
      stderr: "",
    });
  }
});

Deno.test("H3 the option -i may stand before the command too, as with cnitool", async () => {
  await withDirs(async (dirs) => {
    for (const option of [["-i", "net7"], ["--ifname", "net7"], ["--ifname=net7"]]) {
      const { code, stderr } = await podwire([...option, "check", "net", "/nowhere", ...dirs]);
      assertEquals({ option, code }, { option, code: 3 });
      assertEquals([option, stderr.includes("unknown option")], [option, false]);
    }
  });
});

Deno.test("F140 F144 wrong usage exits 2, and is reported on standard error only", async () => {
  const cases: readonly [readonly string[], string][] = [
    [["nosuch"], 'unknown command "nosuch"'],
    [["toString"], 'unknown command "toString"'],
    [["help", "nosuch"], 'unknown command "nosuch"'],
    [["nosuch", "--help"], 'unknown command "nosuch"'],
    [["--nosuch"], "unknown option --nosuch"],
    [["ps", "--nosuch"], "unknown option --nosuch"],
    [["--replace", "run"], "unknown option --replace"],
    [["-i", "net1", "ps"], "unknown option -i"],
    [["-i"], "option -i needs a value"],
    [["--conf-dir"], "option --conf-dir needs a value"],
    [["ps", "extra"], 'unexpected argument "extra"'],
    [["run", "a", "b"], 'unexpected argument "b"'],
    [["run", "--", "a", "b"], 'unexpected argument "b"'],
    [["run", "--", "--replace"], 'the sandbox name "--replace" is invalid'],
    [["--", "run", "--", "--replace"], 'the sandbox name "--replace" is invalid'],
    [["--", "--json"], 'unknown command "--json"'],
    [["exec", "--"], "exec needs NAME"],
    [["exec", "--", "web"], "exec needs a command"],
    [["rm"], "rm needs NAME..."],
    [["inspect"], "inspect needs NAME"],
    [["add", "net"], "add needs NETWORK NETNS"],
    [["run", "--json=1"], "option --json takes no value"],
    [["ps", "--timeout", "fast"], '--timeout: "fast" is not a duration'],
    [["ps", "--builtin=x"], '--builtin: "x" is not one of'],
    [["run", "-p", "80"], '--publish: "80" is not'],
    [["exec", "web"], "exec needs a command"],
    [["exec", "web", "--"], "exec needs a command"],
    [["run", "bad/name"], 'the sandbox name "bad/name" is invalid'],
    [["run", "--namespace", "../x"], 'the namespace "../x" is invalid'],
    [["run", "web", "--id", "a b"], 'the sandbox ID "a b" is invalid'],
    [["run", "x".repeat(254)], "is longer than 253 characters"],
  ];
  await withDirs(async (dirs) => {
    for (const [args, words] of cases) {
      const behind = args.indexOf("--") < 0 && !args[0]?.startsWith("-") ? dirs : [];
      const { code, stdout, stderr } = await podwire([...args, ...behind]);
      assertEquals({ args, code, stdout }, { args, code: 2, stdout: "" });
      assert(stderr.startsWith("podwire: ") && stderr.includes(words), stderr);
    }
  });
});

Deno.test("with --json before or after the command, an error is one object", async () => {
  await withDirs(async (dirs) => {
    for (const args of [["--json", "inspect", "absent"], ["inspect", "absent", "--json"]]) {
      const { code, stdout, stderr } = await podwire([...args, ...dirs]);
      assertEquals({ code, stdout }, { code: 3, stdout: "" });
      const error = JSON.parse(stderr);
      assertEquals({ kind: error.kind, code: error.code, msg: error.msg }, {
        kind: "not-found",
        code: 0,
        msg: 'no sandbox "absent" in namespace "default"',
      });
      assertEquals(stderr.trimEnd().includes("\n"), false);
    }
    const usage = await podwire(["--json", "nosuch"]);
    assertEquals({ code: usage.code, stdout: usage.stdout, kind: JSON.parse(usage.stderr).kind }, {
      code: 2,
      stdout: "",
      kind: "usage",
    });
  });
});

Deno.test("--json of a command that exec runs does not belong to podwire", async () => {
  await withDirs(async (dirs) => {
    for (
      const args of [["exec", ...dirs, "absent", "--", "x", "--json"], [
        "exec",
        ...dirs,
        "absent",
        "x",
        "--json",
      ]]
    ) {
      const { stderr } = await podwire(args);
      assert(stderr.startsWith("podwire: no sandbox"), stderr);
    }
  });
});

Deno.test("a command that needs root says so to other users, on one line, with exit code 4", async () => {
  for (const { name, needsRoot, count } of COMMANDS) {
    if (!needsRoot) continue;
    const operands = ["a", "b"].slice(0, Math.min(2, Math.max(count[0], name === "exec" ? 2 : 0)));
    const { code, stdout, stderr } = await podwire([name, ...operands], { uid: 1000 });
    assertEquals({ code, stdout }, { code: 4, stdout: "" });
    assertEquals(stderr, `podwire: ${name} needs root: it changes network namespaces\n`);
  }
});

Deno.test("an empty machine has no sandboxes, no attachments, and the embedded network", async () => {
  await withDirs(async (dirs, dir) => {
    const ps = await podwire(["ps", ...dirs]);
    assertEquals({ code: ps.code, stdout: ps.stdout }, {
      code: 0,
      stdout: "ID  NAMESPACE  NAME  STATE  CREATED  IPS  NETWORKS\n",
    });
    for (const command of ["ps", "attachments"]) {
      const { code, stdout } = await podwire([command, "--json", ...dirs]);
      assertEquals([code, JSON.parse(stdout)], [0, []]);
    }
    assertEquals((await podwire(["ps", "-q", ...dirs])).stdout, "");
    const { stdout } = await podwire(["networks", "--json", ...dirs]);
    assertEquals(JSON.parse(stdout), [{
      file: "(embedded)",
      name: "podwire",
      status: "used",
      default: true,
      defaultBy: "first",
      cniVersion: "1.1.0",
      plugins: ["bridge", "portmap", "firewall"],
      reason: null,
      line: null,
      column: null,
      since: null,
      badSince: null,
    }]);
    assertEquals(
      Array.from(Deno.readDirSync(dir), ({ name }) => name),
      ["conf-dir"],
      "looking makes nothing",
    );
  });
});

Deno.test("a missing sandbox, network or namespace exits 3", async () => {
  await withDirs(async (dirs) => {
    const cases = [
      ["inspect", "absent"],
      ["stop", "absent"],
      ["rm", "absent"],
      ["exec", "absent", "--", "true"],
      ["run", "--network", "absent"],
      ["run", "--netns", "/absent"],
      ["add", "podwire", "/absent"],
      ["del", "absent", "/absent"],
      ["plugin", "absent"],
    ];
    for (const [command = "", ...operands] of cases) {
      const { code, stdout } = await podwire([command, ...dirs, ...operands]);
      assertEquals({ command, code, stdout }, { command, code: 3, stdout: "" });
    }
    assertEquals((await podwire(["rm", "-f", "absent", ...dirs])).code, 0);
  });
});

Deno.test("networks shows whether each file is used, shadowed or rejected, and where it is wrong", async () => {
  await withDirs(async (dirs, dir) => {
    const conf = `${dir}/conf-dir`;
    const list = (name: string) =>
      JSON.stringify({ cniVersion: "1.0.0", name, plugins: [{ type: "bridge" }, { type: "tuning" }] });
    await Deno.writeTextFile(`${conf}/10-web.conflist`, list("web"));
    await Deno.writeTextFile(`${conf}/20-again.conflist`, list("web"));
    await Deno.writeTextFile(`${conf}/30-broken.conflist`, '{\n  "cniVersion": "1.0.0",\n  "name": "x",,\n}');
    await Deno.writeTextFile(
      `${conf}/40-typed.conflist`,
      '{"cniVersion": "1.0.0", "name": "y",\n "plugins": [{"type": 5}]}',
    );
    await Deno.writeTextFile(
      `${conf}/50-one.conf`,
      '{"cniVersion": "0.4.0", "name": "one", "type": "loopback"}',
    );
    await Deno.writeTextFile(`${conf}/README.md`, "no configuration");

    const { code, stdout, stderr } = await podwire(["networks", "--json", ...dirs], { uid: 1000 });
    assertEquals({ code, stderr }, { code: 0, stderr: "" });
    const entries: readonly Record<string, unknown>[] = JSON.parse(stdout);
    assertEquals(
      entries.map((
        { file, name, status, default: isDefault, cniVersion, plugins, line, column },
      ) => [String(file).slice(conf.length + 1), name, status, isDefault, cniVersion, plugins, line, column]),
      [
        ["10-web.conflist", "web", "used", true, "1.0.0", ["bridge", "tuning"], null, null],
        ["20-again.conflist", "web", "shadowed", false, "1.0.0", ["bridge", "tuning"], null, null],
        ["30-broken.conflist", null, "rejected", false, null, [], 3, 15],
        ["40-typed.conflist", null, "rejected", false, null, [], 2, 23],
        ["50-one.conf", "one", "used", false, "0.4.0", ["loopback"], null, null],
      ],
    );
    assertEquals(entries[1]?.reason, `${conf}/10-web.conflist has the same name and comes first`);
    for (const entry of entries) assertEquals(entry.status === "used", entry.reason === null);

    const text = (await podwire(["networks", ...dirs])).stdout;
    assert(text.includes(`${conf}/30-broken.conflist:3:15`), text);
    const [chosen] = JSON.parse(
      (await podwire(["networks", "--json", "--default-network=one", ...dirs])).stdout,
    )
      .filter((entry: { default: boolean }) => entry.default);
    assertEquals(chosen.name, "one");
  });
});

Deno.test("networks shows the former content of a bad file, and why a default that is not the first file any more stays", async () => {
  await withDirs(async (dirs, dir) => {
    const conf = `${dir}/conf-dir`;
    const network = (name: string) => JSON.stringify({ cniVersion: "1.0.0", name, type: "bridge" });
    await Deno.writeTextFile(`${conf}/10-web.conf`, network("web"));
    const networks = async () => {
      const { code, stdout, stderr } = await podwire(["networks", "--json", ...dirs]);
      return { code, stderr, entries: JSON.parse(stdout) };
    };
    // Only a process that attaches something remembers the network.
    await new CatalogReader({ confDir: conf, stateDir: `${dir}/state-dir` }).read();
    const { entries: [good] } = await networks();
    assertEquals({ status: good.status, defaultBy: good.defaultBy, badSince: good.badSince }, {
      status: "used",
      defaultBy: "first",
      badSince: null,
    });

    await Deno.writeTextFile(`${conf}/10-web.conf`, '{"name": ');
    const bad = await networks();
    assertEquals(bad.code, 0);
    const [stale] = bad.entries;
    assertEquals({
      name: stale.name,
      status: stale.status,
      default: stale.default,
      line: stale.line,
      since: stale.since,
    }, { name: "web", status: "stale", default: true, line: 1, since: good.since });
    assert(stale.badSince >= good.since);
    assert(stale.reason.endsWith(`in use is what it said since ${good.since}`), stale.reason);
    assert(bad.stderr.includes("a configuration file cannot be used"), bad.stderr);

    await Deno.writeTextFile(`${conf}/10-web.conf`, network("web"));
    await Deno.writeTextFile(`${conf}/05-first.conf`, network("first"));
    // A container of that network, by the key of its record alone.
    const record = recordFile(`${dir}/state-dir`, "c1");
    await putRecord(record, { ifName: "eth0", network: "web" }, "{}");
    const [first, pinned] = (await networks()).entries;
    assertEquals({
      firstDefault: first.default,
      firstDefaultBy: first.defaultBy,
      pinnedDefault: pinned.default,
      pinnedDefaultBy: pinned.defaultBy,
    }, { firstDefault: false, firstDefaultBy: null, pinnedDefault: true, pinnedDefaultBy: "pinned" });
    assert(first.reason.includes('containers are attached to "web"'), first.reason);
    assert((await podwire(["networks", ...dirs])).stdout.includes("  yes (pinned)  "));
    await Deno.remove(record);
    const moved = await networks();
    assertEquals(moved.entries[0].defaultBy, "first");
    assertEquals(JSON.parse(moved.stderr).msg, 'the default network is "first" now, it was "web"');
  });
});

Deno.test("plugin uses the CNI protocol: an error is an object on standard output, with exit code 1", async () => {
  const version = await podwire(["plugin", "bridge"], {
    env: { CNI_COMMAND: "VERSION" },
    stdin: '{"cniVersion":"1.0.0"}',
    uid: 1000,
  });
  assertEquals(version.code, 0);
  assert(JSON.parse(version.stdout).supportedVersions.includes("1.1.0"));
  const wrong = await podwire(["plugin", "bridge"], { env: { CNI_COMMAND: "NOPE" }, stdin: "{}", uid: 1000 });
  assertEquals(wrong.code, 1);
  assertEquals(JSON.parse(wrong.stdout).code, 4);
});

Deno.test("a name that is longer than any file name is not found", async () => {
  await withDirs(async (dirs) => {
    for (const length of [254, 300, 5_000]) {
      const long = "x".repeat(length);
      for (
        const args of [
          ["inspect", long],
          ["inspect", "a", "--namespace", long],
          ["rm", long],
          ["stop", long],
          [
            "exec",
            long,
            "--",
            "true",
          ],
          ["status", long],
          ["gc", long],
        ]
      ) {
        const at = args.indexOf("--");
        const all = at < 0 ? [...args, ...dirs] : [...args.slice(0, at), ...dirs, ...args.slice(at)];
        const { code, stderr } = await podwire(all);
        // A missing sandbox is not a failure of the machine.
        assertEquals([args[0], length, code], [args[0], length, 3], stderr);
      }
    }
  });
});
