import { CniError } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { Logger } from "../host/log.ts";
import type { LiveRuntime } from "../runtime/live.ts";
import type { Sandbox } from "../sandbox/view.ts";
import { networksOf, wantedNetworksOf } from "./asked_networks.ts";
import { type EnginePod, titleOf } from "./engine_pod.ts";
import type { NriPolicy } from "./policy.ts";

/** What attaching works with. */
export interface AttachContext {
  readonly runtime: Pick<LiveRuntime, "attachments"> & {
    readonly sandboxes: Pick<LiveRuntime["sandboxes"], "list" | "run" | "remove">;
  };
  /** Reads which pods may use which networks, as that is now. */
  readonly readPolicy: () => Promise<NriPolicy>;
  readonly log: Logger;
  /** Name and version of the engine. */
  readonly engine: () => string;
}

/** How a pod was found, and left. */
export type AttachOutcome = "asks for nothing" | "was attached" | "attached";

/**
 * Attaches a pod to the networks that it asks for, unless it is attached already. What an interrupted attempt left is removed
 * first. The caller does nothing else with the pod meanwhile.
 *
 * @param onAsked gets how many networks it asks for
 * @throws {CniError} with the reason; then nothing of it is attached
 */
export async function attachPod(
  pod: EnginePod,
  { onAsked, signal }: { readonly onAsked: (count: number) => void; readonly signal: AbortSignal },
  context: AttachContext,
): Promise<AttachOutcome> {
  const { runtime: { sandboxes }, log, engine } = context;
  const { id, name, namespace, uid, labels, annotations, netns } = pod;
  const warn = (warning: string) => log.warn(warning, { pod: `${namespace}/${name}` });
  const asked = networksOf(pod, await context.readPolicy(), { warn });
  onAsked(asked.length);
  if (asked.length === 0) return "asks for nothing";
  if (netns === undefined) {
    throw new CniError(
      "usage",
      `${titleOf(pod)} is in the namespace of the host, which has no networks of a pod`,
    );
  }
  const own = await sandboxOf(id, context);
  if (own?.state === "ready") return "was attached";
  if (own !== undefined) await removeSandboxOf(own, context);
  await sandboxes.run({
    ...{ id, name, namespace, uid, labels, annotations },
    attempt: await freeAttempt(pod, context),
    source: { kind: "path", path: netns },
    networks: wantedNetworksOf(asked),
    // The engine has its own network in there, and a pod may be on one network twice.
    allowOverlap: true,
    nri: { engine: engine() },
  }, { signal });
  return "attached";
}

/**
 * Detaches a pod by podwire's record. What cannot be detached stays on record and is retried, because the engine can do nothing
 * about it.
 */
export async function detachPod(id: string, context: AttachContext): Promise<void> {
  try {
    const own = await sandboxOf(id, context);
    if (own !== undefined) await removeSandboxOf(own, context);
  } catch (error) {
    context.log.error(`Cannot detach a pod: ${asCniError(error).message}`, { sandbox: id });
  }
}

/** Returns how many networks of a pod are attached. */
export async function countAttached(id: string, { runtime }: AttachContext): Promise<number> {
  const records = await runtime.attachments({ containerId: id });
  return records.filter(({ state }) => state === "attached").length;
}

/** Returns the sandbox of a pod; undefined if it has none, or one of that ID is not of an engine. */
async function sandboxOf(id: string, { runtime }: AttachContext): Promise<Sandbox | undefined> {
  const found = await runtime.sandboxes.list({ id, ofNri: true });
  return found.find((sandbox) => sandbox.id === id);
}

async function removeSandboxOf({ id, namespace }: Sandbox, context: AttachContext): Promise<void> {
  const { runtime: { sandboxes }, log } = context;
  const failures = await sandboxes.remove(id, { namespace, force: true, missingOk: true });
  for (const { message } of failures) log.warn(`left on record: ${message}`, { sandbox: id });
}

/**
 * Returns an attempt that no other sandbox of the pod has: engines do not say which one it is. Sandboxes whose namespace is gone
 * are removed, so that the new one can have their addresses.
 */
async function freeAttempt({ id, name, namespace, uid }: EnginePod, context: AttachContext): Promise<number> {
  const others = (await context.runtime.sandboxes.list({ name, namespace }))
    .filter((other) => other.id !== id && other.uid === uid);
  const isOver = ({ nri, state, underWay }: Sandbox) => nri !== undefined && state !== "ready" && !underWay;
  for (const other of others.filter(isOver)) await removeSandboxOf(other, context);
  const taken = others.filter((other) => !isOver(other)).map(({ attempt }) => attempt);
  return Math.max(-1, ...taken) + 1;
}
