import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { inParallel } from "../async/parallel.ts";
import { CniError } from "../cni/error.ts";
import type { Logger } from "../host/log.ts";
import { parsePodCIDRs, type PodCIDRs } from "../network/pod_cidrs.ts";
import type { LiveRuntime } from "../runtime/live.ts";
import type { Sandbox } from "../sandbox/view.ts";
import type { CgroupDriver } from "./cgroup_driver.ts";
import { CONTAINER_CALLS } from "./container_calls.ts";
import {
  CgroupDriver as DriverName,
  type PodSandboxFilter,
  PodSandboxState,
  type RuntimeService,
} from "./generated/api_pb.ts";
import { invalidField, notFound, reasonOf, unimplemented } from "./grpc_error.ts";
import { inWordsOfCri, sandboxRequest } from "./pod_config.ts";
import { runtimeStatus } from "./runtime_status.ts";
import { podSandboxStats } from "./sandbox_stats.ts";
import { podSandboxOf, podSandboxStatusOf, sandboxInfo } from "./sandbox_status.ts";

/** The dependencies of {@linkcode runtimeService}. */
export interface RuntimeServiceContext {
  readonly runtime: Pick<LiveRuntime, "networks" | "status" | "sandboxes">;
  readonly podCIDRs: PodCIDRs;
  readonly cgroupDriver: CgroupDriver;
  readonly version: string;
  readonly log: Logger;
}

type Calls = Partial<ServiceImpl<typeof RuntimeService>>;

/** The name of this runtime, and the version of the API that it serves. */
const RUNTIME = { runtimeName: "podwire", runtimeApiVersion: "v1" };

/** The calls of the CRI's runtime service. */
export function runtimeService(context: RuntimeServiceContext): Calls {
  return {
    ...CONTAINER_CALLS,
    ...REFUSED,
    ...nodeCalls(context),
    ...sandboxCalls(context),
    ...statsCalls(context),
  };
}

/** What clients do without, each with the reason. */
const REFUSED: Calls = {
  portForward: () => {
    throw unimplemented("PortForward", "use `podwire exec` in the sandbox, or publish a port");
  },
  updatePodSandboxResources: () => {
    throw unimplemented("UpdatePodSandboxResources", "a sandbox has no containers with resources");
  },
};

const DRIVERS = { cgroupfs: DriverName.CGROUPFS, systemd: DriverName.SYSTEMD } as const;

function nodeCalls({ runtime, podCIDRs, cgroupDriver: driver, version }: RuntimeServiceContext): Calls {
  return {
    // The client gives the version of its own API there, which was never raised.
    version: () => ({ version: "0.1.0", runtimeVersion: version, ...RUNTIME }),
    status: async ({ verbose }, call) => {
      const signal = signalOf(call);
      const facts = {
        entries: await runtime.networks({ signal }),
        statuses: await runtime.status({}, { signal }),
        podCIDRs: await podCIDRs.read(),
      };
      return runtimeStatus(facts, verbose);
    },
    runtimeConfig: () => ({ linux: { cgroupDriver: DRIVERS[driver.name] } }),
    updateRuntimeConfig: async ({ runtimeConfig }) => {
      const text = runtimeConfig?.networkConfig?.podCidr ?? "";
      // The kubelet sends it before it knows any.
      if (text === "") return {};
      let cidrs: readonly string[];
      try {
        cidrs = parsePodCIDRs(text);
      } catch (error) {
        if (!(error instanceof CniError)) throw error;
        throw invalidField("runtime_config.network_config.pod_cidr", error.message);
      }
      if ((await podCIDRs.read()).join() !== cidrs.join()) await podCIDRs.write(cidrs);
      return {};
    },
  };
}

/** Without the right to call the kernel, each sandbox takes some programs. */
const SANDBOXES_AT_ONCE = 4;

/** Finds the sandboxes of clients of the CRI. */
function finderOf({ runtime: { sandboxes } }: RuntimeServiceContext) {
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
  return { made, find };
}

