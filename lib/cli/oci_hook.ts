import { CniError, ERROR_CODES, isCniError } from "../cni/error.ts";
import { runCommand } from "../host/command.ts";
import { oneLine } from "../host/log.ts";
import { sameNetns } from "../host/netns.ts";
import { pidNamespace } from "../host/process.ts";
import { NetnsGuard } from "../plugin/netns_guard.ts";
import { withSignals } from "../plugin/signals.ts";
import type { SandboxContainer } from "../sandbox/container_record.ts";
import { callingRuntime } from "../sandbox/oci_runtime.ts";
import { decodeOciState, LONGEST_STATE, type OciState } from "../sandbox/oci_state.ts";
import type { Sandboxes } from "../sandbox/sandbox.ts";
import type { Sandbox } from "../sandbox/view.ts";
import type { CommandInput } from "./command.ts";
import { reportFailure } from "./failure.ts";
import { HOOK_LABEL, sandboxOfContainer } from "./oci_annotations.ts";
import { HOOK_STAGES, hookConfig, hookLimitMs } from "./oci_hooks_dir.ts";
import { hookRules, requireAllowed } from "./oci_rules.ts";
import { warnFailures } from "./sandbox_text.ts";
import { openPodwire } from "./open.ts";

/** `podwire oci-hook createRuntime|poststop|config [STAGE]` */
export async function ociHook(input: CommandInput): Promise<number> {
  const [stage = "", of] = input.operands;
  if (stage === "config") {
    const known = HOOK_STAGES.find((word) => word === of);
    if (of !== undefined && known === undefined) throw unknownStage(of);
    return await hookConfig(input, known);
  }
  if (of !== undefined) throw new CniError("usage", `unexpected argument "${of}"`);
  if (stage === "createRuntime") return await inOneLine(input, () => createRuntime(input));
  if (stage === "poststop") return await inOneLine(input, () => poststop(input));
  throw unknownStage(stage);
}

/** Gives the container its networks, before its process starts. */
async function createRuntime(input: CommandInput): Promise<number> {
  const state = await readState(input);
  const rules = hookRules(input);
  const wanted = sandboxOfContainer(state);
  if (wanted === undefined) return 0;
  requireAllowed(wanted, rules);
  requireRoot(input);
  await requireNew(state);
  const { sandboxes } = openPodwire(input);
  await withSignals(input.io, async (signal) => {
    const request = sandboxOfContainer(state, await calledBy(input, state.id, signal));
    if (request === undefined) return;
    const earlier = await sandboxOf(sandboxes, state, signal);
    // The hook was not called at the end of an earlier container of that ID: its runtime was killed.
    if (earlier?.pid === null) warnFailures(input, await remove(sandboxes, earlier, signal));
    await sandboxes.run(request, { signal });
  });
  return 0;
}

/**
 * Removes the sandbox once the container is gone. The runtime must not wait for it: what cannot be torn down is logged,
 * stays on record and is tried again, and the exit code is 0.
 */
async function poststop(input: CommandInput): Promise<number> {
  const state = await readState(input);
  const limitMs = hookLimitMs(input);
  if (input.io.uid() !== 0) return 0;
  const { sandboxes } = openPodwire(input);
  try {
    await withSignals(input.io, async (signal) => {
      const inTime = AbortSignal.any([signal, AbortSignal.timeout(limitMs)]);
      const sandbox = await sandboxOf(sandboxes, state, inTime);
      if (sandbox !== undefined) warnFailures(input, await remove(sandboxes, sandbox, inTime));
    });
  } catch (error) {
    input.io.writeError(oneLineOf(error, input).text);
  }
  return 0;
}

/** Returns what is needed to find out later whether the container still exists. */
async function calledBy(
  { io }: CommandInput,
  id: string,
  signal: AbortSignal,
): Promise<Omit<SandboxContainer, "bundle">> {
  const [namespace, runtime] = await Promise.all([
    pidNamespace({ signal }),
    callingRuntime(io.parentPid, id, { run: runCommand, signal }),
  ]);
  return { pidNamespace: namespace, ...(runtime && { runtime }) };
}

/** Reads up to the limit and a little more, so that a state that is too long is recognized. */
async function readState({ io }: CommandInput): Promise<OciState> {
  return decodeOciState(await io.readStdin(LONGEST_STATE));
}

function requireRoot({ io }: CommandInput): void {
  if (io.uid() === 0) return;
  throw new CniError("permission", "oci-hook needs root: it changes network namespaces");
}

/** @throws {CniError} if the container is not new, or has no network namespace of its own */
async function requireNew({ id, status, pid }: OciState): Promise<void> {
  if (status !== "creating" && status !== "created") {
    throw new CniError("usage", `Cannot give networks to the container "${id}": it is already ${status}`);
  }
  const netns = `/proc/${pid}/ns/net`;
  const isHosts = await sameNetns(netns, "/proc/1/ns/net") || await new NetnsGuard().isOwn(netns);
  if (!isHosts) return;
  throw new CniError(
    "usage",
    `Cannot give networks to the container "${id}": it is in the host's own network namespace`,
    {
      code: ERROR_CODES.invalidNetns,
      hint: "its configuration has to ask for a network namespace of its own",
    },
  );
}

/** Returns the sandbox that the hook made for the container, and never another one of that name. */
async function sandboxOf(
  sandboxes: Sandboxes,
  { id }: OciState,
  signal: AbortSignal,
): Promise<Sandbox | undefined> {
  const isOfContainer = (sandbox: Sandbox) => sandbox.id === id && Object.hasOwn(sandbox.labels, HOOK_LABEL);
  try {
    const found = await sandboxes.get(id, { signal });
    if (found.id === id) return isOfContainer(found) ? found : undefined;
  } catch (error) {
    if (isCniError(error, "not-found") || isCniError(error, "usage")) return undefined;
    throw error;
  }
  // Another sandbox has the ID of this one as its name.
  return (await sandboxes.list({ id }, { signal })).find(isOfContainer);
}

/** Removes a sandbox by its name, which no other sandbox has. */
async function remove(
  sandboxes: Sandboxes,
  { name, namespace }: Sandbox,
  signal: AbortSignal,
): Promise<readonly CniError[]> {
  return await sandboxes.remove(name, { namespace, force: true, signal });
}

/** Prints an error in one line: a runtime puts what a hook wrote into one line of its own. */
async function inOneLine(input: CommandInput, body: () => Promise<number>): Promise<number> {
  try {
    return await body();
  } catch (error) {
    const { text, code } = oneLineOf(error, input);
    input.io.writeError(text);
    return code;
  }
}

function oneLineOf(error: unknown, input: CommandInput): { text: string; code: number } {
  const { text, code } = reportFailure(error, { json: input.flag("json") });
  return { text: `${oneLine(text.trimEnd().split(/\n\s*/).join("; "))}\n`, code };
}

function unknownStage(stage: string): CniError {
  return new CniError("usage", `oci-hook has no stage "${stage}"; there are ${HOOK_STAGES.join(" and ")}`);
}
