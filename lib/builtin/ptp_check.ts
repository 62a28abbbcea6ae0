import { formatCidr } from "../cni/address.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink } from "../kernel/links.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import { cidrsOf } from "./bridge_port.ts";
import type { Host } from "./host.ts";
import { checkHost, checkMtu, ownIps } from "./host_check.ts";
import { checkAddresses, checkLink, checkRoutes, expected, showNetns, wrong } from "./link_check.ts";
import type { PtpConfig } from "./ptp_config.ts";
import { alone, ownRoutes, planPtp } from "./ptp_plan.ts";

/**
 * Checks that both ends of the pair of an earlier ADD are there, with the addresses and routes of its result, and those that
 * lead to the container, and that the host forwards and masquerades its packets.
 *
 * @throws {CniError} Naming the first difference.
 */
export async function checkPtp(host: Host, config: PtpConfig, request: PluginRequest): Promise<void> {
  const attachment = await expected(request);
  const { result, container } = attachment;
  const { netns, ifName } = request;
  const { link: inside, routes } = await showNetns(host, netns, ifName);
  checkLink(container, inside, "veth");
  checkAddresses(result, inside, ifName);
  const plan = planPtp({ ...result, ips: ownIps(attachment) });
  checkRoutes([...plan.routes, ...ownRoutes(plan)], routes);
  const kernel = kernelFor(host.run);
  const ends = (result.interfaces ?? []).filter(({ sandbox }) => !sandbox);
  const links = await Promise.all(ends.map(({ name }) => findLink(kernel, name, host)));
  const at = links.findIndex((link) =>
    link?.kind === "veth" && link.index === inside.peerIndex && link.peerIndex === inside.index
  );
  const [end, outside] = [ends[at], links[at]];
  if (end === undefined || outside === undefined) {
    throw wrong(`no veth of prevResult connects "${ifName}" with the host`);
  }
  checkLink(end, outside, "veth");
  checkMtu(outside, config.mtu);
  const present = new Set(cidrsOf(outside).map(formatCidr));
  for (const { gateway } of plan.pairs) {
    const text = formatCidr(alone(gateway));
    if (!present.has(text)) throw wrong(`interface "${end.name}" does not have the address ${text}`);
  }
  const [v4, v6] = await kernel.apply(
    [{ kind: "show-routes", family: 4 }, { kind: "show-routes", family: 6 }],
    { signal: host.signal },
  );
  const through = [...v4, ...v6].filter(({ hops }) => hops.some(({ device }) => device === end.name));
  checkRoutes(plan.addresses.map(({ ip }) => ({ dst: formatCidr(alone(ip)) })), through);
  await checkHost(request, attachment, config, plan.addresses);
}
