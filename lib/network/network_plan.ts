import {
  bitsOf,
  type Cidr,
  compareIp,
  contains,
  formatCidr,
  formatIp,
  type Ip,
  lastOf,
  networkOf,
  parseCidr,
  parseIp,
} from "../cni/address.ts";
import { CniError } from "../cni/error.ts";
import { validateInterfaceName, validateNetworkName } from "../cni/name.ts";
import {
  DRIVER_OPTIONS,
  DRIVERS,
  LARGEST_VLAN,
  type NetworkDriver,
  type NetworkRequest,
} from "./network_request.ts";
import { fillTemplate, TemplateError } from "./config_template.ts";
import { mtuProblem } from "./mtu.ts";
import { bridgeProblem } from "./bridge_name.ts";
import { relation } from "./subnet.ts";

/** A member of a request that is wrong. */
export class NetworkProblem extends Error {
  override readonly name = "NetworkProblem";

  constructor(readonly member: keyof NetworkRequest, readonly problem: string, readonly details?: string) {
    super(`${member}: ${problem}`);
  }

  /** Returns the error for a user who knows the member by this name. */
  asCniError(name: string): CniError {
    const { member: path, problem, details } = this;
    return new CniError("usage", `${name}: ${problem}`, { path, details, cause: this });
  }
}

/** A subnet of a network, with what was asked for in it. */
export interface PlannedSubnet {
  readonly subnet: Cidr;
  readonly gateway?: Ip | undefined;
  /** @default {all of it} */
  readonly ranges: readonly AddressSpan[];
}

/** Addresses from the first to the last. */
export interface AddressSpan {
  readonly first: Ip;
  readonly last: Ip;
}

/** A network that is valid as far as the request alone says. */
export interface NetworkPlan {
  readonly name: string;
  readonly driver: NetworkDriver;
  /** Those that were asked for. */
  readonly subnets: readonly PlannedSubnet[];
  /** The families of the subnets that are still to be chosen. */
  readonly chosen: readonly (4 | 6)[];
  readonly pools: readonly Cidr[];
  /** What gives addresses. */
  readonly ipam: "host-local" | "dhcp" | "none";
  readonly internal: boolean;
  readonly isolate: boolean;
  /** Whether ports of the host can be published. */
  readonly publishes: boolean;
  readonly mtu: number | undefined;
  readonly vlan: number | undefined;
  readonly dns: readonly string[];
  readonly options: Readonly<Record<string, string>>;
}

const LARGEST_FILE_NAME = 255;
const EXTENSION = ".conflist";
/** The network of the machine without configuration. */
export const RESERVED_NAME = "podwire";

/** Returns the name of the file of a network. */
export function fileNameOf(network: string): string {
  return `${network}${EXTENSION}`;
}

/**
 * Checks a request as far as that is possible without a look at the machine.
 *
 * @throws {NetworkProblem}
 */
export function planNetwork(request: NetworkRequest): NetworkPlan {
  const { name, driver = "bridge", options = {} } = request;
  const { internal = false, isolate = false, publishable = false, dns = [] } = request;
  requireName(name);
  if (!DRIVERS.includes(driver)) {
    throw refused("driver", `there is no driver "${driver}"`, `the drivers are ${DRIVERS.join(", ")}`);
  }
  requireOptions(driver, options);
  const subnets = planSubnets(request);
  const ipam = ipamOf(driver, options, subnets);
  const needsSubnet = ipam === "host-local" && !isOnParent(driver);
  const has = (family: 4 | 6) => subnets.some(({ subnet }) => subnet.ip.family === family);
  const chosen: (4 | 6)[] = [];
  if (needsSubnet && subnets.length === 0) chosen.push(4);
  if (request.ipv6 === true && !has(6)) {
    if (ipam === "dhcp") throw refused("ipv6", "the plugin dhcp has no IPv6");
    if (!needsSubnet) throw refused("ipv6", `the driver ${driver} takes its subnet of IPv6 from --subnet`);
    chosen.push(6);
  }
  if (isOnParent(driver) && ipam === "host-local" && subnets.length === 0) {
    throw refused("subnets", `the driver ${driver} needs the subnet that its parent is in`);
  }
  if (isolate && driver !== "bridge") {
    throw refused(
      "isolate",
      `the driver ${driver} cannot isolate: only bridges have other networks beside them`,
    );
  }
  if (publishable && !internal) {
    throw refused("publishable", "goes with internal: other networks can publish ports");
  }
  if (isOnParent(driver) && publishable) {
    throw refused("publishable", `the driver ${driver} publishes no ports`);
  }
  requireMtu(request, has(6) || chosen.includes(6));
  requireVlan(request, driver);
  for (const server of dns) {
    if (parseIp(server) === undefined) throw refused("dns", `"${server}" is not a valid IP address`);
  }
  return {
    ...{ name, driver, subnets, chosen, ipam, internal, isolate, dns, options },
    pools: (request.pools ?? []).map((text) => poolOf(text)),
    publishes: !isOnParent(driver) && ipam !== "none" && (!internal || publishable),
    mtu: request.mtu,
    vlan: request.vlan,
  };
}

