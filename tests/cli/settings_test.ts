import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  lockTimeout,
  logger,
  parseDuration,
  PLUGIN_ENVIRONMENT,
  runtimeOptions,
  timeouts,
} from "../../lib/cli/settings.ts";
import { CniError } from "../../lib/cni/error.ts";
import { withSignals } from "../../lib/plugin/signals.ts";
import { DEFAULTS } from "../../lib/runtime/options.ts";
import { FakeIo, inputOf, podwire } from "./fake_io.ts";

const DIRS = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];

const optionsOf = (args: readonly string[] = [], env: Readonly<Record<string, string>> = {}) =>
  runtimeOptions(inputOf("ps", args, { env }));

function refusal(...args: string[]): string {
  const error = assertThrows(() => optionsOf(args), CniError);
  assertEquals(error.kind, "usage");
  return error.msg;
}

Deno.test("E1 F10 H15 without options and variables, the directories are the documented ones, as in libcni", () => {
  const { confDir, pluginDirs, cacheDir, stateDir, netnsDir, builtinPolicy, ...rest } = optionsOf();
  // The default directory need not exist.
  assertEquals([confDir ?? DEFAULTS.confDir, cacheDir, stateDir, netnsDir], [
    "/etc/cni/net.d",
    "/var/lib/cni",
    "/var/lib/podwire",
    "/run/netns",
  ]);
  assertEquals({ pluginDirs, builtinPolicy }, { pluginDirs: DIRS, builtinPolicy: "fallback" });
  assertEquals({
    timeouts: rest.timeouts,
    environment: rest.environment,
    defaultNetwork: rest.defaultNetwork,
  }, { timeouts: {}, environment: {}, defaultNetwork: undefined });
});

Deno.test("a flag overrides its variable, and the variable overrides the default", () => {
  const env = { NETCONFPATH: "/env/net.d", CNI_PATH: "/env/a:/env/b" };
  assertEquals(optionsOf([], env).confDir, "/env/net.d");
  assertEquals(optionsOf(["--conf-dir", "/flag"], env).confDir, "/flag");
  assertEquals(optionsOf([], env).pluginDirs, ["/env/a", "/env/b"]);
  assertEquals(optionsOf(["--plugin-dir", "/x", "--plugin-dir=/y"], env).pluginDirs, ["/x", "/y"]);
});

Deno.test("an empty variable counts as unset, and an empty piece of CNI_PATH is skipped", () => {
  const { confDir, pluginDirs } = optionsOf([], { NETCONFPATH: "", CNI_PATH: "" });
  assertEquals({ confDir, pluginDirs }, { confDir: undefined, pluginDirs: DIRS });
  assertEquals(optionsOf([], { CNI_PATH: ":/a::/b:" }).pluginDirs, ["/a", "/b"]);
});

Deno.test("directories are resolved from the working directory, and normalized", () => {
  const here = Deno.cwd();
  const names = ["conf-dir", "cache-dir", "state-dir", "netns-dir", "plugin-dir"];
  const { confDir, cacheDir, stateDir, netnsDir, pluginDirs } = optionsOf(
    names.flatMap((name) => [`--${name}`, `./a//b/../${name}/`]),
  );
  const cleaned = (name: string) => `${here}/a/${name}`;
  assertEquals(
    [confDir, cacheDir, stateDir, netnsDir, pluginDirs?.[0]],
    names.map(cleaned),
  );
});

Deno.test("parseDuration() reads milliseconds, seconds, minutes and hours", () => {
  const cases: Readonly<Record<string, number>> = {
    "1ms": 1,
    "500ms": 500,
    "1.5s": 1_500,
    "30s": 30_000,
    "2m": 120_000,
    "24h": 86_400_000,
    "0.5h": 1_800_000,
  };
  for (const [text, ms] of Object.entries(cases)) assertEquals(parseDuration(text, "--timeout"), ms);
});

