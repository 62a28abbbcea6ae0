import { assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { PluginRunner, type PluginRunnerOptions } from "../../lib/plugin/exec.ts";
import { decodeVersions, VersionProbe } from "../../lib/plugin/versions.ts";
import { type Answer, PluginFolder, type RecordingPlugin } from "../recording_plugin.ts";

const failing = (act: () => unknown) => assertRejects(async () => await act(), CniError);

interface World {
  readonly plugins: PluginFolder;
  readonly net: RecordingPlugin;
  readonly probe: VersionProbe;
}

/** A plugin `net` with this answer to VERSION. */
async function asking(answer: Answer | undefined, fn: (world: World) => Promise<void>, timeoutMs = 5_000) {
  await using plugins = await PluginFolder.make();
  const net = await plugins.install("net", answer === undefined ? {} : { VERSION: answer });
  await fn({
    plugins,
    net,
    probe: new VersionProbe(new PluginRunner({ pluginDirs: [plugins.dir] }), timeoutMs),
  });
}

Deno.test("B36 B37 VERSION gets the runtime's own version, and dummies for the variables that very old plugins require", () =>
  asking(undefined, async ({ net, probe }) => {
    await probe.of("net");
    const [call] = await net.calls();
    assertEquals(call?.stdin, '{"cniVersion":"1.1.0"}');
    const { PATH: _, ...env } = call?.env ?? {};
    assertEquals(env, {
      CNI_COMMAND: "VERSION",
      CNI_CONTAINERID: "",
      CNI_NETNS: "dummy",
      CNI_IFNAME: "dummy",
      CNI_PATH: "dummy",
      CNI_ARGS: "",
    });
  }));

Deno.test("B69 B70 an invalid answer to VERSION is refused, with what is missing", () => {
  const cases: readonly [string, RegExp][] = [
    ["", /^decoding version info: nothing was printed$/],
    ["hello", /^decoding version info: "hello" is not a JSON/],
    ["[]", /^decoding version info: it must be an object, not an array$/],
    ["null", /^decoding version info: it must be an object, not null$/],
    ["{}", /^decoding version info: missing field cniVersion$/],
    ['{"cniVersion": "", "supportedVersions": ["1.0.0"]}', /missing field cniVersion$/],
    ['{"cniVersion": null, "supportedVersions": ["1.0.0"]}', /missing field cniVersion$/],
    ['{"cniVersion": 1, "supportedVersions": ["1.0.0"]}', /cniVersion must be a string, not a number$/],
    ['{"cniVersion": "1.0.0"}', /missing field supportedVersions$/],
    ['{"cniVersion": "1.0.0", "supportedVersions": []}', /missing field supportedVersions$/],
    ['{"cniVersion": "0.2", "supportedVersions": []}', /missing field supportedVersions$/],
    [
      '{"cniVersion": "1.0.0", "supportedVersions": "1.0.0"}',
      /supportedVersions must be an array, not a string$/,
    ],
    [
      '{"cniVersion": "1.0.0", "supportedVersions": [1]}',
      /supportedVersions\[0\] must be a string, not a number$/,
    ],
  ];
  for (const [text, words] of cases) {
    const error: CniError = assertThrows(() => decodeVersions(text), CniError);
    assertMatch(error.msg, words, text);
    assertEquals({ kind: error.kind, code: error.code }, { kind: "plugin-output", code: 6 });
  }
});

Deno.test("B70 Y6 an answer of version 0.2.0 needs no list", () => {
  const expected = { cniVersion: "0.2.0", supportedVersions: ["0.1.0", "0.2.0"] };
  for (const list of ["", ', "supportedVersions": []', ', "supportedVersions": null']) {
    assertEquals(decodeVersions(`{"cniVersion": "0.2.0"${list}}`), expected);
  }
});

Deno.test("B71 Y3 the supported versions are as the plugin wrote them, in its order", () =>
  asking(
    { stdout: '{"cniVersion": "0.9.9", "supportedVersions": ["1.0.0", "0.-42.0", "0.1.0"], "more": 1}' },
    async ({ probe }) => {
      assertEquals(await probe.of("net"), {
        cniVersion: "0.9.9",
        supportedVersions: ["1.0.0", "0.-42.0", "0.1.0"],
      });
    },
  ));

Deno.test("B72 Y6 a plugin that is older than VERSION supports 0.1.0", () =>
  asking({ stdout: '{"code": 100, "msg": "unknown CNI_COMMAND: VERSION"}', code: 1 }, async ({ probe }) => {
    assertEquals(await probe.of("net"), { cniVersion: "0.1.0", supportedVersions: ["0.1.0"] });
  }));

Deno.test("B72 B73 any other failure, such as the same message with details, is thrown as it is", async () => {
  const details = '{"code": 4, "msg": "unknown CNI_COMMAND: VERSION", "details": "try ADD"}';
  await asking({ stdout: details, code: 1 }, async ({ probe }) => {
    const error = await failing(() => probe.of("net"));
    assertEquals({ kind: error.kind, code: error.code, msg: error.msg, details: error.context.details }, {
      kind: "plugin",
      code: 4,
      msg: "unknown CNI_COMMAND: VERSION",
      details: "try ADD",
    });
  });
  await asking({ stderr: "segfault", signal: "SEGV" }, async ({ probe }) => {
    const error = await failing(() => probe.of("net"));
    assertEquals({ kind: error.kind, signal: error.context.signal, stderr: error.context.stderr }, {
      kind: "plugin-crash",
      signal: "SIGSEGV",
      stderr: "segfault",
    });
    assertEquals((await failing(() => probe.of("absent"))).kind, "plugin-missing");
  });
});

Deno.test("VERSION has a time limit, which ends the processes of the plugin", () =>
  asking({ hang: true }, async ({ probe }) => {
    const error = await failing(() => probe.of("net"));
    assertEquals({ kind: error.kind, msg: error.msg }, { kind: "timeout", msg: "no answer within 0.3s" });
    const gone = await failing(() => probe.of("net", AbortSignal.abort()));
    assertEquals(gone.kind, "cancelled");
  }, 300));

Deno.test("D75 an executable is asked once, until its file changes", () =>
  asking(undefined, async ({ plugins, net, probe }) => {
    await probe.of("net");
    assertEquals(await probe.of("net"), await probe.of("net"));
    assertEquals(await plugins.verbs(), ["net VERSION"]);

    // The same name, another file.
    const old = await Deno.realPath(net.path);
    await Deno.remove(net.path);
    await Deno.copyFile(old, net.path);
    await net.answer("VERSION", { stdout: '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}' });
    assertEquals((await probe.of("net")).supportedVersions, ["1.0.0"]);
    await probe.of("net");
    assertEquals((await plugins.verbs()).length, 2);

    // The same file, written again.
    await Deno.utime(net.path, new Date(1_000), new Date(1_000));
    await probe.of("net");
    assertEquals((await plugins.verbs()).length, 3);
  }));

Deno.test("D75 a failure is not kept, and neither is the answer of a file that was replaced meanwhile", () =>
  asking({ stdout: "no" }, async ({ plugins, net, probe }) => {
    await failing(() => probe.of("net"));
    const swap = `cp -L "$0" "$0.new"; mv "$0.new" "$0"`;
    await net.answer("VERSION", { script: swap });
    await probe.of("net");
    await net.answer("VERSION", {});
    await probe.of("net");
    await probe.of("net");
    assertEquals((await plugins.verbs()).length, 3);
  }));

Deno.test("D71 a built-in plugin answers without a process", async () => {
  const options: PluginRunnerOptions = {
    pluginDirs: [],
    builtins: { mine: { about: "mine", versions: ["0.4.0", "1.0.0"], verbs: {} } },
    run: () => Promise.reject(new Error("nothing runs")),
  };
  assertEquals(await new VersionProbe(new PluginRunner(options)).of("mine"), {
    cniVersion: "1.1.0",
    supportedVersions: ["0.4.0", "1.0.0"],
  });
});
