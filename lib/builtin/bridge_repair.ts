import { kernelFor } from "../kernel/choose_kernel.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import { attachmentTag } from "./attachment_tag.ts";
import { bridgeAddresses, portProblem } from "./bridge_check.ts";
import { type BridgeConfig, readBridgeConfig } from "./bridge_config.ts";
import { repairHost } from "./host_repair.ts";
import { type Expected, expected } from "./link_check.ts";
import { addSpoofCheck, findSpoofProblem } from "./mac_spoof_check.ts";
import { hostOf, tagged } from "./pair_attachment.ts";
import type { BatchHost, RepairRules } from "./rule_repair.ts";

/** Puts back the rules of an attachment, see {@linkcode RepairRules}. */
export const repairBridge: RepairRules = async (request, host, options) => {
  const config = readBridgeConfig(request.config, request.args);
  const attachment = await expected(request);
  const { ipMasq, ipMasqBackend, ipamType } = config;
  const forwarded = bridgeAddresses(attachment, config);
  const missing = await repairHost(request, host, attachment, {
    ipMasq: ipamType === "" ? [] : ipMasq,
    ipMasqBackend,
  }, { ...options, forwarded });
  return [
    ...missing,
    ...await repairPort(request, host, attachment, config),
    ...config.macspoofchk ? await repairSpoofCheck(request, host, attachment, config) : [],
  ];
};

/** Only where the alias says that the port is that of the attachment: the name could be one of another link by now. */
async function repairPort(
  request: PluginRequest,
  { batch }: BatchHost,
  { result: { interfaces = [] } }: Expected,
  config: BridgeConfig,
): Promise<readonly string[]> {
  const host = hostOf(request);
  const kernel = kernelFor(host.run);
  const links = await batch.once("links", async () => {
    // Of one kind alone `ip` does not show what a port may do.
    const [listed] = await kernel.apply([{ kind: "show-links" }], { signal: host.signal });
    return new Map(listed.map((link) => [link.name, link]));
  });
  const tag = await attachmentTag(tagged(request));
  const port = interfaces.flatMap(({ name, sandbox }) => sandbox ? [] : links.get(name) ?? [])
    .find(({ alias, master }) => alias.startsWith(tag) && master === config.bridge);
  const problem = port && portProblem(config, port);
  if (port === undefined || problem === undefined) return [];
  const { hairpinMode: hairpin, portIsolation: isolated } = config;
  batch.after(async () => {
    await kernel.apply([{ kind: "set-port", name: port.name, hairpin, isolated }], host);
  });
  return [problem];
}

async function repairSpoofCheck(
  { containerId, ifName }: PluginRequest,
  host: BatchHost,
  { result: { interfaces = [] }, container: { mac } }: Expected,
  { bridge }: BridgeConfig,
): Promise<readonly string[]> {
  // The ADD of this plugin comes before those that add other interfaces.
  const hostName = interfaces.find(({ name, sandbox }) => !sandbox && name !== bridge)?.name;
  if (hostName === undefined || !mac) return [];
  const port = { containerId, ifName, hostName, mac };
  const problem = await findSpoofProblem(host, port);
  if (problem === undefined) return [];
  await addSpoofCheck(host, port);
  return [problem];
}