Deno.test("parseDuration() names the flag of an invalid duration", () => {
  for (const text of ["", "5", "0s", "-1s", "25h", "1d", "s", "1 s", "1e3s", ".5s", "1s1s", "٣s", "0.4ms"]) {
    const error = assertThrows(() => parseDuration(text, "--timeout"), CniError);
    assert(error.msg.startsWith(`--timeout: "${text}" is not a duration`), error.msg);
  }
});

Deno.test("timeouts() prefers the limit of a verb, at any place", () => {
  const all = { ADD: 5_000, CHECK: 5_000, DEL: 5_000, GC: 5_000, STATUS: 5_000, VERSION: 5_000 };
  assertEquals(timeouts([]), {});
  assertEquals([lockTimeout([]), lockTimeout(["ADD=1s"])], [{}, {}]);
  assertEquals(lockTimeout(["5s", "lock=2s", "ADD=1s"]), { lockTimeoutMs: 2_000 });
  assertEquals(lockTimeout(["5s"]), { lockTimeoutMs: 5_000 });
  assertEquals(timeouts(["5s"]), all);
  assertEquals(timeouts(["ADD=1s"]), { ADD: 1_000 });
  for (const texts of [["add=1s", "5s"], ["5s", "ADD=1s"]]) {
    assertEquals(timeouts(texts), { ...all, ADD: 1_000 });
  }
  assertEquals(timeouts(["ADD=1s", "DEL=3s", "ADD=2s"]), { ADD: 2_000, DEL: 3_000 });
});

Deno.test("a wrong value names its flag", () => {
  assert(
    refusal("--timeout", "NOPE=1s").startsWith('--timeout: "NOPE" is not a verb; the verbs are ADD, CHECK'),
  );
  assert(refusal("--timeout", "=1s").startsWith('--timeout: "" is not a verb'));
  assert(refusal("--timeout", "ADD=").startsWith('--timeout: "" is not a duration'));
  assertEquals(refusal("--builtin", "never"), '--builtin: "never" is not one of fallback, prefer, off');
  assertEquals(refusal("--log-level", "WARN"), '--log-level: "WARN" is not one of debug, info, warn, error');
  assertEquals(refusal("--log-format", "xml"), '--log-format: "xml" is not one of text, json');
  assertEquals(refusal("--plugin-env", "A=B"), '--plugin-env: "A=B" is not the name of a variable');
});

Deno.test("B21 the trace of the caller reaches the plugins", () => {
  const trace = { TRACEPARENT: "00-1-2-03", TRACESTATE: "vendor=1", BAGGAGE: "tenant=7" };
  assertEquals(optionsOf([], trace).environment, trace);
});

Deno.test("plugins get the variables of the list, those that are named, and no others", () => {
  const env = {
    PATH: "/bin",
    LC_TIME: "C",
    https_proxy: "p",
    SECRET: "s",
    MINE: "m",
    EMPTY: "",
    LD_PRELOAD: "x",
  };
  assertEquals(optionsOf([], env).environment, { PATH: "/bin", LC_TIME: "C", https_proxy: "p" });
  const named = ["MINE", "EMPTY", "ABSENT", "PATH"].flatMap((name) => ["--plugin-env", name]);
  assertEquals(optionsOf(named, env).environment, {
    PATH: "/bin",
    LC_TIME: "C",
    https_proxy: "p",
    MINE: "m",
    EMPTY: "",
  });
});

