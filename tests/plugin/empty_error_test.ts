// "No error is ever empty": whatever a plugin prints, however it ends, and whatever is thrown on the way.
import { assert, assertEquals, assertRejects } from "@std/assert";
import { CniError, ERROR_KINDS } from "../../lib/cni/error.ts";
import { SPEC_VERSIONS } from "../../lib/cni/version.ts";
import { asCniError } from "../../lib/errors/to_cni_error.ts";
import { type CommandEnd, HostError } from "../../lib/host/command.ts";
import type { PluginCall } from "../../lib/plugin/call.ts";
import { PluginRunner } from "../../lib/plugin/exec.ts";
import { type Plugin, servePlugin } from "../../lib/plugin/serve.ts";
import { Random } from "../cni/random.ts";
import { FakeRun, type ScriptedOutcome } from "../fake_run.ts";

const ROUNDS = 3_000;
const BLANKS = ["", " ", "\n", "\t\r\n ", "\u00a0", "\u2028", "\ufeff"];

function assertTelling(error: CniError, context: string): void {
  const { msg, kind, code } = error.toJSON();
  assert(typeof msg === "string" && /[^\s\p{C}]/u.test(msg), `${context}: ${JSON.stringify(error)}`);
  assert(error.message.includes(error.msg), context);
  assert(ERROR_KINDS.includes(error.kind) && kind === error.kind && code === error.code, context);
}

/** Values that may be thrown: also errors without a message, and values that are not errors. */
function thrownThing(random: Random): unknown {
  const text = random.one([...BLANKS, "no room"]);
  return random.one<() => unknown>([
    () => new Error(text),
    () => new TypeError(text),
    () => new HostError(text),
    () => new AggregateError([], text),
    () => new DOMException(text, random.one(["AbortError", "TimeoutError", "DataError"])),
    () => new Deno.errors.NotFound(text),
    () => new Deno.errors.PermissionDenied(text),
    () => new Deno.errors.NotCapable(text),
    () => new CniError("plugin", text, { code: random.below(1000) }),
    () => text,
    () => undefined,
    () => null,
    () => ({}),
    () => Object.create(null),
    () => [],
    () => Symbol(text),
  ])();
}

function printed(random: Random): string {
  const word = () => random.one([...BLANKS, "no", "0", "{", "\u0000", "\u{1f600}"]);
  return random.one<() => string>([
    word,
    () => JSON.stringify({ code: random.one([0, 7, 100, -1, 1.5, "7", null]), msg: word(), details: word() }),
    () => JSON.stringify({ code: 7 }),
    () => JSON.stringify(random.one([null, [], 7, word(), {}, { msg: 7 }, { msg: null, details: {} }])),
    () => random.list(4, word).join(""),
  ])();
}

function scripted(random: Random): ScriptedOutcome {
  if (random.chance(15)) {
    const thrown = thrownThing(random);
    return thrown instanceof Error ? thrown : new Error("");
  }
  const signal = random.chance(20) ? random.one(["SIGKILL", "SIGSEGV"]) : null;
  return {
    code: signal === null ? random.one([-1, 0, 1, 2, 127, 255]) : 137,
    signal,
    stdout: printed(random),
    stderr: random.chance(50) ? "" : printed(random),
    ended: random.one<CommandEnd>(["exit", "exit", "exit", "aborted", "stdout-overflow", "stderr-overflow"]),
  };
}

const calm = new AbortController().signal;

const call = (verb: PluginCall["verb"], signal: AbortSignal): PluginCall => ({
  verb,
  type: "sh",
  config: { name: "web", cniVersion: "1.1.0", type: "sh" },
  containerId: "c1",
  netns: "/run/netns/c1",
  ifName: "eth0",
  args: [],
  signal,
});

Deno.test("property: an error is never empty, whatever a plugin prints and however it ends", async () => {
  const random = new Random(41);
  let failures = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const answer = scripted(random);
    const runner = new PluginRunner({ pluginDirs: ["/bin"], run: new FakeRun([answer]).run });
    const cause = AbortSignal.abort(thrownThing(random));
    const asked = call(random.one(["ADD", "CHECK", "DEL", "STATUS"]), random.chance(90) ? calm : cause);
    try {
      await (asked.verb === "ADD" ? runner.add(asked, "1.1.0") : runner.call(asked));
    } catch (error) {
      failures++;
      if (!(error instanceof CniError)) throw error;
      assertTelling(error, JSON.stringify(answer));
    }
  }
  assert(failures > ROUNDS / 2, String(failures));
});

Deno.test("property: an error is never empty, whatever is thrown or is the reason of a signal", async () => {
  const random = new Random(43);
  for (let round = 0; round < ROUNDS; round++) {
    const thrown = thrownThing(random);
    assertTelling(
      asCniError(thrown, random.chance(50) ? {} : { verb: "ADD", network: "web" }),
      typeof thrown,
    );
    const runner = new PluginRunner({ pluginDirs: ["/bin"], run: new FakeRun().run });
    const asked = call("DEL", AbortSignal.abort(thrown));
    assertTelling(await assertRejects(() => runner.call(asked), CniError), typeof thrown);
  }
});

Deno.test("property: an error that one of our plugins prints is never empty, whatever was thrown in it", async () => {
  const random = new Random(47);
  const env: Readonly<Record<string, string>> = {
    CNI_COMMAND: "ADD",
    CNI_CONTAINERID: "c1",
    CNI_NETNS: "/nowhere",
    CNI_IFNAME: "eth0",
    CNI_PATH: "/bin",
  };
  for (let round = 0; round < 1_000; round++) {
    const thrown = thrownThing(random);
    const plugin: Plugin = {
      about: "",
      versions: SPEC_VERSIONS,
      verbs: { ADD: () => Promise.reject(thrown) },
    };
    const stdin = () =>
      random.chance(80) ? Promise.resolve('{"name": "web", "cniVersion": "1.1.0"}') : Promise.reject(thrown);
    const { stdout, code } = await servePlugin(plugin, { env: (name) => env[name], stdin });
    const document = JSON.parse(stdout);
    assertEquals([code, Number.isInteger(document.code)], [1, true]);
    assert(/[^\s\p{C}]/u.test(document.msg), stdout);
  }
});
