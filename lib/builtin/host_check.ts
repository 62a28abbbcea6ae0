import { type Cidr, parseCidr } from "../cni/address.ts";
import type { IpConfig } from "../cni/result.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import { forwardingSysctls } from "./container_plan.ts";
import type { Host } from "./host.ts";
import { type Expected, wrong } from "./link_check.ts";
import { findMasqueradeProblem } from "./masquerade_check.ts";
import { hostOf, tagged } from "./pair_attachment.ts";
import type { PairTeardown } from "./pair_config.ts";

/**
 * Checks what the host does with the packets of a container: that it forwards those of `forwarded`, and masquerades the
 * container's.
 *
 * @throws {CniError} Naming the first difference.
 */
export async function checkHost(
  request: PluginRequest,
  attachment: Expected,
  { ipMasq, ipMasqBackend: backend }: Pick<PairTeardown, "ipMasq" | "ipMasqBackend">,
  forwarded: readonly Cidr[],
): Promise<void> {
  const closed = await findForwardingOff(hostOf(request), forwarded);
  if (closed !== undefined) throw wrong(closed);
  const addresses = ownAddresses(attachment).filter(({ ip }) => ipMasq.includes(ip.family));
  const problem = await findMasqueradeProblem(hostOf(request), tagged(request), addresses, { backend });
  if (problem !== undefined) throw wrong(problem);
}

/** Returns what keeps the host from forwarding packets of the families of these addresses; undefined if nothing does. */
export async function findForwardingOff(
  { run, signal }: Host,
  addresses: readonly Cidr[],
): Promise<string | undefined> {
  const wanted = forwardingSysctls(addresses);
  const values = await kernelFor(run).readSysctls(wanted.map(({ name }) => name), { signal });
  const wrong = wanted.find(({ name, value }) => values.get(name) !== value);
  if (wrong === undefined) return undefined;
  const { name, value } = wrong;
  return `the kernel parameter "${name}" is ${
    values.get(name) ?? "not there"
  }, not ${value}: nothing is forwarded`;
}

/**
 * Checks that the end of a pair on the host has the MTU that the configuration asks for; 0 asks for none. The plugin tuning may
 * have given the end in the container another one.
 */
export function checkMtu({ name, mtu }: Pick<LinkInfo, "name" | "mtu">, wanted: number): void {
  if (wanted !== 0 && mtu !== wanted) throw wrong(`interface "${name}" has the MTU ${mtu}, not ${wanted}`);
}

/** Returns what a result says of the addresses of the container's interface; others are those of other plugins of the chain. */
export function ownIps({ result, container }: Expected): readonly IpConfig[] {
  const { ips = [], interfaces = [] } = result;
  return ips.filter(({ interface: at }) => at === undefined || interfaces[at] === container);
}

/** Returns the addresses of {@linkcode ownIps}. */
export function ownAddresses(attachment: Expected): readonly Cidr[] {
  return ownIps(attachment).flatMap(({ address }) => parseCidr(address) ?? []);
}
