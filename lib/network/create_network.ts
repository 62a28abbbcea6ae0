import type { CallOptions } from "../async/call_options.ts";
import { validateChain } from "../attachment/validate.ts";
import type { Catalog } from "../catalog/catalog.ts";
import { CREATED } from "../catalog/created.ts";
import { EMBEDDED_SUBNETS } from "../catalog/embedded_network.ts";
import { type Cidr, formatCidr } from "../cni/address.ts";
import { type NetworkConfigList, parseConfigList } from "../cni/config.ts";
import { CniError } from "../cni/error.ts";
import { type JsonObject, printJson } from "../cni/json.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { RunCommand } from "../host/command.ts";
import { createExclusive, ensureDir } from "../host/file.ts";
import { waitForLock } from "../host/lock_wait.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink } from "../kernel/links.ts";
import type { VersionProbe } from "../plugin/versions.ts";
import { chooseSubnet, IPV4_POOLS, randomIpv6Pool } from "./choose_subnet.ts";
import { subnetsOfHost } from "./host_subnets.ts";
import { bridgeOf } from "./bridge_name.ts";
import { networkConfig } from "./network_config.ts";
import {
  fileNameOf,
  fillRequest,
  isOnParent,
  type NetworkPlan,
  NetworkProblem,
  type PlannedSubnet,
  planNetwork,
} from "./network_plan.ts";
import type { NetworkRequest } from "./network_request.ts";
import { EMBEDDED_NETWORK, type NetworkFile, subnetsOfNetworks } from "./network_subnets.ts";
import { relation } from "./subnet.ts";
import { describeTaken, overlapsOf, type TakenSubnet } from "./taken_subnet.ts";

/** What {@linkcode createNetwork} works with. */
export interface CreateNetworkContext {
  /** The configuration directory. */
  readonly confDir: string;
  /** Returns the networks as they are configured now. */
  readonly catalog: (signal?: AbortSignal) => Promise<Catalog>;
  readonly probe: VersionProbe;
  readonly run: RunCommand;
  readonly lockMs: number;
}

/** A network that was created. */
export interface CreatedNetwork {
  /** The path of its configuration. */
  readonly file: string;
  /** What the file says. */
  readonly list: NetworkConfigList;
  /** What the user should know, although nothing is wrong. */
  readonly warnings: readonly string[];
}

/**
 * Writes the configuration of a network, whole or not at all. Nothing else on the machine changes: its bridge is made with the
 * first container.
 *
 * @throws {CniError} kind `usage` for a wrong request, `conflict` for a name or a subnet that is taken
 */
export async function createNetwork(
  request: NetworkRequest,
  context: CreateNetworkContext,
  { signal }: CallOptions = {},
): Promise<CreatedNetwork> {
  const make = configOf(request);
  const { confDir, probe, lockMs } = context;
  await ensureDir(confDir);
  // Two calls at the same time would choose the same subnet.
  using _lock = await waitForLock(confDir, { what: "the lock of the networks", limitMs: lockMs, signal });
  const catalog = await context.catalog(signal);
  const { name } = request;
  const file = `${confDir}/${fileNameOf(name)}`;
  requireFreeName(name, catalog);
  const { config, warnings } = await make({ ...context, catalog, file, signal });
  const text = `${printJson(config, 2)}\n`;
  const list = parseConfigList(text, { file });
  const lacking = await missingPlugins(list, probe, signal);
  if (!await createExclusive(file, text, { mode: 0o644 })) throw takenName(name, file);
  return { file, list, warnings: [...warnings, ...lacking] };
}

/** What a configuration is made with, while no other network is made. */
interface MakeContext extends Omit<CreateNetworkContext, "catalog"> {
  readonly catalog: Catalog;
  readonly file: string;
  readonly signal: AbortSignal | undefined;
}

interface MadeConfig {
  readonly config: JsonObject;
  readonly warnings: readonly string[];
}

