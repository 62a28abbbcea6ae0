import type { Result } from "../cni/result.ts";
import { SPEC_VERSIONS } from "../cni/version.ts";
import type { LinkInfo } from "../host/link_info.ts";
import type { Plugin, PluginRequest } from "../plugin/serve.ts";
import { checkAttachedLink } from "./attached_link_check.ts";
import { attachLink, collectLinks, detachLink } from "./link_attachment.ts";
import { readDummyConfig } from "./dummy_config.ts";
import { readLinkTeardown } from "./link_config.ts";
import { requireUsable } from "./pair_attachment.ts";

/**
 * Gives containers an interface that leads nowhere, to have addresses on, as the dummy plugin of the CNI plugins project does:
 * each of the two can check and detach what the other has attached.
 */
export const dummy: Plugin = {
  about: "CNI plugin dummy (podwire)",
  versions: SPEC_VERSIONS,
  verbs: { ADD: add, CHECK: check, DEL: del, STATUS: status, GC: gc },
};

async function add(request: PluginRequest): Promise<Result> {
  const config = readDummyConfig(request.config);
  await requireUsable(request);
  return await attachLink(request, {
    ...config,
    name: request.ifName,
    link: { type: "dummy" },
    isInside: true,
    mac: undefined,
    mtu: undefined,
    sysctls: [],
    dnsOf: (ipam) => ipam?.dns,
  });
}

async function del(request: PluginRequest): Promise<void> {
  await detachLink(request, readLinkTeardown(request.config), isOurs);
}

async function check(request: PluginRequest): Promise<void> {
  await request.delegate(readDummyConfig(request.config).ipamType, request.config, "CHECK");
  await checkAttachedLink(request, { kind: "dummy" });
}

async function status(request: PluginRequest): Promise<void> {
  await request.delegate(readDummyConfig(request.config).ipamType, request.config, "STATUS");
}

async function gc(request: PluginRequest): Promise<void> {
  await collectLinks(request, readLinkTeardown(request.config), "dummy");
}

function isOurs({ kind }: LinkInfo): boolean {
  return kind === "dummy";
}
