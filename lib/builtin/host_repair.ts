import type { Cidr } from "../cni/address.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import { advertisedRouteSysctls } from "./advertised_routes.ts";
import { forwardingSysctls } from "./container_plan.ts";
import type { Host } from "./host.ts";
import { findForwardingOff, ownAddresses } from "./host_check.ts";
import type { Expected } from "./link_check.ts";
import { addMasquerade } from "./masquerade.ts";
import { findMasqueradeProblem } from "./masquerade_check.ts";
import { hostOf, tagged } from "./pair_attachment.ts";
import type { PairTeardown } from "./pair_config.ts";
import type { BatchHost, RuleRepairOptions } from "./rule_repair.ts";

/** Puts back what the host does with the packets of a container, see {@linkcode RepairRules}. */
export async function repairHost(
  request: PluginRequest,
  host: BatchHost,
  attachment: Expected,
  { ipMasq, ipMasqBackend: backend }: Pick<PairTeardown, "ipMasq" | "ipMasqBackend">,
  { forwarded, forwarding = false }: RuleRepairOptions & { readonly forwarded: readonly Cidr[] },
): Promise<readonly string[]> {
  // It is the same for all containers with addresses of the same families.
  const { batch } = host;
  const families = [...new Set(forwarded.map(({ ip }) => ip.family))].sort().join();
  const closed = forwarding
    ? await batch.once(`forwarding ${families}`, () => findForwardingOff(hostOf(request), forwarded))
    : undefined;
  if (closed !== undefined) {
    batch.after(() => batch.once(`forward ${families}`, () => forward(hostOf(request), forwarded)));
  }
  const addresses = ownAddresses(attachment).filter(({ ip }) => ipMasq.includes(ip.family));
  const problem = await findMasqueradeProblem(host, tagged(request), addresses, { backend });
  if (problem !== undefined) await addMasquerade(host, tagged(request), addresses, { backend });
  return [closed, problem].filter((one) => one !== undefined);
}

/** Makes the host forward again, as an ADD does. */
async function forward(host: Host, addresses: readonly Cidr[]): Promise<void> {
  const { run, signal } = host;
  const kept = await advertisedRouteSysctls(host, addresses);
  const wanted = [...kept, ...forwardingSysctls(addresses)];
  const kernel = kernelFor(run);
  const values = await kernel.readSysctls(wanted.map(({ name }) => name), { signal });
  const different = wanted.filter(({ name, value }) => values.get(name) !== value);
  await kernel.writeSysctls(new Map(different.map(({ name, value }) => [name, value])), { signal });
}
