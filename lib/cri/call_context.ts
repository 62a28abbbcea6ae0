import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { Logger } from "../host/log.ts";
import type { PodCIDRs } from "../network/pod_cidrs.ts";
import type { LiveRuntime } from "../runtime/live.ts";
import type { Sandbox } from "../sandbox/view.ts";
import type { CgroupDriver } from "./cgroup_driver.ts";
import { type PodSandboxFilter, PodSandboxState, type RuntimeService } from "./generated/api_pb.ts";
import { invalidField, reasonOf } from "./grpc_error.ts";
import type { SandboxEvents } from "./sandbox_events.ts";

/** What the calls of the runtime service work with. */
export interface RuntimeServiceContext {
  readonly runtime: Pick<LiveRuntime, "networks" | "status" | "sandboxes">;
  readonly podCIDRs: PodCIDRs;
  readonly cgroupDriver: CgroupDriver;
  readonly events: Pick<SandboxEvents, "read">;
  readonly version: string;
  readonly log: Logger;
}

/** Some calls of the runtime service. */
export type Calls = Partial<ServiceImpl<typeof RuntimeService>>;

/** Returns what finds the sandboxes of clients of the CRI. */
export function finderOf({ runtime: { sandboxes } }: Pick<RuntimeServiceContext, "runtime">) {
  /** Returns those that clients of the CRI have made, whose ID begins so, and which have these labels. */
  const made = (id: string, signal: AbortSignal, labels: Readonly<Record<string, string>> = {}) =>
    sandboxes.list({ id, labels, ofCri: true, isMade: true }, { signal });
  /** Returns the one with that ID, or with an ID that begins so and is the only one. */
  const find = async (id: string, signal: AbortSignal): Promise<Sandbox | undefined> => {
    if (id === "") throw invalidField("pod_sandbox_id", "it is empty");
    const found = await made(id, signal);
    const exact = found.find((sandbox) => sandbox.id === id);
    if (exact === undefined && found.length > 1) {
      throw invalidField("pod_sandbox_id", `the IDs of ${found.length} sandboxes begin with "${id}"`);
    }
    return exact ?? found[0];
  };
  /** Returns those that a filter of a list selects. */
  const selected = async (filter: PodSandboxFilter | undefined, signal: AbortSignal) =>
    (await made(filter?.id ?? "", signal, filter?.labelSelector)).filter((one) => isWanted(one, filter));
  return { made, find, selected };
}

function isWanted({ state }: Sandbox, filter: PodSandboxFilter | undefined): boolean {
  if (filter === undefined) return true;
  const { state: wanted } = filter;
  const isReady = wanted?.state === PodSandboxState.SANDBOX_READY;
  return wanted === undefined || isReady === (state === "ready");
}

/** Returns the signal of a call, with a reason in podwire's words. */
export function signalOf({ signal }: HandlerContext): AbortSignal {
  const own = new AbortController();
  const onAbort = () => own.abort(reasonOf(signal));
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort, { once: true });
  return own.signal;
}
