import { CniError } from "../cni/error.ts";
import { parsePodCIDRs } from "../network/pod_cidrs.ts";
import { type Calls, finderOf, type RuntimeServiceContext, signalOf } from "./call_context.ts";
import { chunksOf } from "./chunks.ts";
import { CONTAINER_CALLS } from "./container_calls.ts";
import { CgroupDriver as DriverName, PodSandboxSchema } from "./generated/api_pb.ts";
import { invalidField, notFound, unimplemented } from "./grpc_error.ts";
import { inWordsOfCri, sandboxRequest } from "./pod_config.ts";
import { runtimeStatus } from "./runtime_status.ts";
import { podSandboxOf, podSandboxStatusOf, sandboxInfo } from "./sandbox_status.ts";
import { statsCalls } from "./stats_calls.ts";

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
    const why =
      "its clients speak SPDY/3.1, for which there is no kept library; publish a port, or use `podwire exec`";
    throw unimplemented("PortForward", why);
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

function sandboxCalls(context: RuntimeServiceContext): Calls {
  const { runtime: { sandboxes }, events, log, cgroupDriver: driver } = context;
  const { find, selected } = finderOf(context);
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
      return { items: (await selected(filter, signalOf(call))).map(podSandboxOf) };
    },
    streamPodSandboxes: async function* ({ filter }, call) {
      const items = (await selected(filter, signalOf(call))).map(podSandboxOf);
      for (const podSandboxes of chunksOf(PodSandboxSchema, items)) yield { podSandboxes };
    },
    getContainerEvents: (_, call) => events.read(signalOf(call)),
  };
}
