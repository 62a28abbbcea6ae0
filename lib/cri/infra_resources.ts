import type { JsonObject } from "../cni/json.ts";
import { readKernelFiles } from "../host/kernel_file.ts";
import type { LinuxContainerResources, LinuxPodSandboxConfig } from "./generated/api_pb.ts";
import { invalidField } from "./grpc_error.ts";

/** The limits of an infra container. */
export interface InfraResources {
  /** `linux.resources` of the OCI runtime specification. */
  readonly resources?: JsonObject;
  readonly oomScoreAdj?: number;
}

/** Source: `cpu.cfs_period_us` of the kernel, which has this if none is set. */
const PERIOD = 100_000;
const LARGEST_SCORE = 1000;
const NUMBERS = ["cpuShares", "cpuPeriod", "memoryLimitInBytes"] as const;
/** Of the overhead only amounts are known that can be added to those of the containers. */
const NO_AMOUNTS = {
  cpusetCpus: "cpuset_cpus",
  cpusetMems: "cpuset_mems",
  hugepageLimits: "hugepage_limits",
  memorySwapLimitInBytes: "memory_swap_limit_in_bytes",
  oomScoreAdj: "oom_score_adj",
  unified: "unified",
} as const;

/**
 * Returns the limits of the infra container: what the containers of the pod may use, and what the pod itself may use beyond that.
 * What is 0 has no limit.
 *
 * @throws {ConnectError} with `InvalidArgument`
 */
export async function infraResources(
  { resources, overhead }: LinuxPodSandboxConfig,
  signal: AbortSignal,
): Promise<InfraResources> {
  requireAmounts("resources", resources);
  requireAmounts("overhead", overhead);
  for (const [member, name] of Object.entries(NO_AMOUNTS)) {
    const value = overhead?.[member as keyof typeof NO_AMOUNTS] ?? "";
    if (typeof value === "object" ? Object.keys(value).length === 0 : !value) continue;
    throw invalidField(`config.linux.overhead.${name}`, "only the resources of the containers have it");
  }
  const both = [resources, overhead].filter((each) => each !== undefined);
  const unified = { ...resources?.unified };
  if (Object.keys(unified).length > 0 && await readKernelFiles([CONTROLLERS], { signal }) === "") {
    throw invalidField("config.linux.resources.unified", "the control groups of this node have version 1");
  }
  const limits = {
    cpu: given({
      shares: sum(both.map(({ cpuShares }) => cpuShares)),
      ...quotaOf(both),
      cpus: resources?.cpusetCpus,
      mems: resources?.cpusetMems,
    }),
    memory: given({
      limit: sum(both.map(({ memoryLimitInBytes }) => memoryLimitInBytes)),
      swap: Number(resources?.memorySwapLimitInBytes ?? 0),
    }),
    hugepageLimits: resources?.hugepageLimits.map(({ pageSize, limit }) => ({
      pageSize,
      limit: Number(limit),
    })),
    unified,
  };
  const own = given(limits);
  const score = Number(resources?.oomScoreAdj ?? 0);
  return {
    ...(Object.keys(own).length === 0 ? {} : { resources: own }),
    ...(score === 0 ? {} : { oomScoreAdj: score }),
  };
}

/** Only the second version of control groups has it. */
const CONTROLLERS = "/sys/fs/cgroup/cgroup.controllers";

function requireAmounts(name: string, resources: LinuxContainerResources | undefined): void {
  if (resources === undefined) return;
  for (const member of NUMBERS) {
    if (resources[member] >= 0n) continue;
    throw invalidField(`config.linux.${name}.${snakeCase(member)}`, `${resources[member]} is less than 0`);
  }
  const { oomScoreAdj } = resources;
  if (oomScoreAdj >= -LARGEST_SCORE && oomScoreAdj <= LARGEST_SCORE) return;
  throw invalidField(`config.linux.${name}.oom_score_adj`, `${oomScoreAdj} is not from -1000 to 1000`);
}

function snakeCase(member: string): string {
  return member.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** A quota counts in its own period. */
function quotaOf(
  all: readonly LinuxContainerResources[],
): { readonly quota?: number; readonly period?: number } {
  const limited = all.filter(({ cpuQuota }) => cpuQuota > 0n);
  const periodOf = ({ cpuPeriod }: LinuxContainerResources) => Number(cpuPeriod) || PERIOD;
  const period = limited.map(periodOf)[0];
  if (period === undefined) return {};
  const quotas = limited.map((each) => Math.round(Number(each.cpuQuota) * period / periodOf(each)));
  return { quota: quotas.reduce((one, other) => one + other, 0), period };
}

function sum(amounts: readonly bigint[]): number {
  return Number(amounts.reduce((one, other) => one + other, 0n));
}

/** Returns the members that say something. */
function given(members: Readonly<Record<string, JsonObject[string] | undefined>>): JsonObject {
  const isGiven = (value: unknown) =>
    typeof value === "object" && value !== null ? Object.keys(value).length > 0 : Boolean(value);
  return Object.fromEntries(
    Object.entries(members).flatMap(([name, value]) =>
      value !== undefined && isGiven(value) ? [[name, value]] : []
    ),
  );
}
