import type { CallOptions } from "../async/call_options.ts";
import { isObject, type JsonObject, parseJson } from "../cni/json.ts";
import { CURRENT_VERSION, SPEC_VERSIONS } from "../cni/version.ts";
import { call } from "../errors/call.ts";
import { runCommand, runOk } from "../host/command.ts";
import { shellWord } from "../host/shell_word.ts";
import { VERBS } from "../plugin/invocation.ts";
import type { Verb } from "../plugin/invocation.ts";

/** How a fake plugin answers one verb: with a result, or with an error. */
export interface FakeAnswer {
  /** Printed on standard output; a result of ADD gets `cniVersion` 1.1.0 unless it has one. @default {nothing but that} */
  readonly result?: JsonObject | undefined;
  /** Printed as the error of the plugin, which then exits with 1. */
  readonly error?: {
    readonly code: number;
    readonly msg: string;
    readonly details?: string | undefined;
  } | undefined;
}

/** One call of a fake plugin, as it arrived. */
export interface FakeCall {
  /** The type of the plugin. */
  readonly type: string;
  /** `CNI_COMMAND`. */
  readonly verb: string;
  /** `CNI_CONTAINERID`; empty if it was not set. */
  readonly containerId: string;
  /** `CNI_NETNS`; empty if it was not set. */
  readonly netns: string;
  /** `CNI_IFNAME`; empty if it was not set. */
  readonly ifName: string;
  /** `CNI_ARGS`; empty if it was not set. */
  readonly args: string;
  /** The configuration on standard input; empty for VERSION. */
  readonly config: JsonObject;
}

/**
 * A temporary directory of fake plugins, for tests. Each is an executable that records its calls and answers as it was given.
 *
 * Permissions: `--allow-read` and `--allow-write` for the directory of temporary files (`/tmp`), and `--allow-run=sh`.
 *
 * @example
 * ```ts
 * import { FakePlugins } from "./fake_plugins.ts";
 *
 * await using plugins = await FakePlugins.create();
 * await plugins.add("net", { ADD: { result: { ips: [{ address: "10.1.0.2/24" }] } } });
 * // Use plugins.dir as a plugin directory, then:
 * console.log((await plugins.calls()).map(({ verb, containerId }) => `${verb} ${containerId}`));
 * ```
 */
export class FakePlugins implements AsyncDisposable {
  /** Path of the directory. */
  readonly dir: string;

  private constructor(dir: string) {
    this.dir = dir;
  }

  /**
   * Makes an empty directory.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} if it cannot be made
   */
  static async create(options: CallOptions = {}): Promise<FakePlugins> {
    return await call(options, async () => {
      const dir = await Deno.makeTempDir({ dir: TEMP_DIR, prefix: "podwire-plugins-" });
      await Deno.mkdir(`${dir}/.calls`);
      return new FakePlugins(dir);
    });
  }

  /**
   * Adds a plugin, or changes how it answers. Verbs without an answer succeed.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} if it cannot be written
   */
  async add(
    type: string,
    answers: Readonly<Partial<Record<Verb, FakeAnswer>>> = {},
    options: CallOptions = {},
  ): Promise<void> {
    await call(options, async () => {
      const cases = VERBS.map((verb) => caseOf(verb, answers[verb]));
      const script = scriptOf(type, cases);
      // Another process writes it: a file that is open for writing, in a child that is just starting too, cannot be executed.
      const command = 'cat >"$1.new" && chmod 755 "$1.new" && mv "$1.new" "$1"';
      const args = ["-c", command, "sh", `${this.dir}/${type}`];
      await runOk(runCommand, { program: "sh", args, stdin: script, signal: options.signal });
    });
  }

  /**
   * Returns all calls so far, in their order.
   *
   * Permissions: `--allow-read` for the directory.
   *
   * @throws {CniError} if they cannot be read
   */
  async calls(options: CallOptions = {}): Promise<readonly FakeCall[]> {
    return await call(options, async () => {
      const dir = `${this.dir}/.calls`;
      const entries = await Array.fromAsync(Deno.readDir(dir));
      const numbers = entries.map(({ name }) => Number(name)).sort((a, b) => a - b);
      const found = await Promise.all(numbers.map((number) => readCall(`${dir}/${number}`)));
      return found.filter((each) => each !== undefined);
    });
  }

  /** Removes the directory. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.dir, { recursive: true });
  }
}

/** Not `TMPDIR`: the library reads no environment variable. */
const TEMP_DIR = "/tmp";

/** What the verbs that print something print by default. */
const DEFAULTS: Readonly<Partial<Record<Verb, JsonObject>>> = {
  ADD: { cniVersion: CURRENT_VERSION },
  VERSION: { cniVersion: CURRENT_VERSION, supportedVersions: SPEC_VERSIONS },
};

/** Returns the branch of a verb in the script. The shell expands nothing in the here-document of the answer. */
function caseOf(verb: Verb, { result, error }: FakeAnswer = {}): string {
  const answer = error === undefined
    ? { ...DEFAULTS[verb], ...result }
    : { cniVersion: CURRENT_VERSION, ...error };
  const isEmpty = Object.keys(answer).length === 0;
  const print = isEmpty ? ":" : `cat <<'END'\n${JSON.stringify(answer)}\nEND`;
  return `${verb})\n${print}\nexit ${error === undefined ? 0 : 1} ;;`;
}

function scriptOf(type: string, cases: readonly string[]): string {
  return `#!/bin/sh
# A fake CNI plugin of @podwire/podwire/testing: records the call, then answers.
calls=\${0%/*}/.calls
[ -d "$calls" ] || exit 1
n=1
while ! mkdir "$calls/$n" 2>/dev/null; do n=$((n + 1)); done
cat >"$calls/$n/config"
cat "/proc/$$/environ" >"$calls/$n/environ"
printf %s ${shellWord(type)} >"$calls/$n/type"
case $CNI_COMMAND in
${cases.join("\n")}
esac
exit 1
`;
}

/** Returns undefined for a call that has not been recorded whole yet. */
async function readCall(dir: string): Promise<FakeCall | undefined> {
  try {
    const [type, environ, text] = await Promise.all(
      ["type", "environ", "config"].map((name) => Deno.readTextFile(`${dir}/${name}`)),
    );
    if (type === undefined || type === "") return undefined;
    const variables = new Map(
      (environ ?? "").split("\0").map((entry): [string, string] => {
        const at = entry.indexOf("=");
        return [entry.slice(0, at), entry.slice(at + 1)];
      }),
    );
    const json = text === undefined || text === "" ? {} : parseJson(text);
    return {
      type,
      verb: variables.get("CNI_COMMAND") ?? "",
      containerId: variables.get("CNI_CONTAINERID") ?? "",
      netns: variables.get("CNI_NETNS") ?? "",
      ifName: variables.get("CNI_IFNAME") ?? "",
      args: variables.get("CNI_ARGS") ?? "",
      config: isObject(json) ? json : {},
    };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