function requireName(name: string): void {
  withRule("name", name, validateNetworkName);
  if (name === RESERVED_NAME) throw refused("name", `"${name}" is the name of the embedded network`);
  if (new TextEncoder().encode(fileNameOf(name)).length > LARGEST_FILE_NAME) {
    throw refused("name", "the name is too long for a file");
  }
}

/** The members that a template leaves without a meaning. */
const WITHOUT_TEMPLATE = [
  ...[
    "driver",
    "subnets",
    "gateways",
    "ranges",
    "ipv6",
    "internal",
    "isolate",
    "publishable",
    "mtu",
  ] as const,
  ...["vlan", "dns", "options", "pools"] as const,
];

/**
 * Fills the template of a request.
 *
 * @throws {NetworkProblem}
 */
export function fillRequest(request: NetworkRequest): string {
  const { name, template = "", podCIDRs = [] } = request;
  requireName(name);
  for (const member of WITHOUT_TEMPLATE) {
    const value = request[member];
    const isGiven = value !== undefined && value !== false &&
      (typeof value !== "object" || Object.keys(value).length > 0);
    if (isGiven) throw refused(member, "a template has its own");
  }
  const cidrs = podCIDRs.map((text) => subnetOf("podCIDRs", text));
  if (cidrs.length === 0) throw refused("podCIDRs", "a template needs the networks of the pods");
  const families = new Set(cidrs.map(({ ip }) => ip.family));
  const routes = [...families].sort().map((family) => family === 4 ? "0.0.0.0/0" : "::/0");
  try {
    return fillTemplate(template, { podCIDRs, routes });
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    throw refused("template", error.message);
  }
}

/** Whether the interfaces of containers lie on one of the host. */
export function isOnParent(driver: NetworkDriver): boolean {
  return driver === "macvlan" || driver === "ipvlan";
}

function planSubnets(
  { subnets = [], podCIDRs = [], gateways = [], ranges = [] }: NetworkRequest,
): readonly PlannedSubnet[] {
  const cidrs = [
    ...subnets.map((text) => subnetOf("subnets", text)),
    ...podCIDRs.map((text) => subnetOf("podCIDRs", text)),
  ];
  for (const [index, one] of cidrs.entries()) {
    const other = cidrs.slice(0, index).find((before) => relation(before, one) !== "apart");
    if (other === undefined) continue;
    throw refused("subnets", `${formatCidr(one)} and ${formatCidr(other)} overlap`);
  }
  const byGateway = gateways.map((text) => gatewayOf(text, cidrs));
  const spans = ranges.map((text) => spanOf(text, cidrs));
  requireApart(spans);
  return cidrs.map((subnet) => {
    const own = byGateway.filter((gateway) => contains(subnet, gateway));
    if (own.length > 1) throw refused("gateways", `${formatCidr(subnet)} has two gateways`);
    return { subnet, gateway: own[0], ranges: spans.filter(({ first }) => contains(subnet, first)) };
  });
}

function subnetOf(member: "subnets" | "podCIDRs", text: string): Cidr {
  const cidr = cidrOf(member, text);
  // As in host-local: the network, the gateway, a container, and the broadcast address.
  if (bitsOf(cidr.ip) - cidr.prefix >= 2) return cidr;
  throw refused(member, `${text} is too small: it needs two addresses beside its first and its last`);
}

function poolOf(text: string): Cidr {
  return cidrOf("pools", text);
}

function cidrOf(member: "subnets" | "podCIDRs" | "pools", text: string): Cidr {
  const cidr = parseCidr(text);
  if (cidr === undefined) throw refused(member, `"${text}" is not a network, as 10.1.0.0/24 is`);
  const network = networkOf(cidr);
  if (compareIp(network.ip, cidr.ip) === 0) return cidr;
  throw refused(member, `${text} has bits after the prefix: its network is ${formatCidr(network)}`);
}

function gatewayOf(text: string, subnets: readonly Cidr[]): Ip {
  const ip = parseIp(text);
  if (ip === undefined) throw refused("gateways", `"${text}" is not a valid IP address`);
  const subnet = subnets.find((one) => contains(one, ip));
  if (subnet === undefined) throw refused("gateways", `${text} is in none of the subnets that are given`);
  const isEdge = compareIp(subnet.ip, ip) === 0 || (ip.family === 4 && compareIp(lastOf(subnet), ip) === 0);
  if (isEdge) throw refused("gateways", `${text} is the address of the network ${formatCidr(subnet)} itself`);
  return ip;
}

