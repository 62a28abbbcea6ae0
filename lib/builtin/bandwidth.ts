import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { Interface, Result } from "../cni/result.ts";
import { atLeast, SPEC_VERSIONS } from "../cni/version.ts";
import { nsProblem } from "../host/netns.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { ShapingError } from "../kernel/kernel.ts";
import { findLink, ifbsOfHost, removeLink } from "../kernel/links.ts";
import type { Incoming, RateLimit, ShapingChange } from "../kernel/shaping.ts";
import type { Plugin, PluginRequest } from "../plugin/serve.ts";
import { staleTags } from "./attachment_tag.ts";
import { type Bandwidth, type BandwidthConfig, readBandwidthConfig } from "./bandwidth_config.ts";
import { addIfb, ifbNames, removeOwnIfbs } from "./bandwidth_ifb.ts";
import { isAbsurd, isSameLimit, rateLimit, uncutLimit } from "./bandwidth_limit.ts";
import { wrong } from "./link_check.ts";
import { hostOf, requireUsable, tagged } from "./pair_attachment.ts";
import { requirePrevResult } from "./prev_result.ts";
import { Undo } from "./undo.ts";
import { validTagged } from "./valid_attachments.ts";

/**
 * Limits what a container receives and sends, as the bandwidth plugin of the CNI plugins project does: each of the two can
 * check and remove what the other has made.
 *
 * What it receives waits in a queue of the interface on the host. What it sends is redirected through an interface of the kind
 * ifb, because the kernel has no queue for what an interface receives. The uplink of the machine gets no relief: what
 * comes for a container has passed it.
 */
export const bandwidth: Plugin = {
  about: "CNI plugin bandwidth (podwire)",
  versions: SPEC_VERSIONS.filter((version) => atLeast(version, "0.3.0")),
  verbs: { ADD: add, CHECK: check, DEL: del, STATUS: status, GC: gc },
};

/** In bytes, of a frame of Ethernet. */
const FRAME_HEADER = 14;

async function add(request: PluginRequest): Promise<Result> {
  const config = readBandwidthConfig(request.config);
  const result = requirePrevResult(request);
  if (config.ingress === undefined && config.egress === undefined) return result;
  await requireUsable(request);
  const end = await requireHostEnd(request, result);
  warn(request, config, end);
  const undo = new Undo(request.log);
  try {
    const ifb = await limit(request, config, end, undo);
    if (ifb === undefined) return result;
    return { ...result, interfaces: [...result.interfaces ?? [], { name: ifb.name, mac: ifb.mac }] };
  } catch (error) {
    await undo.run();
    throw error;
  }
}

/** The ifb comes first: a kernel may have none. */
async function limit(
  request: PluginRequest,
  { ingress, egress, latency }: BandwidthConfig,
  { name: device, mtu }: LinkInfo,
  undo: Undo,
): Promise<LinkInfo | undefined> {
  const { run, signal } = request;
  const kernel = kernelFor(run);
  const changes: ShapingChange[] = [];
  let ifb: LinkInfo | undefined;
  if (egress !== undefined) {
    undo.push("the ifb", (signal) => removeOwnIfbs({ run, signal }, tagged(request), []));
    ifb = await addIfb(hostOf(request), tagged(request), mtu);
    changes.push(
      { kind: "limit-rate", device: ifb.name, limit: rateLimit(egress, latency, mtu) },
      { kind: "redirect", device, to: ifb.name },
    );
  }
  if (ingress !== undefined) {
    changes.push({ kind: "limit-rate", device, limit: rateLimit(ingress, latency, mtu) });
  }
  undo.push("the limits", async (signal) => {
    await stopsOwn({ ...request, signal }, device);
    await kernel.shape([{ kind: "stop-limit", device }], { signal });
  });
  try {
    await kernel.shape(changes, { signal });
  } catch (error) {
    if (!(error instanceof ShapingError) || error.problem !== "exists") throw error;
    if (!await stopsOwn(request, device)) throw error;
    await kernel.shape(changes, { signal });
  }
  return ifb;
}

/** Ends what an ADD has left of a redirection, and returns whether there was such a one. */
async function stopsOwn(request: PluginRequest, device: string): Promise<boolean> {
  const { signal } = request;
  const kernel = kernelFor(request.run);
  const { incoming } = await kernel.shapingOf(device, { signal });
  if (!isOwn(incoming, await ifbNames(tagged(request)))) return false;
  await kernel.shape([{ kind: "stop-redirect", device }], { signal });
  return true;
}

/** Filters of others do not redirect to an ifb with one of these names. */
function isOwn(incoming: Incoming, names: readonly string[]): boolean {
  return typeof incoming === "string"
    ? incoming === "no filters" || incoming === "redirected to nothing"
    : names.includes(incoming.redirectsTo);
}

/** Says what a limit cannot do. */
function warn(request: PluginRequest, { ingress, egress }: BandwidthConfig, { mtu }: LinkInfo): void {
  for (const [name, given] of Object.entries({ ingressBurst: ingress, egressBurst: egress })) {
    if (given === undefined) continue;
    const bytes = Math.floor(given.burst / 8);
    if (isAbsurd(given)) {
      request.log(`bandwidth: ${name} of ${given.burst} bits is cut to one second of the rate`);
    } else if (bytes < mtu + FRAME_HEADER) {
      request.log(
        `bandwidth: ${name} of ${bytes} bytes is smaller than a frame of ${
          mtu + FRAME_HEADER
        }, which is dropped`,
      );
    }
  }
}

