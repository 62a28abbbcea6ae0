import { bitsOf, type Cidr, compareIp, parseCidr } from "../cni/address.ts";
import type { Result } from "../cni/result.ts";
import { SPEC_VERSIONS } from "../cni/version.ts";
import { nsProblem } from "../host/netns.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { KernelError } from "../kernel/kernel.ts";
import { findLink } from "../kernel/links.ts";
import type { Change, RuleInfo } from "../kernel/operation.ts";
import type { Plugin, PluginRequest } from "../plugin/serve.ts";
import { cidrsOf } from "./bridge_port.ts";
import { withNetnsLock } from "./netns_lock.ts";
import { requireUsable } from "./pair_attachment.ts";
import { requirePrevResult } from "./prev_result.ts";
import { copyOf, removalOf, throughAlone } from "../kernel/route_copy.ts";
import { checkSbr } from "./sbr_check.ts";
import { readSbrConfig } from "./sbr_config.ts";
import { FIRST_TABLE, ownIps, planSbr, type SbrPlan } from "./sbr_plan.ts";

import { type ShownRouting, showRouting } from "./shown_routing.ts";
import { Undo } from "./undo.ts";

/**
 * Lets packets leave by the interface whose address they have, by rules and tables of routes, as the sbr plugin of the CNI
 * plugins project does: each of the two removes what the other has made.
 */
export const sbr: Plugin = {
  about: "CNI plugin sbr (podwire)",
  versions: SPEC_VERSIONS,
  // All that it makes is in the namespace of the container and ends with it: there is nothing for GC.
  verbs: { ADD: add, CHECK: check, DEL: del, STATUS: status },
};

async function add(request: PluginRequest): Promise<Result> {
  const config = readSbrConfig(request.config);
  const result = requirePrevResult(request);
  await requireUsable(request);
  await withNetnsLock(request, async () => {
    const plan = planSbr(result, request.ifName, config, await showRouting(request));
    const undo = new Undo(request.log);
    try {
      await route(request, plan, undo);
    } catch (error) {
      await undo.run();
      throw error;
    }
  });
  return result;
}

/** The tables come first: a rule that leads to an empty one would let packets leave by another interface meanwhile. */
async function route(request: PluginRequest, plan: SbrPlan, undo: Undo): Promise<void> {
  const { netns, run, signal } = request;
  const kernel = kernelFor(run);
  const { routes, rules, hints, moved, before } = plan;
  undo.push("the rules and their tables", async (signal) => {
    const undone: Change[] = [
      ...rules.map((rule) => ({ ...rule, kind: "remove-rule" }) as const),
      ...routes.map(({ device, dst, table, metric }) =>
        ({ kind: "remove-route", dst, table, metric, hops: [{ device }] }) as const
      ),
    ];
    for (const change of undone) await applyIfThere({ ...request, signal }, change);
  });
  await kernel.apply([...routes, ...rules], { netns, signal });
  undo.push("the changes of the main table", async (signal) => {
    for (const { device, dst } of hints) {
      await applyIfThere({ ...request, signal }, { kind: "remove-route", dst, hops: [{ device }] });
    }
    // Those through a gateway need the network on the link.
    const back = before.toSorted((a, b) => gateways(a) - gateways(b)).map((route) => copyOf(route));
    await kernel.apply(back, { netns, signal });
  });
  await kernel.apply([...hints, ...moved.map(removalOf)], { netns, signal });
  // A DEL would not bring the routes of the main table back.
  signal.throwIfAborted();
}

function gateways({ hops }: SbrPlan["moved"][number]): number {
  return hops.filter(({ gateway }) => gateway !== undefined).length;
}

async function check(request: PluginRequest): Promise<void> {
  await checkSbr(request, readSbrConfig(request.config));
}

/** Removes the rules of the attachment and the routes of their tables; nothing is left if the namespace is gone. */
async function del(request: PluginRequest): Promise<void> {
  const { netns, ifName, run, signal, config } = request;
  if (netns === "" || await nsProblem(netns) !== undefined) return;
  await withNetnsLock(request, async () => {
    const link = await findLink(kernelFor(run), ifName, { netns, signal });
    const sources = [...recordedSources(request), ...(link === undefined ? [] : cidrsOf(link))];
    const present = await showRouting(request);
    for (const rule of present.rules.filter((rule) => isOurs(rule, sources, present, request))) {
      const { source, table, priority } = rule;
      if (source === undefined || table === undefined) continue;
      await applyIfThere(request, { kind: "remove-rule", source, table, priority });
      if (table === config.table) continue;
      for (
        const route of present.routes.filter((route) => route.table === table && throughAlone(route, ifName))
      ) {
        await applyIfThere(request, removalOf(route));
      }
    }
  });
}

/**
 * Whether a rule is one for an address of this attachment: it leads to the table of the configuration, or to one in which
 * no route leads through another interface.
 */
function isOurs(
  { isBySource, source, table }: RuleInfo,
  sources: readonly Cidr[],
  { routes }: ShownRouting,
  { config, ifName }: PluginRequest,
): boolean {
  const isSource = ({ ip }: Cidr) =>
    source !== undefined && source.prefix === bitsOf(ip) && source.ip.family === ip.family &&
    compareIp(source.ip, ip) === 0;
  if (!isBySource || table === undefined || !sources.some(isSource)) return false;
  if (table === config.table) return true;
  const isForeign = ({ hops }: ShownRouting["routes"][number]) =>
    hops.some(({ device }) => device !== ifName);
  return table >= FIRST_TABLE && !routes.some((route) => route.table === table && isForeign(route));
}

/** The addresses in the result of the ADD; none if it cannot be read, which must not prevent a DEL. */
function recordedSources(request: PluginRequest): readonly Cidr[] {
  try {
    const { prevResult, ifName } = request;
    return ownIps(prevResult ?? {}, ifName).flatMap(({ address }) => parseCidr(address) ?? []);
  } catch {
    return [];
  }
}

async function status(request: PluginRequest): Promise<void> {
  await Promise.resolve(readSbrConfig(request.config));
}

async function applyIfThere(
  { netns, run, signal }: Pick<PluginRequest, "netns" | "run" | "signal">,
  change: Change,
): Promise<void> {
  try {
    await kernelFor(run).apply([change], { netns, signal });
  } catch (error) {
    if (!(error instanceof KernelError && error.problem === "missing")) throw error;
  }
}