function spanOf(text: string, subnets: readonly Cidr[]): AddressSpan {
  const span = readSpan(text);
  if (span === undefined) throw refused("ranges", `"${text}" is neither FIRST-LAST nor a network`);
  const { first, last } = span;
  if (first.family !== last.family || compareIp(first, last) > 0) {
    throw refused("ranges", `${text}: the first address comes after the last`);
  }
  const subnet = subnets.find((one) => contains(one, first) && contains(one, last));
  if (subnet === undefined) throw refused("ranges", `${text} is in none of the subnets that are given`);
  return usablePart(span, subnet);
}

/** Leaves out the address of the network, and in IPv4 its broadcast address. */
function usablePart({ first, last }: AddressSpan, subnet: Cidr): AddressSpan {
  const isWhole = first.family === 4 && compareIp(last, lastOf(subnet)) === 0;
  return {
    first: compareIp(first, subnet.ip) === 0 ? { ...first, value: first.value + 1n } : first,
    last: isWhole ? { ...last, value: last.value - 1n } : last,
  };
}

function requireApart(spans: readonly AddressSpan[]): void {
  const sorted = spans.toSorted((a, b) => compareIp(a.first, b.first));
  for (const [index, { first }] of sorted.entries()) {
    const before = sorted[index - 1];
    if (before === undefined || compareIp(before.last, first) < 0) continue;
    throw refused("ranges", `${formatIp(first)} is in two ranges`);
  }
}

function readSpan(text: string): AddressSpan | undefined {
  const cidr = parseCidr(text);
  if (cidr !== undefined) return { first: networkOf(cidr).ip, last: lastOf(cidr) };
  const [first, last, ...more] = text.split("-").map(parseIp);
  return first === undefined || last === undefined || more.length > 0 ? undefined : { first, last };
}

function ipamOf(
  driver: NetworkDriver,
  { ipam = "host-local" }: Readonly<Record<string, string>>,
  subnets: readonly PlannedSubnet[],
): NetworkPlan["ipam"] {
  if (ipam !== "dhcp" && ipam !== "none") return "host-local";
  if (subnets.length === 0) return ipam;
  throw refused("subnets", `a network of the driver ${driver} with ipam=${ipam} has no subnets of its own`);
}

function requireOptions(driver: NetworkDriver, options: Readonly<Record<string, string>>): void {
  const known = DRIVER_OPTIONS[driver];
  for (const [key, value] of Object.entries(options)) {
    const option = Object.hasOwn(known, key) ? known[key] : undefined;
    if (option === undefined) {
      const details = `its options are ${Object.keys(known).join(", ")}`;
      throw refused("options", `the driver ${driver} has no option "${key}"`, details);
    }
    if (option.values !== undefined && !option.values.includes(value)) {
      throw refused("options", `${key}: "${value}" is not one of ${option.values.join(", ")}`);
    }
    if (key === "bridge" || key === "parent") requireInterface(key, value);
  }
}

function requireInterface(key: string, value: string): void {
  withRule("options", value, validateInterfaceName, key);
}

/** Turns the error of a rule for names into that of the member. */
function withRule(
  member: keyof NetworkRequest,
  text: string,
  rule: (text: string) => void,
  key?: string,
): void {
  try {
    rule(text);
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    throw refused(member, `${key === undefined ? "" : `${key}: `}"${text}": ${error.msg}`);
  }
}

function requireMtu({ mtu }: NetworkRequest, hasIpv6: boolean): void {
  const problem = mtu === undefined ? undefined : mtuProblem(mtu, hasIpv6);
  if (problem !== undefined) throw refused("mtu", problem);
}

function requireVlan({ vlan, options = {} }: NetworkRequest, driver: NetworkDriver): void {
  if (vlan === undefined) return;
  if (driver !== "bridge") {
    const cure = "make the interface of the VLAN, and name it as the option parent";
    const details = isOnParent(driver) ? cure : undefined;
    throw refused("vlan", `the driver ${driver} has no VLANs of its own`, details);
  }
  if (!Number.isInteger(vlan) || vlan < 1 || vlan > LARGEST_VLAN) {
    throw refused("vlan", `${vlan} is not a whole number from 1 to ${LARGEST_VLAN}`);
  }
  const problem = bridgeProblem(vlan, options);
  if (problem !== undefined) throw refused("options", ...problem);
}

function refused(member: keyof NetworkRequest, problem: string, details?: string): NetworkProblem {
  return new NetworkProblem(member, problem, details);
}
