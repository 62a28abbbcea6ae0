import { inParallel } from "../async/parallel.ts";
import type { SandboxTraffic } from "../sandbox/sandbox.ts";
import type { Sandbox } from "../sandbox/view.ts";
import { type Calls, finderOf, type RuntimeServiceContext, signalOf } from "./call_context.ts";
import { chunksOf } from "./chunks.ts";
import {
  PodSandboxMetricsSchema,
  type PodSandboxStatsFilter,
  PodSandboxStatsSchema,
} from "./generated/api_pb.ts";
import { notFound } from "./grpc_error.ts";
import { metricDescriptors, podSandboxMetrics } from "./sandbox_metrics.ts";
import { podSandboxStats } from "./sandbox_stats.ts";

/** Without the right to call the kernel, each sandbox takes some programs. */
const SANDBOXES_AT_ONCE = 4;

/** The calls for what sandboxes use, as stats and as metrics. */
export function statsCalls(context: Pick<RuntimeServiceContext, "runtime">): Calls {
  const { sandboxes } = context.runtime;
  const { made, find } = finderOf(context);
  const withTraffic = async (found: readonly Sandbox[], signal: AbortSignal) => {
    const traffic = await sandboxes.traffic(found, { signal });
    return found.map((sandbox, at): { readonly sandbox: Sandbox; readonly traffic: SandboxTraffic } => ({
      sandbox,
      traffic: traffic[at] ?? null,
    }));
  };
  const statsOf = async (found: readonly Sandbox[], signal: AbortSignal) =>
    await inParallel(
      await withTraffic(found, signal),
      SANDBOXES_AT_ONCE,
      ({ sandbox, traffic }) => podSandboxStats(sandbox, traffic, signal),
      signal,
    );
  const selected = async (filter: StatsFilter, signal: AbortSignal) =>
    await statsOf(await made(filter?.id ?? "", signal, filter?.labelSelector), signal);
  const metricsOfAll = async (signal: AbortSignal) =>
    (await withTraffic(await made("", signal), signal)).map(({ sandbox, traffic }) =>
      podSandboxMetrics(sandbox, traffic)
    );
  return {
    podSandboxStats: async ({ podSandboxId }, call) => {
      const signal = signalOf(call);
      const found = await find(podSandboxId, signal);
      if (found === undefined) throw notFound("sandbox", podSandboxId);
      const [stats] = await statsOf([found], signal);
      return stats === undefined ? {} : { stats };
    },
    listPodSandboxStats: async ({ filter }, call) => ({ stats: [...await selected(filter, signalOf(call))] }),
    streamPodSandboxStats: async function* ({ filter }, call) {
      const stats = await selected(filter, signalOf(call));
      for (const podSandboxStats of chunksOf(PodSandboxStatsSchema, stats)) yield { podSandboxStats };
    },
    listMetricDescriptors: () => ({ descriptors: [...metricDescriptors()] }),
    listPodSandboxMetrics: async (_, call) => ({ podMetrics: await metricsOfAll(signalOf(call)) }),
    streamPodSandboxMetrics: async function* (_, call) {
      const metrics = await metricsOfAll(signalOf(call));
      for (const podSandboxMetrics of chunksOf(PodSandboxMetricsSchema, metrics)) yield { podSandboxMetrics };
    },
  };
}

type StatsFilter = PodSandboxStatsFilter | undefined;
