import { resolve } from "@std/path";
import { CniError } from "../cni/error.ts";
import { DaemonClient } from "../daemon/client.ts";
import { Deadline } from "../plugin/deadline.ts";
import type { SandboxRequest } from "../sandbox/request.ts";
import type { Sandbox } from "../sandbox/view.ts";
import type { CommandInput } from "./command.ts";
import { socketPath } from "./flag_value.ts";
import { parseDuration } from "./settings.ts";

/** The options that the daemon gets when it starts. */
const DAEMON_OPTIONS = [
  "conf-dir",
  "plugin-dir",
  "cache-dir",
  "state-dir",
  "netns-dir",
  "default-network",
  "builtin",
  "plugin-env",
  "no-embedded",
  "allow-unsafe-files",
  "max-failed",
];

/**
 * Returns a function that makes sandboxes through the daemon at this socket. There is no fallback.
 *
 * @throws {CniError} kind `usage`, naming an option that only the daemon itself can have
 */
export function daemonRun(
  input: CommandInput,
  socket: string,
): (request: SandboxRequest, options: { readonly signal: AbortSignal }) => Promise<Sandbox> {
  for (const name of DAEMON_OPTIONS) {
    if (!isGiven(input, name)) continue;
    throw new CniError("usage", `--${name} cannot be used with --socket: the daemon has its own`);
  }
  const limitMs = limitOf(input);
  const client = new DaemonClient(socketPath("--socket", resolve(socket)));
  return async (request, { signal }) => {
    if (limitMs === undefined) return await client.run(request, { signal });
    using deadline = new Deadline(limitMs, signal, `the daemon did not answer within ${limitMs} ms`);
    return await client.run(request, { signal: deadline.signal });
  };
}

function isGiven(input: CommandInput, name: string): boolean {
  return input.flag(name) || input.value(name) !== undefined || input.list(name).length > 0;
}

/** Returns the time limit for the response. The daemon has its own limits for the verbs. */
function limitOf(input: CommandInput): number | undefined {
  const texts = input.list("timeout");
  const ofVerb = texts.find((text) => text.includes("="));
  if (ofVerb !== undefined) {
    throw new CniError("usage", `--timeout ${ofVerb} cannot be used with --socket: the daemon has its own`, {
      hint: "with --socket, --timeout DURATION limits the time for its response",
    });
  }
  const last = texts.at(-1);
  return last === undefined ? undefined : parseDuration(last, "--timeout");
}
