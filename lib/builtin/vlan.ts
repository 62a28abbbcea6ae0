import type { Result } from "../cni/result.ts";
import { SPEC_VERSIONS } from "../cni/version.ts";
import type { LinkInfo } from "../host/link_info.ts";
import type { Plugin, PluginRequest } from "../plugin/serve.ts";
import { checkAttachedLink } from "./attached_link_check.ts";
import { attachLink, collectLinks, detachLink } from "./link_attachment.ts";
import { readLinkTeardown } from "./link_config.ts";
import { checkLinkStatus } from "./link_status.ts";
import { requireMaster } from "./master_link.ts";
import { requireUsable } from "./pair_attachment.ts";
import { readVlanConfig, vlanIdIn } from "./vlan_config.ts";
import { takenVlan } from "./vlan_holder.ts";

/**
 * Gives containers a VLAN of an interface, as the vlan plugin of the CNI plugins project does: each of the two can check and
 * detach what the other has attached. The master may be the interface that an earlier plugin of the list has made in the
 * container.
 */
export const vlan: Plugin = {
  about: "CNI plugin vlan (podwire)",
  versions: SPEC_VERSIONS,
  verbs: { ADD: add, CHECK: check, DEL: del, STATUS: status, GC: gc },
};

async function add(request: PluginRequest): Promise<Result> {
  const config = readVlanConfig(request.config, request.ifName);
  await requireUsable(request, [config.master]);
  const master = await requireMaster(request, config);
  const { vlanId: id, dns, isOnOwn } = config;
  const before = isOnOwn ? request.prevResult : undefined;
  return await attachLink(request, {
    ...config,
    link: { type: "vlan", master: master.name, id },
    mac: undefined,
    before,
    sysctls: [],
    dnsOf: () => dns ?? before?.dns,
    refusal: () => takenVlan(request, config, master),
  });
}

async function del(request: PluginRequest): Promise<void> {
  const id = vlanIdIn(request.config);
  const isOurs = ({ kind, vlanId }: LinkInfo) => kind === "vlan" && (id === undefined || vlanId === id);
  const { config, ifName } = request;
  const isOnOwn = (config.master ?? "") === "" && config.linkInContainer === true;
  await detachLink(request, readLinkTeardown(config), isOurs, isOnOwn ? `${ifName}.${id}` : ifName);
}

async function check(request: PluginRequest): Promise<void> {
  const config = readVlanConfig(request.config, request.ifName);
  await request.delegate(config.ipamType, request.config, "CHECK");
  const { vlanId, mtu, name } = config;
  await checkAttachedLink(request, { kind: "vlan", vlanId, mtu, on: config }, name);
}

async function status(request: PluginRequest): Promise<void> {
  await checkLinkStatus(request, readVlanConfig(request.config, request.ifName));
}

async function gc(request: PluginRequest): Promise<void> {
  await collectLinks(request, readLinkTeardown(request.config), "vlan");
}
