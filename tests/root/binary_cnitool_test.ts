// `add`, `check` and `del` are cnitool's verbs, and `plugin TYPE` is a plugin for any runtime.
import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { PluginFolder } from "../recording_plugin.ts";
import { binaryTest, type BinaryWorld, sh } from "./binary_world.ts";
import { CNI_1_9_1, PODWIRE_BINARY } from "./need.ts";

/** A namespace that the test makes itself, as a user of cnitool does. */
async function withNetns(world: BinaryWorld, fn: (path: string) => Promise<void>): Promise<void> {
  const path = `/run/netns/pwt-${world.tag}`;
  await sh(`ip netns add pwt-${world.tag}`);
  try {
    await fn(path);
  } finally {
    await sh(`ip netns delete pwt-${world.tag}`);
  }
}

async function cnitoolId(path: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-512", new TextEncoder().encode(path));
  return `cnitool-${new Uint8Array(digest).slice(0, 10).toHex()}`;
}

/** A recording plugin `net` behind the world's network. */
async function recorded(world: BinaryWorld, plugins: PluginFolder, more = {}) {
  const net = await plugins.install("net", {
    ADD: { stdout: '{"cniVersion":"1.0.0","ips":[{"address":"10.9.8.7/24"}],"big":12345678901234567890}' },
  });
  await world.list([{ type: "net", ...more }]);
  return { net, call: { dirs: [...world.dirs, `--plugin-dir=${plugins.dir}`] } };
}

binaryTest("H11 H12 H16 H17 add, check and del attach a namespace as cnitool does", [], async (world) => {
  await world.list([world.bridgePlugin()]);
  await withNetns(world, async (path) => {
    const printed = await world.done(["add", world.network, path]);
    const result = JSON.parse(printed);
    assertEquals(printed, JSON.stringify(result, null, 4), "four blanks, and no line feed at the end");
    assertEquals({ cniVersion: result.cniVersion, address: result.ips[0].address }, {
      cniVersion: "1.0.0",
      address: `${world.subnet4}.2/24`,
    });
    assertMatch(await sh(`nsenter --net=${path} ip -o addr show eth0`), new RegExp(`${world.subnet4}.2/24`));
    const [attachment] = await world.json(["attachments"]);
    assertEquals({ containerId: attachment.containerId, netns: attachment.netns, owner: attachment.owner }, {
      containerId: await cnitoolId(path),
      netns: path,
      owner: "cli",
    });
    assertEquals(await world.done(["check", world.network, path]), "");

    const again = await world.refused(1, ["add", world.network, path]);
    assertEquals({ kind: again.kind, verb: again.verb }, { kind: "conflict", verb: "ADD" });
    await sh(`nsenter --net=${path} ip addr flush dev eth0`);
    assertEquals((await world.refused(1, ["check", world.network, path])).verb, "CHECK");

    // The file may be gone: the attachment is on record.
    await Deno.remove(`${world.confDir}/${world.network}.conflist`);
    assertEquals(await world.done(["del", world.network, path]), "");
    assertEquals((await world.refused(3, ["del", world.network, path])).kind, "not-found");
    await world.list([world.bridgePlugin()]);
    assertEquals(await world.done(["del", world.network, path]), "", "a second DEL is fine");
    assertEquals(await world.traces(), []);
  });
});

binaryTest(
  "H10 the path of the namespace is made absolute and cleaned before it becomes the ID",
  [],
  async (world) => {
    await using plugins = await PluginFolder.make();
    const { net, call } = await recorded(world, plugins);
    await withNetns(world, async (path) => {
      const crooked = `/run/../run/./netns//${path.split("/").at(-1)}`;
      await world.done(["add", world.network, crooked], call);
      await world.done(["del", world.network, path], call);
      const [add, del] = await net.calls();
      for (const one of [add, del]) {
        assertEquals({ CNI_CONTAINERID: one?.env.CNI_CONTAINERID, CNI_NETNS: one?.env.CNI_NETNS }, {
          CNI_CONTAINERID: await cnitoolId(path),
          CNI_NETNS: path,
        });
      }
    });
  },
);

