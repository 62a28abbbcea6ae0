import type { Result } from "../cni/result.ts";
import { SPEC_VERSIONS } from "../cni/version.ts";
import type { LinkInfo } from "../host/link_info.ts";
import type { Plugin, PluginRequest } from "../plugin/serve.ts";
import { checkAttachedLink } from "./attached_link_check.ts";
import { afterResult, givenAddresses, readIpvlanConfig } from "./ipvlan_config.ts";
import { announcingSysctls, attachLink, collectLinks, detachLink } from "./link_attachment.ts";
import { readLinkTeardown } from "./link_config.ts";
import { checkLinkStatus } from "./link_status.ts";
import { requireMaster } from "./master_link.ts";
import { requireUsable } from "./pair_attachment.ts";

/**
 * Gives containers interfaces with the MAC address of an interface of the host, as the ipvlan plugin of the CNI plugins
 * project does: each of the two can check and detach what the other has attached. Without an IPAM plugin, the interface gets
 * the addresses of the plugin before it in the list.
 */
export const ipvlan: Plugin = {
  about: "CNI plugin ipvlan (podwire)",
  versions: SPEC_VERSIONS,
  verbs: { ADD: add, CHECK: check, DEL: del, STATUS: status, GC: gc },
};

async function add(request: PluginRequest): Promise<Result> {
  const { ifName, prevResult } = request;
  const config = afterResult(readIpvlanConfig(request.config), prevResult);
  const given = givenAddresses(config, prevResult);
  await requireUsable(request, [config.master]);
  const { name: master } = await requireMaster(request, config);
  const { mode, dns } = config;
  return await attachLink(request, {
    ...config,
    name: ifName,
    link: { type: "ipvlan", master, mode },
    mac: undefined,
    given,
    sysctls: announcingSysctls(ifName),
    dnsOf: () => dns,
  });
}

async function del(request: PluginRequest): Promise<void> {
  await detachLink(request, readLinkTeardown(request.config), isOurs);
}

async function check(request: PluginRequest): Promise<void> {
  const config = readIpvlanConfig(request.config);
  if (config.ipamType !== "") await request.delegate(config.ipamType, request.config, "CHECK");
  const { mode, mtu } = config;
  await checkAttachedLink(request, { kind: "ipvlan", mode, mtu, on: config });
}

async function status(request: PluginRequest): Promise<void> {
  const config = readIpvlanConfig(request.config);
  // In a chain, the plugin before it names the master.
  const isChained = config.master === "" && config.ipamType === "";
  if (!isChained) await checkLinkStatus(request, config);
}

async function gc(request: PluginRequest): Promise<void> {
  await collectLinks(request, readLinkTeardown(request.config), "ipvlan");
}

function isOurs({ kind }: LinkInfo): boolean {
  return kind === "ipvlan";
}
