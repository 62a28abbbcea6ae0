/** What the tests of GC share: a collector in a world, attachments of several owners, and reports in short. */
import { assertEquals } from "@std/assert";
import type { NetworkConfigList } from "../../lib/cni/config.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { GarbageCollector } from "../../lib/gc/collector.ts";
import { DamagedRecords } from "../../lib/gc/damaged_attachments.ts";
import type { GcItem, GcReport } from "../../lib/gc/report.ts";
import { VersionProbe } from "../../lib/plugin/versions.ts";
import { Locks } from "../../lib/state/locks.ts";
import { LostAttachments } from "../../lib/state/lost_attachments.ts";
import { listOf, type NetworkWorld } from "../attachment/world.ts";

/** A collector in a world, for which these sandboxes exist. */
export function collector(world: NetworkWorld, sandboxes: readonly string[] = [], timeoutMs = 5_000) {
  const { store, cache, running } = world;
  const attachments = world.attachments();
  const lost = new LostAttachments({ store, cache, claims: { all: () => Promise.resolve([]) } });
  return new GarbageCollector({
    attachments,
    store,
    cache,
    locks: new Locks(`${world.dir}/run`),
    runner: world.runner,
    probe: new VersionProbe(world.runner),
    running,
    damaged: new DamagedRecords({ store, cache, attachments, running, lost, netnsOf: () => "" }),
    hasSandbox: (id) => Promise.resolve(sandboxes.includes(id)),
    timeoutMs,
  });
}

/** Attaches a container as its sandbox does, or by hand. */
export async function attach(
  world: NetworkWorld,
  list: NetworkConfigList,
  containerId: string,
  owner?: string,
) {
  await world.attachments().add(
    list,
    world.request({ containerId, owner: owner ?? `sandbox:${containerId}` }),
  );
}

/** An entry of a Go runtime in the cache. */
export async function foreign(world: NetworkWorld, containerId: string, network = "web", ifName = "eth0") {
  await world.cache.write({
    containerId,
    network,
    ifName,
    netns: world.netns,
    config: listOf(["a"], { name: network }).text,
    cniArgs: [],
    capabilityArgs: {},
    result: undefined,
  });
}

export const shown = ({ kind, containerId, network, plugin, why }: GcItem) =>
  [kind, containerId ?? plugin ?? network, why].join(": ");
export const reportToJson = (report: GcReport) => ({
  removed: report.removed.map(shown),
  kept: report.kept.map(shown),
  failed: report.failed.map(shown),
});

/** The attachments that the plugins got as valid, as `ID:INTERFACE`. */
export function valid(config: JsonObject): string[] {
  assertEquals(config["cni.dev/valid-attachments"], config["cni.dev/attachments"]);
  return (config["cni.dev/valid-attachments"] as { containerID: string; ifname: string }[])
    .map(({ containerID, ifname }) => `${containerID}:${ifname}`).sort();
}
