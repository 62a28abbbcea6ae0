/** Requests for one pod, and their plans. */
import { assertThrows } from "@std/assert";
import type { Catalog } from "../../lib/catalog/catalog.ts";
import { type NetworkConfigList, parseConfigList } from "../../lib/cni/config.ts";
import { CniError } from "../../lib/cni/error.ts";
import { planAttachments, type PlannedAttachment, type PodRequest } from "../../lib/pod/request.ts";

/** Every capability that a setting has, and one free one. */
const CAPABILITIES = [
  "portMappings",
  "bandwidth",
  "ips",
  "mac",
  "ipRanges",
  "dns",
  "aliases",
  "cgroupPath",
  "deviceID",
  "io.kubernetes.cri.pod-annotations",
  "io.example.free",
];

/** Networks `a`, `b` and `c`; those of `capable` declare every capability. The first is the default. */
export function networks(capable: readonly string[] = ["a", "c"]): Catalog {
  const capabilities = Object.fromEntries(CAPABILITIES.map((name) => [name, true]));
  const lists = new Map(["a", "b", "c"].map((name): [string, NetworkConfigList] => {
    const plugin = { type: "bridge", ...(capable.includes(name) ? { capabilities } : {}) };
    return [name, parseConfigList(JSON.stringify({ cniVersion: "1.1.0", name, plugins: [plugin] }))];
  }));
  const forPod = (name: string) => {
    const list = lists.get(name);
    if (list === undefined) throw new CniError("not-found", `no network ${name}`);
    return list;
  };
  // A catalog without a directory: the plan only takes network lists from it.
  return { forPod, default: () => forPod("a") } as unknown as Catalog;
}

export const POD: PodRequest = {
  containerId: "c1",
  name: "web-0",
  namespace: "prod",
  uid: "u1",
  netns: "/run/netns/c1",
};

export function plan(
  overrides: Partial<PodRequest> = {},
  catalog: Catalog = networks(),
): readonly PlannedAttachment[] {
  const request = { ...POD, ...overrides };
  return planAttachments(request, request, catalog);
}

/** The error for a request that cannot be planned. */
export function refusal(overrides: Partial<PodRequest>, catalog?: Catalog): CniError {
  return assertThrows(() => plan(overrides, catalog), CniError);
}