async function check(request: PluginRequest): Promise<void> {
  const config = readBandwidthConfig(request.config);
  const result = requirePrevResult(request);
  const { ingress, egress, latency } = config;
  if (ingress === undefined && egress === undefined) return;
  await requireUsable(request);
  const { signal } = request;
  const kernel = kernelFor(request.run);
  const { name: device, mtu } = await requireHostEnd(request, result);
  const shown = await kernel.shapingOf(device, { signal });
  if (ingress !== undefined) checkLimit(device, shown.limit, ingress, latency, mtu);
  if (egress === undefined) return;
  const names = await ifbNames(tagged(request));
  const ifb = result.interfaces?.find(({ name }) => names.includes(name))?.name ?? names[0] ?? "";
  const link = await findLink(kernel, ifb, { signal });
  if (link?.kind !== "ifb") throw wrong(`the interface "${ifb}" is not there any more`);
  if (!link.isUp) throw wrong(`the interface "${ifb}" is down`);
  if (typeof shown.incoming === "string" || shown.incoming.redirectsTo !== ifb) {
    throw wrong(`what "${device}" receives does not go through "${ifb}" any more`);
  }
  checkLimit(ifb, (await kernel.shapingOf(ifb, { signal })).limit, egress, latency, mtu);
}

/** The CNI plugins project does not cut a burst, and the kernel cannot count each one: then the rest of it is compared. */
function checkLimit(
  device: string,
  shown: RateLimit | undefined,
  wanted: Bandwidth,
  latency: number,
  mtu: number,
): void {
  if (shown === undefined) throw wrong(`the rate of "${device}" is not limited any more`);
  if (isSameLimit(shown, rateLimit(wanted, latency, mtu))) return;
  const { rate, limit } = uncutLimit(wanted, latency);
  if (isAbsurd(wanted) && shown.rate === rate && shown.limit === limit) return;
  throw wrong(
    `the rate of "${device}" is ${shown.rate * 8} bits a second with a burst of ${shown.burst * 8} bits, ` +
      `not ${wanted.rate} with ${wanted.burst}`,
  );
}

/** Also ends the limits of the interface on the host: without its ifb, the container could send nothing any more. */
async function del(request: PluginRequest): Promise<void> {
  const host = hostOf(request);
  const result = resultOf(request);
  const names = await ifbNames(tagged(request));
  const recorded = result.interfaces?.map(({ name }) => name).filter((name) => names.includes(name)) ?? [];
  const end = await hostEnd(request, result);
  if (end !== undefined) {
    const kernel = kernelFor(host.run);
    const { limit, incoming } = await kernel.shapingOf(end.name, { signal: host.signal });
    const changes: readonly (ShapingChange | false)[] = [
      isOwn(incoming, names) && { kind: "stop-redirect", device: end.name },
      limit !== undefined && { kind: "stop-limit", device: end.name },
    ];
    await kernel.shape(changes.filter((change) => change !== false), { signal: host.signal });
  }
  // Without a result nothing says that it is another interface's.
  await removeOwnIfbs(host, tagged(request), result.interfaces === undefined ? names : recorded);
}

async function gc(request: PluginRequest): Promise<void> {
  const { run, signal } = request;
  const kernel = kernelFor(run);
  const isStale = await staleTags(request.name, validTagged(request));
  for (const { name, alias } of await ifbsOfHost(kernel, { signal })) {
    if (!isStale(alias)) continue;
    request.log(`bandwidth: removed ${name}, which no attachment holds`);
    await removeLink(kernel, name, { signal });
  }
}

function status(request: PluginRequest): void {
  readBandwidthConfig(request.config);
}

async function requireHostEnd(request: PluginRequest, result: Result): Promise<LinkInfo> {
  const end = await hostEnd(request, result);
  if (end !== undefined) return end;
  throw new CniError(
    "config",
    `Cannot limit the interface "${request.ifName}": the other end of it is not among the interfaces of the result`,
    { code: ERROR_CODES.invalidNetworkConfig, details: 'use the plugin after "bridge" or "ptp"' },
  );
}

/** Returns the end on the host of the container's pair, if the result has it. */
async function hostEnd(
  request: PluginRequest,
  { interfaces = [] }: Pick<Result, "interfaces">,
): Promise<LinkInfo | undefined> {
  const { netns, ifName, run, signal } = request;
  if (netns === "" || await nsProblem(netns) !== undefined) return undefined;
  const kernel = kernelFor(run);
  const inside = await findLink(kernel, ifName, { netns, signal });
  if (inside?.peerIndex === undefined) return undefined;
  const isOnHost = ({ sandbox = "" }: Interface) => sandbox === "";
  for (const { name } of interfaces.filter(isOnHost)) {
    const link = await findLink(kernel, name, { signal });
    if (link?.index === inside.peerIndex && link.peerIndex === inside.index) return link;
  }
  return undefined;
}

/** The result of the ADD; empty if it cannot be read, which must not prevent a DEL. */
function resultOf(request: PluginRequest): Pick<Result, "interfaces"> {
  try {
    return request.prevResult ?? {};
  } catch {
    return {};
  }
}
