import { formatCidr, parseCidr } from "../cni/address.ts";
import { CniError } from "../cni/error.ts";
import { findForeignAddress } from "../cni/loopback_address.ts";
import type { Result } from "../cni/result.ts";
import { CURRENT_VERSION, SPEC_VERSIONS } from "../cni/version.ts";
import { nsProblem } from "../host/netns.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import type { Plugin, PluginRequest } from "../plugin/serve.ts";
import { requireNetns } from "./require_netns.ts";

/** Brings up `lo` in the namespace of the container. The interface is always `lo`, whatever name the request has. */
export const loopback: Plugin = {
  about: "CNI plugin loopback (podwire)",
  versions: SPEC_VERSIONS,
  verbs: { ADD: add, CHECK: check, DEL: del, STATUS: ready, GC: ready },
};

/** Passes on the result of earlier plugins in the chain as it is. */
async function add(request: PluginRequest): Promise<Result> {
  const { prevResult, netns, run, signal } = request;
  await requireNetns(netns);
  const operations = [
    { kind: "set-link", name: "lo", up: true },
    { kind: "show-link", name: "lo" },
  ] as const;
  const [, lo] = await kernelFor(run).apply(operations, { signal, netns });
  const addresses = lo.addresses.map(({ address }) => address);
  const foreign = findForeignAddress(addresses);
  if (foreign !== undefined) {
    throw new Error(`loopback interface found with non-loopback address "${foreign}"`);
  }
  if (prevResult !== undefined) return prevResult;
  // One address of each family: a result of version 0.2.0 has no place for more.
  const parsed = addresses.flatMap((address) => parseCidr(address) ?? []);
  const first = ([4, 6] as const).flatMap((family) => parsed.find(({ ip }) => ip.family === family) ?? []);
  return {
    cniVersion: CURRENT_VERSION,
    interfaces: [{ name: "lo", mac: "00:00:00:00:00:00", sandbox: netns }],
    ips: first.map((address) => ({ interface: 0, address: formatCidr(address) })),
  };
}

async function check({ netns, run, signal }: PluginRequest): Promise<void> {
  await requireNetns(netns);
  const [lo] = await kernelFor(run).apply([{ kind: "show-link", name: "lo" }], { signal, netns });
  if (!lo.isUp) throw new CniError("not-found", "loopback interface is down");
}

/** Does nothing if the namespace is gone: `lo` is gone with it. */
async function del({ netns, run, signal }: PluginRequest): Promise<void> {
  if (netns === "" || await nsProblem(netns) !== undefined) return;
  await kernelFor(run).apply([{ kind: "set-link", name: "lo", up: false }], { signal, netns });
}

/** Always ready: it needs only the kernel, and stores nothing. */
function ready(): Promise<void> {
  return Promise.resolve();
}
