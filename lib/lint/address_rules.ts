import {
  type Cidr,
  contains,
  formatCidr,
  formatIp,
  type Ip,
  lastOf,
  networkOf,
  parseCidr,
  parseIp,
} from "../cni/address.ts";
import { isArray, isObject, type Json, type JsonObject, type JsonPath, member } from "../cni/json.ts";
import { relation } from "../network/subnet.ts";
import { ipamOf, type NetworkFile, type PlacedPlugin } from "./network_file.ts";
import { eachPlugin, type LintSubject, type Problem, problemIn, type Rule } from "./rule.ts";

/** A subnet that a plugin gives addresses of. */
interface Subnet {
  readonly plugin: PlacedPlugin;
  readonly file: NetworkFile;
  readonly path: JsonPath;
  readonly subnet: Cidr;
  readonly first: Ip;
  readonly last: Ip;
  /** Of the object that the subnet is in. */
  readonly holder: JsonObject;
  readonly holderPath: JsonPath;
}

/** Networks that have another meaning. */
const SPECIAL: readonly (readonly [text: string, meaning: string])[] = [
  ["0.0.0.0/8", "has no hosts"],
  ["127.0.0.0/8", "is the loopback network"],
  ["169.254.0.0/16", "is for addresses of one link, and clouds have their metadata there"],
  ["224.0.0.0/4", "is for multicast"],
  ["240.0.0.0/4", "is reserved"],
  ["fe80::/10", "is for addresses of one link"],
  ["ff00::/8", "is for multicast"],
];

/** What is wrong with addresses. */
export const ADDRESS_RULES: readonly Rule[] = [
  {
    name: "gateway-outside-subnet",
    severity: "error",
    summary: "a gateway is not in its subnet",
    explanation:
      "A container cannot reach such a gateway, so its routes fail. ptp makes a route to the gateway itself, and is not looked at.",
    check: eachPlugin(function* (plugin, _at, file) {
      if (plugin.type === "ptp") return;
      for (const { subnet, holder, holderPath } of subnetsOf(plugin, file)) {
        const text = member(holder, "gateway");
        const gateway = typeof text === "string" ? parseIp(text) : undefined;
        if (gateway === undefined || contains(subnet, gateway)) continue;
        yield problemIn(
          plugin,
          [...holderPath, "gateway"],
          `the gateway ${formatIp(gateway)} is not in ${formatCidr(networkOf(subnet))}`,
          {
            suggestion: "take an address of the subnet, or leave the gateway out for the first one",
          },
        );
      }
    }),
  },
  {
    name: "route-gateway-outside-subnet",
    severity: "warning",
    summary: "the gateway of a route is in none of the subnets",
    explanation: "The kernel refuses a route through a gateway that is in no network of the interface.",
    check: eachPlugin(routeProblems),
  },
  {
    name: "overlapping-subnets",
    severity: "warning",
    summary: "two networks give addresses of the same subnet",
    explanation:
      "The host has one route for a subnet, so containers of one of the networks are not reached. On one bridge or one master, two " +
      "networks may share a subnet if their ranges are apart; else two containers get the same address.",
    check: overlaps,
  },
  {
    name: "special-subnet",
    severity: "warning",
    summary: "a subnet has another meaning, such as multicast or loopback",
    explanation:
      "Kernels and programs treat such addresses in their own way, so containers do not reach each other with them.",
    check: eachPlugin(function* (plugin, _at, file) {
      for (const { subnet, path } of subnetsOf(plugin, file)) {
        const found = SPECIAL.find(([text]) => {
          const special = parseCidr(text);
          return special !== undefined && ["equal", "inside"].includes(relation(subnet, special));
        });
        if (found === undefined) continue;
        yield problemIn(plugin, path, `${formatCidr(subnet)} is in ${found[0]}, which ${found[1]}`, {
          suggestion: "take a private network, such as one of 10.0.0.0/8 or fd00::/8",
        });
      }
    }),
  },
];

function* routeProblems(plugin: PlacedPlugin, _at: number, file: NetworkFile): Generator<Problem> {
  const ipam = ipamOf(plugin);
  if (ipam === undefined || plugin.type === "ptp") return;
  const subnets = subnetsOf(plugin, file);
  const routes = member(ipam.json, "routes");
  if (subnets.length === 0 || !isArray(routes)) return;
  for (const [at, route] of routes.entries()) {
    const text = isObject(route) ? member(route, "gw") : undefined;
    const gw = typeof text === "string" ? parseIp(text) : undefined;
    if (gw === undefined || subnets.some(({ subnet }) => contains(subnet, gw))) continue;
    yield problemIn(
      plugin,
      ["ipam", "routes", at, "gw"],
      `the gateway ${formatIp(gw)} is in no subnet of the network`,
      {
        suggestion: "take an address of a subnet, or leave gw out for the gateway of the subnet",
      },
    );
  }
}

