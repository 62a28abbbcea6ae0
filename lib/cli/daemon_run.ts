import { resolve } from "@std/path";
import { DaemonClient } from "../daemon/client.ts";
import { Deadline } from "../plugin/deadline.ts";
import type { SandboxRequest } from "../sandbox/request.ts";
import type { Sandbox } from "../sandbox/view.ts";
import { CniError } from "../cni/error.ts";
import type { CommandInput } from "./command.ts";
import { socketPath } from "./flag_value.ts";
import { parseDuration } from "./settings.ts";

/** What the daemon was told when it was started. */
const OF_THE_DAEMON = [
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
 * What makes sandboxes through the daemon that serves at this socket. There is nothing that it falls back to.
 *
 * @throws {CniError} kind `usage`, naming an option that the daemon has its own of
 */
export function daemonRun(
  input: CommandInput,
  socket: string,
): (request: SandboxRequest, options: { readonly signal: AbortSignal }) => Promise<Sandbox> {
  for (const name of OF_THE_DAEMON) {
    if (!isGiven(input, name)) continue;
    throw new CniError("usage", `--${name} does not go with --socket: the daemon has its own`);
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

/** The time for the answer; those of the verbs are the daemon's own. */
function limitOf(input: CommandInput): number | undefined {
  const texts = input.list("timeout");
  const ofVerb = texts.find((text) => text.includes("="));
  if (ofVerb !== undefined) {
    throw new CniError("usage", `--timeout ${ofVerb} does not go with --socket: the daemon has its own`, {
      hint: "--timeout DURATION is then the time for its answer",
    });
  }
  const last = texts.at(-1);
  return last === undefined ? undefined : parseDuration(last, "--timeout");
}