binaryTest("add takes the variables of cnitool, and its options win over them", [], async (world) => {
  await using plugins = await PluginFolder.make();
  const { net } = await recorded(world, plugins, { capabilities: { portMappings: true } });
  const dirs = world.dirs.filter((dir) => !/^--(conf|plugin)-dir/.test(dir));
  const ports = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];
  const env = {
    NETCONFPATH: world.confDir,
    CNI_PATH: `/nowhere:${plugins.dir}`,
    CNI_ARGS: "IgnoreUnknown=1;A=b",
    CAP_ARGS: JSON.stringify({ portMappings: ports, bandwidth: {} }),
    CNI_IFNAME: "net5",
    TRACEPARENT: "00-1-2-03",
    SECRET: "hidden",
    MINE: "shown",
  };
  await withNetns(world, async (path) => {
    const printed = await world.done(["add", world.network, path, "--plugin-env", "MINE"], { dirs, env });
    assertMatch(printed, /"big": 12345678901234567890/);
    // A host port has one owner.
    const again = { ...env, CAP_ARGS: JSON.stringify({ bandwidth: {} }) };
    await world.done(["add", world.network, path, "-i", "net6", "--id", world.id("other")], {
      dirs,
      env: again,
    });
    const [first, second] = await net.calls();
    const { PATH, CNI_PATH, PODWIRE_CALL, ...others } = first?.env ?? {};
    assertEquals(PODWIRE_CALL?.length, crypto.randomUUID().length);
    assertEquals(others, {
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: await cnitoolId(path),
      CNI_NETNS: path,
      CNI_IFNAME: "net5",
      CNI_ARGS: "IgnoreUnknown=1;A=b",
      TRACEPARENT: "00-1-2-03",
      MINE: "shown",
    });
    assertEquals([PATH !== undefined, CNI_PATH], [true, `/nowhere:${plugins.dir}:/opt/net/bin`]);
    assertEquals(first?.config.runtimeConfig, { portMappings: ports });
    assertEquals({ CNI_IFNAME: second?.env.CNI_IFNAME, CNI_CONTAINERID: second?.env.CNI_CONTAINERID }, {
      CNI_IFNAME: "net6",
      CNI_CONTAINERID: world.id("other"),
    });
    assertEquals((await world.json(["attachments"], { dirs })).length, 2);
    await world.done(["del", world.network, path], { dirs, env });
    await world.done(["del", world.network, path, "-i", "net6", "--id", world.id("other")], { dirs, env });
  });
  assertEquals(await world.traces(), []);
});

binaryTest(
  "an error in a variable or an operand of add is named, and no plugin runs",
  [],
  async (world) => {
    await using plugins = await PluginFolder.make();
    const { call } = await recorded(world, plugins);
    await withNetns(world, async (path) => {
      const cases: readonly [number, RegExp, Readonly<Record<string, string>>, readonly string[]][] = [
        [2, /^CNI_ARGS: invalid pair "no pair"$/, { CNI_ARGS: "no pair" }, [path]],
        [2, /CAP_ARGS/, { CAP_ARGS: "[]" }, [path]],
        [2, /interface name/, { CNI_IFNAME: "a/b" }, [path]],
        [2, /interface name|characters/, {}, [path, "-i", "sixteencharacter"]],
        [2, /container|ID/i, {}, [path, "--id", "../x"]],
        [3, /does not exist/, {}, [`${path}-absent`]],
        [3, /is a directory/, {}, [world.dir]],
      ];
      for (const [code, words, env, operands] of cases) {
        const error = await world.refused(code, ["add", world.network, ...operands], { ...call, env });
        assertMatch(error.msg, words);
      }
      assertEquals((await world.refused(3, ["add", "absent", path], call)).kind, "not-found");
      const broken = await world.refused(1, ["add", world.network, path], {
        ...call,
        env: { CAP_ARGS: "{" },
      });
      assertMatch(JSON.stringify(broken), /CAP_ARGS/);
    });
    assertEquals(await plugins.verbs(), []);
    assertEquals(await world.traces(), []);
  },
);

