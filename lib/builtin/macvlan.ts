import type { Result } from "../cni/result.ts";
import { SPEC_VERSIONS } from "../cni/version.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { refuseUnknownArgs } from "../plugin/invocation.ts";
import type { Plugin, PluginRequest } from "../plugin/serve.ts";
import { checkAttachedLink } from "./attached_link_check.ts";
import { checkIpam } from "./check_ipam.ts";
import { announcingSysctls, attachLink, collectLinks, detachLink } from "./link_attachment.ts";
import { readLinkTeardown } from "./link_config.ts";
import { type MacvlanConfig, readMacvlanConfig } from "./macvlan_config.ts";
import { requireMaster } from "./master_link.ts";
import { checkLinkStatus } from "./link_status.ts";
import { requireUsable } from "./pair_attachment.ts";

/**
 * Gives containers interfaces with MAC addresses of their own on an interface of the host, as the macvlan plugin of the CNI
 * plugins project does: each of the two can check and detach what the other has attached.
 */
export const macvlan: Plugin = {
  about: "CNI plugin macvlan (podwire)",
  versions: SPEC_VERSIONS,
  verbs: { ADD: add, CHECK: check, DEL: del, STATUS: status, GC: gc },
};

async function add(request: PluginRequest): Promise<Result> {
  const config = read(request);
  const { ifName } = request;
  await requireUsable(request, [config.master]);
  const { name: master } = await requireMaster(request, config);
  const { mode, broadcastQueue, dns } = config;
  return await attachLink(request, {
    ...config,
    name: ifName,
    link: { type: "macvlan", master, mode, broadcastQueue },
    // Without addresses there is nothing to announce.
    sysctls: announcingSysctls(ifName),
    dnsOf: () => dns,
  });
}

async function del(request: PluginRequest): Promise<void> {
  await detachLink(request, readLinkTeardown(request.config), isOurs);
}

async function check(request: PluginRequest): Promise<void> {
  const config = read(request);
  await checkIpam(request, config.ipamType);
  const { mode, mtu } = config;
  await checkAttachedLink(request, { kind: "macvlan", mode, mtu, on: config });
}

async function status(request: PluginRequest): Promise<void> {
  await checkLinkStatus(request, read(request));
}

async function gc(request: PluginRequest): Promise<void> {
  await collectLinks(request, readLinkTeardown(request.config), "macvlan");
}

function read({ config, args }: PluginRequest): MacvlanConfig {
  refuseUnknownArgs(args, ["MAC"]);
  return readMacvlanConfig(config, args);
}

function isOurs({ kind }: LinkInfo): boolean {
  return kind === "macvlan";
}
