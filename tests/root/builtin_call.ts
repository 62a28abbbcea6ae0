/**
 * Calls built-in plugins and the reference plugins alike: environment and standard input in, document out.
 */
import { assertEquals } from "@std/assert";
import { builtins } from "../../lib/builtin/mod.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { asResult, decodeResult, type Result } from "../../lib/cni/result.ts";
import { type RunCommand, runCommand } from "../../lib/host/command.ts";
import type { Verb } from "../../lib/plugin/invocation.ts";
import { type Delegate, loadBuiltin, servePlugin } from "../../lib/plugin/serve.ts";

/** One call of a plugin. */
export interface Call {
  readonly verb: Verb;
  readonly containerId?: string;
  readonly netns?: string;
  readonly ifName?: string;
  readonly args?: string;
  readonly config: JsonObject;
}

/** How it ended. `document` is what it printed, if that is JSON. */
export interface Answer {
  readonly code: number;
  readonly stderr: string;
  // deno-lint-ignore no-explicit-any
  readonly document: any;
}

function environment(call: Call, path: string): Record<string, string> {
  return {
    CNI_COMMAND: call.verb,
    CNI_CONTAINERID: call.containerId ?? "",
    CNI_NETNS: call.netns ?? "",
    CNI_IFNAME: call.ifName ?? "eth0",
    CNI_ARGS: call.args ?? "",
    CNI_PATH: path,
  };
}

/** Calls a built-in plugin; its delegates are built-in plugins too. */
export async function callBuiltin(type: string, call: Call, run: RunCommand = runCommand): Promise<Answer> {
  const plugin = await loadBuiltin(builtins, type);
  if (plugin === undefined) throw new Error(`no built-in plugin "${type}"`);
  const env = environment(call, "/nowhere");
  const delegate: Delegate = async (ipam, config, verb = call.verb) => {
    const answer = await callBuiltin(ipam, { ...call, verb, config }, run);
    if (answer.code !== 0) throw new Error(answer.document.msg);
    return verb === "ADD" ? asResult(decodeResult(answer.document, "1.1.0")) : undefined;
  };
  const { stdout, stderr, code } = await servePlugin(plugin, {
    env: (name) => env[name],
    stdin: () => Promise.resolve(JSON.stringify(call.config)),
    run,
    delegate,
  });
  return { code, stderr, document: stdout === "" ? undefined : JSON.parse(stdout) };
}

/** Calls a plugin of a folder. */
export async function callBinary(
  folder: string,
  type: string,
  call: Call,
  run: RunCommand = runCommand,
): Promise<Answer> {
  const { stdout, stderr, code } = await run({
    program: `${folder}/${type}`,
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...environment(call, folder) },
    stdin: JSON.stringify(call.config),
  });
  return { code, stderr, document: stdout.trim() === "" ? undefined : JSON.parse(stdout) };
}

/** The result of an ADD that must succeed. */
export function resultOf(answer: Answer): Result {
  assertEquals(answer.code, 0, `${JSON.stringify(answer.document)}\n${answer.stderr}`);
  return asResult(answer.document);
}

/** Asserts that a call succeeded. */
export function assertDone(answer: Answer): void {
  assertEquals(answer.code, 0, `${JSON.stringify(answer.document)}\n${answer.stderr}`);
}
