import { CniError } from "../cni/error.ts";
import type { Result } from "../cni/result.ts";
import { SPEC_VERSIONS } from "../cni/version.ts";
import type { Sysctl } from "../host/ip_batch.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { KernelError } from "../kernel/kernel.ts";
import { findLink, removeLink } from "../kernel/links.ts";
import type { Plugin, PluginRequest } from "../plugin/serve.ts";
import { advertisedRouteSysctls } from "./advertised_routes.ts";
import { all } from "./all.ts";
import { attachmentComment } from "./attachment_tag.ts";
import { checkIpam } from "./check_ipam.ts";
import { enableIpv6Sysctls, forwardingSysctls } from "./container_plan.ts";
import { readPairTeardown } from "./pair_config.ts";
import {
  collectPairs,
  detachPair,
  hostOf,
  layer3Result,
  masqueradeUndone,
  pairStatus,
  requireUsable,
  reserveAddresses,
  tagged,
} from "./pair_attachment.ts";
import { ownAddresses } from "./host_check.ts";
import { repairHost } from "./host_repair.ts";
import { expected } from "./link_check.ts";
import { checkPtp } from "./ptp_check.ts";
import { type PtpConfig, readPtpConfig } from "./ptp_config.ts";
import { insideOperations, outsideOperations, planPtp, type PtpPlan } from "./ptp_plan.ts";
import { randomMac, randomVethName } from "./random_names.ts";
import { removePair } from "./remove_pair.ts";
import type { RepairRules } from "./rule_repair.ts";
import { Undo } from "./undo.ts";

/**
 * Connects containers to the host by a veth pair and routes, without a bridge, as the ptp plugin of the CNI plugins project
 * does: each of the two can check and detach what the other has attached.
 */
export const ptp: Plugin = {
  about: "CNI plugin ptp (podwire)",
  versions: SPEC_VERSIONS,
  verbs: { ADD: add, CHECK: check, DEL: del, STATUS: status, GC: gc },
};

const ATTEMPTS = 4;
/** As both plugins name the end on the host. */
const HOST_NAME = /^veth[0-9a-f]{8}$/;

/** Gets the addresses first: without them there is nothing to make. If the call fails, it undoes everything. */
async function add(request: PluginRequest): Promise<Result> {
  const config = readPtpConfig(request.config);
  await requireUsable(request);
  const undo = new Undo(request.log);
  try {
    const ipam = await reserveAddresses(request, config, undo);
    const plan = planPtp(ipam);
    const [interfaces] = await all([
      connect(request, config, plan, undo),
      masqueradeUndone(request, config, plan.addresses, undo),
    ]);
    return layer3Result(interfaces, plan, config.dns ?? ipam.dns);
  } catch (error) {
    await undo.run();
    throw error;
  }
}

/** Makes the pair, and gives both ends their addresses and routes. */
async function connect(
  request: PluginRequest,
  config: PtpConfig,
  plan: PtpPlan,
  undo: Undo,
): Promise<NonNullable<Result["interfaces"]>> {
  const { netns, ifName, run, signal } = request;
  const kernel = kernelFor(run);
  const [hostMac, mac] = [randomMac(), randomMac()];
  const hostName = await makePair(request, { hostMac, mac, mtu: config.mtu || undefined });
  undo.push("the interface", (signal) => removeLink(kernel, hostName, { signal }));
  const alias = await attachmentComment(tagged(request));
  await kernel.apply([{ kind: "set-link", name: hostName, alias }, ...outsideOperations(hostName, plan)], {
    signal,
  });
  const kept = await advertisedRouteSysctls(hostOf(request), plan.addresses);
  const ownRoutes: Sysctl = { name: `net/ipv6/conf/${hostName}/accept_ra`, value: "0" };
  await kernel.apply(insideOperations(ifName, plan), {
    netns,
    signal,
    sysctls: enableIpv6Sysctls(ifName, plan.addresses),
    sysctlsOutside: [...kept, ownRoutes, ...forwardingSysctls(plan.addresses)],
  });
  return [{ name: hostName, mac: hostMac }, { name: ifName, mac, sandbox: netns }];
}

/** Returns the name of the end on the host. */
async function makePair(
  { netns, ifName, run, signal }: PluginRequest,
  { hostMac, mac, mtu }: { readonly hostMac: string; readonly mac: string; readonly mtu: number | undefined },
): Promise<string> {
  const kernel = kernelFor(run);
  for (let attempt = 1;; attempt++) {
    const name = randomVethName();
    try {
      const peer = { name: ifName, mac, netns };
      await kernel.apply([{ kind: "create-veth", name, mac: hostMac, mtu, peer }], { signal });
      return name;
    } catch (error) {
      const isTaken = error instanceof KernelError && error.problem === "exists";
      if (!isTaken || attempt === ATTEMPTS) throw error;
      if (await findLink(kernel, ifName, { netns, signal }) !== undefined) {
        throw new CniError(
          "conflict",
          `Cannot create interface "${ifName}" in "${netns}": it already exists`,
        );
      }
    }
  }
}

/** See {@linkcode detachPair}. */
async function del(request: PluginRequest): Promise<void> {
  const isOurs = ({ name, master }: LinkInfo) => master === "" && HOST_NAME.test(name);
  await detachPair(
    request,
    readPairTeardown(request.config),
    () => removePair(hostOf(request), request, isOurs),
  );
}

async function check(request: PluginRequest): Promise<void> {
  const config = readPtpConfig(request.config);
  await checkIpam(request, config.ipamType);
  await checkPtp(hostOf(request), config, request);
}

async function status(request: PluginRequest): Promise<void> {
  await pairStatus(request, readPtpConfig(request.config));
}

async function gc(request: PluginRequest): Promise<void> {
  await collectPairs(request, readPairTeardown(request.config));
}

/** Puts back the rules of an attachment, see {@linkcode RepairRules}. */
export const repairPtp: RepairRules = async (request, host, options) => {
  const config = readPtpConfig(request.config);
  const attachment = await expected(request);
  const forwarded = ownAddresses(attachment);
  return await repairHost(request, host, attachment, config, { ...options, forwarded });
};
