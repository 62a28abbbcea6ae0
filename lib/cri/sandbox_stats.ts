import { create } from "@bufbuild/protobuf";
import { type CgroupUsage, cgroupUsage } from "../host/cgroup_usage.ts";
import { infraCgroup } from "../sandbox/infra_cgroup.ts";
import type { InterfaceTraffic, SandboxTraffic } from "../sandbox/sandbox.ts";
import type { Sandbox } from "../sandbox/view.ts";
import { type PodSandboxStats, PodSandboxStatsSchema } from "./generated/api_pb.ts";
import { podSandboxOf } from "./sandbox_status.ts";

/**
 * Returns what a sandbox uses: what its interfaces have carried, and the processors, the memory and the processes of its infra
 * container. What is not known is left out.
 */
export async function podSandboxStats(
  sandbox: Sandbox,
  traffic: SandboxTraffic,
  signal: AbortSignal,
): Promise<PodSandboxStats> {
  const { cgroup = infraCgroup(sandbox.id).path } = sandbox;
  const usage = sandbox.pid === null ? undefined : await cgroupUsage(cgroup, { signal });
  const timestamp = BigInt(Date.now()) * 1_000_000n;
  const { id, metadata, labels, annotations } = podSandboxOf(sandbox);
  return create(PodSandboxStatsSchema, {
    attributes: { id, metadata, labels, annotations },
    linux: {
      ...(traffic === null ? {} : { network: { timestamp, ...networkOf(sandbox, traffic) } }),
      ...(usage === undefined ? {} : infraStats(usage, timestamp)),
    },
  });
}

/** The kubelet shows the default interface alone in its summary. */
function networkOf({ networks }: Sandbox, traffic: readonly InterfaceTraffic[]) {
  const first = networks.find((network) => network.default) ?? networks[0];
  const isDefault = ({ ifName }: InterfaceTraffic) => ifName === first?.ifName;
  const [defaultInterface] = traffic.filter(isDefault).map(usageOf);
  return { defaultInterface, interfaces: traffic.filter((one) => !isDefault(one)).map(usageOf) };
}

function usageOf({ ifName, rx, tx }: InterfaceTraffic) {
  return {
    name: ifName,
    rxBytes: number(rx.bytes),
    rxErrors: number(rx.errors),
    txBytes: number(tx.bytes),
    txErrors: number(tx.errors),
  };
}

function infraStats(usage: CgroupUsage, timestamp: bigint) {
  return {
    cpu: { timestamp, usageCoreNanoSeconds: number(usage.cpuNanoseconds) },
    memory: {
      timestamp,
      usageBytes: number(usage.memoryBytes),
      workingSetBytes: number(usage.workingSetBytes),
      rssBytes: number(usage.rssBytes),
      pageFaults: number(usage.pageFaults),
      majorPageFaults: number(usage.majorPageFaults),
    },
    process: { timestamp, processCount: number(usage.processes) },
  };
}

function number(value: number | undefined): { readonly value: bigint } | undefined {
  return value === undefined ? undefined : { value: BigInt(value) };
}