Deno.test("only variables that the permissions name are read directly", async () => {
  const { permissions } = JSON.parse(await Deno.readTextFile(new URL("../../deno.json", import.meta.url)));
  const granted: readonly string[] = permissions.podwire.env;
  const isGranted = (name: string) =>
    granted.some((entry) => entry.endsWith("*") ? name.startsWith(entry.slice(0, -1)) : entry === name);
  for (const name of PLUGIN_ENVIRONMENT) assert(isGranted(name), name);

  const dir = await Deno.makeTempDir({ prefix: "pwt-" });
  const dirs = ["conf-dir", "state-dir", "cache-dir", "netns-dir"].map((name) => `--${name}=${dir}`);
  try {
    const calls = [
      ["ps"],
      ["networks"],
      ["attachments"],
      ["run", "--network", "absent"],
      ["stop", "absent"],
      ["exec", "absent", "true"],
      ["add", "absent", "/absent"],
      ["check", "absent", "/absent"],
      ["del", "absent", "/absent"],
      ["plugin", "bridge"],
      ["plugin", "host-local"],
    ];
    for (const args of calls) {
      const env = {
        CNI_COMMAND: "ADD",
        CNI_CONTAINERID: "x",
        CNI_NETNS: "/absent",
        CNI_IFNAME: "eth0",
        CNI_PATH: dir,
      };
      const { io } = await podwire([...args, ...dirs, "--plugin-env=SECRET"], {
        env,
        stderrIsTerminal: true,
      });
      assertEquals([...io.asked].filter((name) => !isGranted(name)), [], args.join(" "));
      assertEquals(io.listeners, 0, `${args[0]} leaves a listener behind`);
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("the log is coloured on a terminal, unless colours are turned off", () => {
  const coloured = (
    args: readonly string[],
    env: Readonly<Record<string, string>>,
    stderrIsTerminal: boolean,
  ) => {
    const input = inputOf("ps", args, { env, stderrIsTerminal });
    logger(input).warn("hm");
    return (input.io as FakeIo).stderr.includes("\x1b[");
  };
  assertEquals(coloured([], {}, true), true);
  assertEquals(coloured([], { NO_COLOR: "" }, true), true, "an empty NO_COLOR says nothing");
  assertEquals(coloured([], { NO_COLOR: "1" }, true), false);
  assertEquals(coloured(["--no-color"], {}, true), false);
  assertEquals(coloured([], {}, false), false);
});

Deno.test("the log has its level and its format, and goes to standard error", () => {
  const written = (...args: string[]) => {
    const input = inputOf("ps", args);
    const log = logger(input);
    log.info("small");
    log.warn("big", { network: "web" });
    assertEquals((input.io as FakeIo).stdout, "");
    return (input.io as FakeIo).stderr;
  };
  assert(!written().includes("small") && written().includes("big"));
  assertEquals(written("--log-level", "error"), "");
  const lines = written("--log-level=info", "--log-format=json").trim().split("\n").map((line) =>
    JSON.parse(line)
  );
  assertEquals(lines.map(({ msg }) => msg), ["small", "big"]);
  assertEquals(lines[1].network, "web");
});

Deno.test("withSignals() cancels at the first signal and lets the second one kill", async () => {
  const io = new FakeIo([]);
  const error = await assertRejects(
    () =>
      withSignals(io, async (signal) => {
        assertEquals(io.listeners, 3);
        io.send("SIGTERM");
        assertEquals(io.listeners, 0, "the next one has its usual effect");
        await Promise.resolve();
        signal.throwIfAborted();
      }),
    CniError,
  );
  assertEquals({ kind: error.kind, msg: error.msg }, { kind: "cancelled", msg: "interrupted by SIGTERM" });
});

Deno.test("withSignals() removes its listeners when the body is done, and when it throws", async () => {
  const io = new FakeIo([]);
  assertEquals(await withSignals(io, () => Promise.resolve(7)), 7);
  assertEquals(io.listeners, 0);
  await assertRejects(() => withSignals(io, () => Promise.reject(new Error("no"))), Error, "no");
  assertEquals(io.listeners, 0);
});

Deno.test("--max-failed takes whole numbers from 0 on", () => {
  assertEquals([optionsOf().maxFailed, optionsOf(["--max-failed", "0"]).maxFailed], [16, 0]);
  for (const text of ["-1", "1.5", "many", "1e3", "10000000000"]) {
    assertEquals(refusal(`--max-failed=${text}`), `--max-failed: "${text}" is not a whole number from 0 on`);
  }
});
