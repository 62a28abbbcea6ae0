import { turnIfDue } from "../async/breathe.ts";
import { inParallel } from "../async/parallel.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { LinkTraffic } from "../host/link_info.ts";
import { kernelFor, speaksNetlink } from "../kernel/choose_kernel.ts";
import type { SandboxContext } from "./context.ts";
import type { Sandbox } from "./view.ts";

/** What one interface of a sandbox has carried since it exists. */
export interface InterfaceTraffic extends LinkTraffic {
  /** The name of the interface inside the sandbox. */
  readonly ifName: string;
  /** The network that made it; null for another one. */
  readonly network: string | null;
}

/** What the interfaces of a sandbox have carried; null if that cannot be found out. */
export type SandboxTraffic = readonly InterfaceTraffic[] | null;

/** So many programs at a time, where podwire does not speak to the kernel itself. */
const PROGRAMS_AT_ONCE = 4;

/**
 * Returns what the interfaces of sandboxes have carried, in the order of the sandboxes, without `lo`. It is null for a sandbox of
 * which that cannot be found out: one that is not ready, in the namespace of the host, or gone by now.
 */
export async function trafficOf(
  sandboxes: readonly Sandbox[],
  context: Pick<SandboxContext, "run">,
  signal?: AbortSignal,
): Promise<readonly SandboxTraffic[]> {
  const atOnce = speaksNetlink(context.run) ? 1 : PROGRAMS_AT_ONCE;
  return await inParallel(sandboxes, atOnce, async (sandbox) => {
    const turn = turnIfDue();
    if (turn !== undefined) await turn;
    return await trafficIn(sandbox, context, signal);
  }, signal);
}

async function trafficIn(
  { state, hostNetwork, netns, networks }: Sandbox,
  { run }: Pick<SandboxContext, "run">,
  signal: AbortSignal | undefined,
): Promise<SandboxTraffic> {
  if (state !== "ready" || hostNetwork) return null;
  try {
    const question = { kind: "show-links", traffic: true } as const;
    const [links] = await kernelFor(run).apply([question], { netns, signal });
    return links.flatMap(({ name, type, traffic }) => {
      if (type === "loopback" || traffic === undefined) return [];
      const network = networks.find(({ ifName }) => ifName === name)?.name ?? null;
      return [{ ifName: name, network, ...traffic }];
    });
  } catch (error) {
    signal?.throwIfAborted();
    // The namespace has gone since, or this user may not enter it. A fault of podwire must not look so.
    if (asCniError(error).kind === "internal") throw error;
    return null;
  }
}