binaryTest(
  "plugin TYPE is a plugin: a wrapper script of one line serves add, check and del",
  [],
  async (world) => {
    // podwire without built-ins is the runtime here, and calls podwire as a program.
    for (const type of ["bridge", "host-local", "loopback"]) {
      await world.plugin(type, `#!/bin/sh\nexec ${PODWIRE_BINARY} plugin ${type}\n`);
    }
    await world.list([world.bridgePlugin(), { type: "loopback" }], { cniVersion: "1.1.0" });
    const call = { dirs: [...world.dirs, "--builtin=off"] };
    await withNetns(world, async (path) => {
      const result = JSON.parse(await world.done(["add", world.network, path], call));
      assertEquals(result.ips[0].address, `${world.subnet4}.2/24`);
      assertMatch(
        await sh(`nsenter --net=${path} ip -o addr show`),
        new RegExp(`lo .*127.0.0.1(.|\n)*eth0 .*${world.subnet4}.2/24`),
      );
      await world.done(["check", world.network, path], call);
      await world.done(["del", world.network, path], call);
      assertEquals(await world.traces(), []);
    });
  },
);

binaryTest(
  "plugin TYPE answers VERSION, and writes refusals in CNI's form to standard output",
  [],
  async (world) => {
    const version = await world.podwire(["plugin", "bridge"], {
      dirs: [],
      env: { CNI_COMMAND: "VERSION" },
      stdin: '{"cniVersion": "0.4.0"}',
    });
    assertEquals({ code: version.code, stderr: version.stderr }, { code: 0, stderr: "" });
    assertEquals(JSON.parse(version.stdout).supportedVersions.at(-1), "1.1.0");
    const bare = await world.podwire(["plugin", "bridge"], { dirs: [], stdin: "{}" });
    assertEquals({ code: bare.code, stdout: bare.stdout }, { code: 0, stdout: "" });
    assertMatch(bare.stderr, /^CNI plugin bridge .*\nCNI protocol versions supported: 0.1.0, /);
    const cases: readonly [number, Readonly<Record<string, string>>, string][] = [
      [4, { CNI_COMMAND: "NOPE" }, "{}"],
      [4, { CNI_COMMAND: "ADD" }, "{}"],
      [
        6,
        { CNI_COMMAND: "ADD", CNI_CONTAINERID: "x", CNI_NETNS: "/x", CNI_IFNAME: "eth0", CNI_PATH: "/x" },
        "{",
      ],
      [
        1,
        { CNI_COMMAND: "ADD", CNI_CONTAINERID: "x", CNI_NETNS: "/x", CNI_IFNAME: "eth0", CNI_PATH: "/x" },
        '{"cniVersion": "9.0.0", "name": "n"}',
      ],
    ];
    for (const [code, env, stdin] of cases) {
      const refused = await world.podwire(["plugin", "bridge"], { dirs: [], env, stdin });
      const error = JSON.parse(refused.stdout);
      assertEquals({ refusedCode: refused.code, errorCode: error.code, stderr: refused.stderr }, {
        refusedCode: 1,
        errorCode: code,
        stderr: "",
      }, refused.stdout);
      assertNotEquals(error.msg, "");
    }
  },
);

binaryTest("a port is refused before any plugin runs if no plugin takes it", [], async (world) => {
  await using plugins = await PluginFolder.make();
  const { call } = await recorded(world, plugins);
  const error = await world.refused(2, ["run", "web", "-p", "8080:80"], call);
  assert(error.msg.includes('(net) takes the capability "portMappings"'), error.msg);
  assert(error.hint.includes('"portMappings": true'), error.hint);
  assertEquals(await plugins.verbs(), []);
  assertEquals(await world.traces(), []);
});

binaryTest("a published port is a rule of the portmap plugin, and is removed with the sandbox", [
  "cni-1.9.1",
  "iptables",
], async (world) => {
  await world.list([world.bridgePlugin(), { type: "portmap", capabilities: { portMappings: true } }]);
  const call = { dirs: [...world.dirs, `--plugin-dir=${CNI_1_9_1}`] };
  const port = String(20_000 + Math.floor(Math.random() * 10_000));
  const options = ["-p", `127.0.0.1:${port}:80`, "-p", `${port}:53/udp`];
  await world.done(["run", "web", "--id", world.id("web"), ...options], call);
  const rules = () => sh("iptables-save -t nat; nft list ruleset 2>/dev/null");
  const made = await rules();
  assertMatch(
    made,
    new RegExp(`-d 127.0.0.1(/32)? .*--dport ${port} .*--to-destination ${world.subnet4}.2:80`),
  );
  assertMatch(made, new RegExp(`-p udp .*--dport ${port} .*--to-destination ${world.subnet4}.2:53`));
  await world.done(["rm", "web"], call);
  assertEquals((await rules()).includes(`dport ${port}`), false);
  assertEquals(await world.traces(), []);
});