/** Checks the request, and returns what makes the configuration. */
function configOf(request: NetworkRequest): (context: MakeContext) => Promise<MadeConfig> {
  try {
    if (request.template !== undefined) {
      const text = fillRequest(request);
      return (context) => configOfTemplate(text, request, context);
    }
    const plan = planNetwork(request);
    return (context) => configOfPlan(plan, request, context);
  } catch (error) {
    throw error instanceof NetworkProblem ? error.asCniError(error.member) : error;
  }
}

async function configOfPlan(
  plan: NetworkPlan,
  { allowOverlap = false }: NetworkRequest,
  context: MakeContext,
): Promise<MadeConfig> {
  const { catalog, run, signal } = context;
  const own = await subnetsOfHost(kernelFor(run), { signal });
  const shared = await sharedDevices(plan, run, signal);
  const onHost = own.filter(({ device = "" }) => !shared.all && !shared.names.includes(device));
  const others = catalog.content.files.filter(({ list }) => !sharesWith(plan, list));
  const taken = takenSubnets(others, onHost);
  const { subnets, wider } = settleSubnets(plan, taken, allowOverlap);
  return {
    config: networkConfig(plan, subnets, new Date()),
    warnings: [...wider.map(warnOfWider), ...await missingParent(plan, run, signal)],
  };
}

async function configOfTemplate(
  text: string,
  { name, allowOverlap = false }: NetworkRequest,
  { catalog, run, file, signal }: MakeContext,
): Promise<MadeConfig> {
  const list = parseConfigList(text, { file: "the filled template" });
  if (list.name !== name) {
    throw new CniError("usage", `template: its network is "${list.name}", not "${name}"`, {
      path: "template",
    });
  }
  const onHost = await subnetsOfHost(kernelFor(run), { signal });
  const taken = takenSubnets(catalog.content.files, onHost);
  const wider: TakenSubnet[] = [];
  for (const { subnet } of subnetsOfNetworks([{ file, list }])) {
    if (!allowOverlap) requireApart(subnet, taken);
    wider.push(...overlapsOf(subnet, taken).wider);
  }
  return {
    config: { ...list.json, [CREATED]: new Date().toISOString() },
    warnings: wider.map(warnOfWider),
  };
}

function warnOfWider(one: TakenSubnet): string {
  return `the subnet is in ${describeTaken(one)}: from this host, packets go to the network`;
}

/** @throws {CniError} kind `conflict` if something that must not overlap with the subnet does */
function requireApart(subnet: Cidr, taken: readonly TakenSubnet[]): void {
  const { refused: [first, ...more] } = overlapsOf(subnet, taken);
  if (first === undefined) return;
  throw new CniError("conflict", `${formatCidr(subnet)} overlaps with ${describeTaken(first)}`, {
    path: "subnets",
    ...(more.length === 0 ? {} : { details: more.map(describeTaken).join("\n") }),
    hint: "choose another subnet, or allow it with --allow-overlap",
  });
}

/** The embedded network keeps its usual subnets, whether it is in use, has chosen others, or is left out. */
function takenSubnets(
  files: readonly NetworkFile[],
  onHost: readonly TakenSubnet[],
): readonly TakenSubnet[] {
  const ofNetworks = subnetsOfNetworks(files);
  const isListed = (subnet: Cidr) => ofNetworks.some((one) => relation(one.subnet, subnet) === "equal");
  const usual = EMBEDDED_SUBNETS.filter((subnet) => !isListed(subnet));
  return [...ofNetworks, ...usual.map((subnet) => ({ subnet, by: EMBEDDED_NETWORK })), ...onHost];
}

function requireFreeName(name: string, { content }: Catalog): void {
  const holder = content.files.find(({ list }) => list?.name === name);
  if (holder !== undefined) throw takenName(name, holder.file);
}

