import { CniError } from "../cni/error.ts";
import { printJson } from "../cni/json.ts";
import { readTextIfThere } from "../host/file.ts";
import { fillRequest, NetworkProblem, planNetwork } from "../network/network_plan.ts";
import { DRIVERS, LARGEST_MTU, LARGEST_VLAN, type NetworkRequest } from "../network/network_request.ts";
import { PodCIDRs } from "../network/pod_cidrs.ts";
import { withSignals } from "../plugin/signals.ts";
import { networkToJson } from "../runtime/json_view.ts";
import { DEFAULTS } from "../runtime/options.ts";
import type { CommandInput } from "./command.ts";
import { pair, positive } from "./flag_value.ts";
import { openPodwire } from "./open.ts";
import { logger, runtimeOptions } from "./settings.ts";

/** The flags of the members, where they have another name. */
const FLAGS: Partial<Record<keyof NetworkRequest, string>> = {
  name: "NAME",
  driver: "--driver",
  subnets: "--subnet",
  gateways: "--gateway",
  ranges: "--range",
  ipv6: "--ipv6",
  isolate: "--isolate",
  publishable: "--publishable",
  mtu: "--mtu",
  vlan: "--vlan",
  dns: "--dns",
  options: "--option",
  pools: "--pool",
  podCIDRs: "--pod-cidr",
  template: "--template",
  internal: "--internal",
};

async function templateOf(input: CommandInput): Promise<string | undefined> {
  const path = input.value("template");
  if (path === undefined) return undefined;
  const text = await readTextIfThere(path);
  if (text !== undefined) return text;
  throw new CniError("not-found", "--template: the file does not exist", { file: path });
}

/** Returns the networks of the node's pods that a kubelet has given, for a command line that gives none. */
async function keptPodCIDRs(input: CommandInput): Promise<readonly string[]> {
  if (input.list("pod-cidr").length > 0) return [];
  return await new PodCIDRs(runtimeOptions(input).stateDir ?? DEFAULTS.stateDir).read();
}

/** `podwire network create NAME` */
export async function networkCreate(input: CommandInput): Promise<number> {
  const { io } = input;
  const template = await templateOf(input);
  const request = networkRequest(input, template, template === undefined ? [] : await keptPodCIDRs(input));
  const podwire = openPodwire(input);
  const { file, warnings } = await withSignals(io, (signal) => podwire.createNetwork(request, { signal }));
  for (const warning of warnings) logger(input).warn(`network "${request.name}": ${warning}`);
  const network = await podwire.inspectNetwork(request.name);
  if (input.flag("json")) io.write(`${printJson(networkToJson(network), 2)}\n`);
  else io.write(`${[request.name, network.driver, ...network.subnets].join(" ")}\n${file}\n`);
  return 0;
}

/**
 * Returns the network that the command line asks for.
 *
 * @throws {CniError} kind `usage`, naming the flag
 */
export function networkRequest(
  input: CommandInput,
  template?: string,
  keptPodCIDRs: readonly string[] = [],
): NetworkRequest {
  const given = input.list("pod-cidr");
  const [name = ""] = input.operands;
  const text = input.value("driver");
  const driver = DRIVERS.find((known) => known === text);
  if (text !== undefined && driver === undefined) {
    throw new CniError("usage", `--driver: there is no driver "${text}"`, {
      details: `the drivers are ${DRIVERS.join(", ")}`,
    });
  }
  const number = (flag: string, most: number) => {
    const value = input.value(flag);
    return value === undefined ? undefined : positive(`--${flag}`, value, most);
  };
  const request: NetworkRequest = {
    name,
    driver,
    subnets: input.list("subnet"),
    podCIDRs: given.length > 0 ? given : keptPodCIDRs,
    template,
    gateways: input.list("gateway"),
    ranges: input.list("range"),
    ipv6: input.flag("ipv6"),
    internal: input.flag("internal"),
    isolate: input.flag("isolate"),
    publishable: input.flag("publishable"),
    mtu: number("mtu", LARGEST_MTU),
    vlan: number("vlan", LARGEST_VLAN),
    dns: input.list("dns"),
    options: Object.fromEntries(input.list("option").map((option) => pair("--option", option))),
    pools: input.list("pool"),
    allowOverlap: input.flag("allow-overlap"),
  };
  try {
    if (template === undefined) planNetwork(request);
    else fillRequest(request);
  } catch (error) {
    throw error instanceof NetworkProblem ? error.asCniError(FLAGS[error.member] ?? error.member) : error;
  }
  return request;
}