function sandboxCalls(context: RuntimeServiceContext): Calls {
  const { runtime: { sandboxes }, log, cgroupDriver: driver } = context;
  const { made, find } = finderOf(context);
  const onLeft = (sandbox: string) => ({ message }: Error) =>
    log.warn(`left on record: ${message}`, { sandbox });
  return {
    runPodSandbox: async ({ config, runtimeHandler }, call) => {
      try {
        const signal = signalOf(call);
        const request = await sandboxRequest(config, runtimeHandler, { driver, signal });
        const { id } = await sandboxes.run(request, { signal });
        return { podSandboxId: id };
      } catch (error) {
        throw inWordsOfCri(error);
      }
    },
    stopPodSandbox: async ({ podSandboxId }, call) => {
      const signal = signalOf(call);
      const found = await find(podSandboxId, signal);
      if (found === undefined) return {};
      // What could not be torn down stays on record, and is retried: the client can do nothing about it.
      const failures = await sandboxes.stop(found.id, { signal, missingOk: true });
      failures.forEach(onLeft(found.id));
      return {};
    },
    removePodSandbox: async ({ podSandboxId }, call) => {
      const signal = signalOf(call);
      const found = await find(podSandboxId, signal);
      if (found === undefined) return {};
      const failures = await sandboxes.remove(found.id, { signal, force: true, missingOk: true });
      failures.forEach(onLeft(found.id));
      return {};
    },
    podSandboxStatus: async ({ podSandboxId, verbose }, call) => {
      const found = await find(podSandboxId, signalOf(call));
      if (found === undefined) throw notFound("sandbox", podSandboxId);
      return {
        status: podSandboxStatusOf(found),
        info: verbose ? sandboxInfo(found) : {},
        timestamp: BigInt(Date.now()) * 1_000_000n,
      };
    },
    listPodSandbox: async ({ filter }, call) => {
      const found = await made(filter?.id ?? "", signalOf(call), filter?.labelSelector);
      return { items: found.filter((sandbox) => isWanted(sandbox, filter)).map(podSandboxOf) };
    },
  };
}

function statsCalls(context: RuntimeServiceContext): Calls {
  const { sandboxes } = context.runtime;
  const { made, find } = finderOf(context);
  const statsOf = async (found: readonly Sandbox[], signal: AbortSignal) => {
    const traffic = await sandboxes.traffic(found, { signal });
    const both = found.map((sandbox, at) => ({ sandbox, traffic: traffic[at] ?? null }));
    return await inParallel(
      both,
      SANDBOXES_AT_ONCE,
      ({ sandbox, traffic }) => podSandboxStats(sandbox, traffic, signal),
      signal,
    );
  };
  return {
    podSandboxStats: async ({ podSandboxId }, call) => {
      const signal = signalOf(call);
      const found = await find(podSandboxId, signal);
      if (found === undefined) throw notFound("sandbox", podSandboxId);
      const [stats] = await statsOf([found], signal);
      return stats === undefined ? {} : { stats };
    },
    listPodSandboxStats: async ({ filter }, call) => {
      const signal = signalOf(call);
      const found = await made(filter?.id ?? "", signal, filter?.labelSelector);
      return { stats: [...await statsOf(found, signal)] };
    },
  };
}

function isWanted({ state }: Sandbox, filter: PodSandboxFilter | undefined): boolean {
  if (filter === undefined) return true;
  const { state: wanted } = filter;
  const isReady = wanted?.state === PodSandboxState.SANDBOX_READY;
  return wanted === undefined || isReady === (state === "ready");
}

/** Returns the signal of a call, with a reason in podwire's words. */
function signalOf({ signal }: HandlerContext): AbortSignal {
  const own = new AbortController();
  const onAbort = () => own.abort(reasonOf(signal));
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort, { once: true });
  return own.signal;
}