function takenName(name: string, file: string): CniError {
  return new CniError("conflict", `Cannot create the network "${name}": there is one of that name`, {
    file,
    hint: `\`podwire network rm ${name}\` removes it`,
  });
}

/**
 * Returns the devices of the host whose networks a network may share: all for macvlan and ipvlan, whose containers are in the
 * network of their parent; for a bridge that podwire does not make, those of that bridge.
 */
async function sharedDevices(
  { driver, options: { bridge } }: NetworkPlan,
  run: RunCommand,
  signal: AbortSignal | undefined,
): Promise<{ readonly all: boolean; readonly names: readonly string[] }> {
  if (isOnParent(driver)) return { all: true, names: [] };
  if (bridge === undefined) return { all: false, names: [] };
  const found = await findLink(kernelFor(run), bridge, { signal });
  return { all: false, names: found === undefined ? [] : [found.name] };
}

/** Whether two networks lie on one link of the host, and so may share its subnet. */
function sharesWith({ driver, options }: NetworkPlan, list: NetworkConfigList | undefined): boolean {
  const [first] = list?.plugins ?? [];
  if (isOnParent(driver)) return first?.type === "macvlan" || first?.type === "ipvlan";
  return options.bridge !== undefined && first?.json.bridge === options.bridge;
}

function settleSubnets(
  plan: NetworkPlan,
  taken: readonly TakenSubnet[],
  allowOverlap: boolean,
): { readonly subnets: readonly PlannedSubnet[]; readonly wider: readonly TakenSubnet[] } {
  const subnets = [...plan.subnets];
  if (!allowOverlap) { for (const { subnet } of plan.subnets) requireApart(subnet, taken); }
  for (const family of plan.chosen) {
    const used = subnets.map(({ subnet }) => ({ subnet, by: `the network "${plan.name}"` }));
    const subnet = chooseSubnet(poolsOf(plan.pools, family), [...taken, ...used]);
    subnets.push({ subnet, ranges: [] });
  }
  return { subnets, wider: subnets.flatMap(({ subnet }) => overlapsOf(subnet, taken).wider) };
}

function poolsOf(pools: readonly Cidr[], family: 4 | 6): readonly Cidr[] {
  const own = pools.filter(({ ip }) => ip.family === family);
  if (own.length > 0) return own;
  return family === 4 ? IPV4_POOLS : [randomIpv6Pool()];
}

async function missingPlugins(
  list: NetworkConfigList,
  probe: VersionProbe,
  signal: AbortSignal | undefined,
): Promise<readonly string[]> {
  try {
    await validateChain(probe, list, signal);
    return [];
  } catch (error) {
    signal?.throwIfAborted();
    return [`no container can be attached yet: ${asCniError(error).message}`];
  }
}

async function missingParent(
  { driver, options: { parent, bridge }, name, vlan }: NetworkPlan,
  run: RunCommand,
  signal: AbortSignal | undefined,
): Promise<readonly string[]> {
  if (parent !== undefined && await findLink(kernelFor(run), parent, { signal }) === undefined) {
    return [`no container can be attached yet: there is no interface "${parent}"`];
  }
  if (driver !== "bridge") return [];
  const link = await findLink(kernelFor(run), bridge ?? bridgeOf(name, vlan), { signal });
  // Its bridge is removed with the network, so it must not be there before.
  if (link !== undefined && bridge === undefined) {
    throw new CniError(
      "conflict",
      `Cannot create the network "${name}": there is an interface "${link.name}"`,
      {
        hint: `use it with --option bridge=${link.name}, or choose another name`,
      },
    );
  }
  if (link?.kind === "bridge" && vlan !== undefined && !link.filtersVlans) {
    return [`no container can be attached yet: the bridge "${link.name}" does not keep VLANs apart`];
  }
  if (link === undefined || link.kind === "bridge") return [];
  return [`no container can be attached yet: "${link.name}" is not a bridge`];
}