function* overlaps({ files }: LintSubject): Generator<Problem> {
  const all = files.flatMap((file) => file.plugins.flatMap((plugin) => subnetsOf(plugin, file)));
  for (const [at, one] of all.entries()) {
    const other = all.slice(0, at).find((before) => before.plugin !== one.plugin && conflict(before, one));
    if (other === undefined) continue;
    const where = other.file === one.file
      ? "another plugin of the file"
      : `${other.file.list?.name ?? "the network"} in ${other.file.file}`;
    yield problemIn(
      one.plugin,
      one.path,
      `${formatCidr(one.subnet)} overlaps with ${formatCidr(other.subnet)} of ${where}`,
      {
        suggestion: "give one of them another subnet",
      },
    );
  }
}

function conflict(one: Subnet, other: Subnet): boolean {
  if (relation(networkOf(one.subnet), networkOf(other.subnet)) === "apart") return false;
  // Two files of one name are one network, of which only one file is used.
  if (
    one.file !== other.file && one.file.list !== undefined && one.file.list.name === other.file.list?.name
  ) return false;
  if (segmentOf(one.plugin) === segmentOf(other.plugin)) {
    return one.first.value <= other.last.value && other.first.value <= one.last.value;
  }
  return isRouted(one.plugin) && isRouted(other.plugin);
}

/** What interfaces of a plugin are on: those on one bridge, or on one master, share a network. */
function segmentOf({ type, json }: PlacedPlugin): string {
  const name = member(json, type === "bridge" ? "bridge" : "master");
  const place = typeof name === "string" ? name : type === "bridge" ? "cni0" : "";
  return type === "bridge"
    ? `bridge ${place}`
    : type === "ptp"
    ? "ptp"
    : type === "vlan"
    ? `vlan ${place} ${JSON.stringify(member(json, "vlanId"))}`
    : `master ${place}`;
}

/** Whether the host has a route to the containers. */
function isRouted({ type, json }: PlacedPlugin): boolean {
  if (type === "ptp") return true;
  return type === "bridge" &&
    (member(json, "isGateway") === true || member(json, "isDefaultGateway") === true);
}

/** The subnets that a plugin gives addresses of, as far as `host-local` and `static` say so. */
function subnetsOf(plugin: PlacedPlugin, file: NetworkFile): readonly Subnet[] {
  const ipam = ipamOf(plugin);
  if (ipam === undefined || (ipam.type !== "host-local" && ipam.type !== "static")) return [];
  const path: JsonPath = ["ipam"];
  const found = [
    { holder: ipam.json, path, key: "subnet" },
    ...objectsIn(member(ipam.json, "ranges"), [...path, "ranges"], 2).map((range) => ({
      ...range,
      key: "subnet",
    })),
    ...objectsIn(member(ipam.json, "addresses"), [...path, "addresses"], 1).map((address) => ({
      ...address,
      key: "address",
    })),
  ];
  return found.flatMap(({ holder, path: holderPath, key }) => {
    const text = member(holder, key);
    const subnet = typeof text === "string" ? parseCidr(text) : undefined;
    if (subnet === undefined) return [];
    const ends = key === "address" ? { first: subnet.ip, last: subnet.ip } : endsOf(subnet, holder);
    return [{ plugin, file, path: [...holderPath, key], subnet, ...ends, holder, holderPath }];
  });
}

function endsOf(subnet: Cidr, holder: JsonObject): { readonly first: Ip; readonly last: Ip } {
  const ipOf = (key: string) => {
    const text = member(holder, key);
    return typeof text === "string" ? parseIp(text) : undefined;
  };
  return { first: ipOf("rangeStart") ?? networkOf(subnet).ip, last: ipOf("rangeEnd") ?? lastOf(subnet) };
}

/** The objects in lists that lie so deep in each other, with their paths. */
function objectsIn(
  json: Json | undefined,
  path: JsonPath,
  depth: number,
): readonly { readonly holder: JsonObject; readonly path: JsonPath }[] {
  if (depth === 0) return isObject(json) ? [{ holder: json, path }] : [];
  return isArray(json) ? json.flatMap((item, at) => objectsIn(item, [...path, at], depth - 1)) : [];
}
