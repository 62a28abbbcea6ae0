import { parseCidr, parseIp } from "../cni/address.ts";
import {
  isArray,
  isObject,
  type Json,
  type JsonObject,
  type JsonPath,
  member,
  numberOf,
} from "../cni/json.ts";
import { ipamOf, type PlacedPlugin } from "./network_file.ts";
import { eachPlugin, type Problem, problemIn, type Rule } from "./rule.ts";

/** RFC 791: every host takes a packet of this size. */
const SMALLEST_MTU = 576;
/** RFC 8200: the kernel turns IPv6 off on a link that takes less. */
const SMALLEST_IPV6_MTU = 1280;
/** The largest of common switches; only interfaces inside a host take more. */
const LARGEST_COMMON_MTU = 9216;
/** The resolver of the C library reads no more. */
const MOST_NAMESERVERS = 3;

/** What is wrong with single values. */
export const VALUE_RULES: readonly Rule[] = [
  {
    name: "mtu",
    severity: "warning",
    summary: "an MTU is too small for IP, or larger than networks carry",
    explanation:
      "Below 1280 bytes there is no IPv6, below 576 not every host takes part. Above 9216 packets get lost outside of the host.",
    check: eachPlugin(function* (plugin, _at, { plugins }) {
      const mtu = numberOf(member(plugin.json, "mtu"));
      if (mtu === undefined || mtu === 0) return;
      const problem = mtuProblem(mtu, plugins.some(hasIpv6));
      if (problem !== undefined) {
        yield problemIn(plugin, ["mtu"], `an MTU of ${mtu} ${problem}`, {
          suggestion: "leave it out, or take that of the uplink",
        });
      }
    }),
  },
  {
    name: "dns",
    severity: "warning",
    summary: "a name server that containers cannot use, or more of them than are read",
    explanation:
      "A name server is an IP address. One of the loopback network is the container itself. Resolvers read three at most.",
    check: eachPlugin(function* (plugin) {
      yield* dnsProblems(plugin, ["dns"], member(plugin.json, "dns"));
      const ipam = ipamOf(plugin);
      if (ipam !== undefined) yield* dnsProblems(plugin, ["ipam", "dns"], member(ipam.json, "dns"));
    }),
  },
];

function mtuProblem(mtu: number, ipv6: boolean): string | undefined {
  if (mtu < SMALLEST_MTU) return `is smaller than the ${SMALLEST_MTU} bytes that IPv4 needs`;
  if (ipv6 && mtu < SMALLEST_IPV6_MTU) {
    return `is smaller than the ${SMALLEST_IPV6_MTU} bytes that IPv6 needs`;
  }
  return mtu > LARGEST_COMMON_MTU
    ? `is larger than the ${LARGEST_COMMON_MTU} bytes that networks carry`
    : undefined;
}

function hasIpv6(plugin: PlacedPlugin): boolean {
  const ipam = ipamOf(plugin);
  return ipam !== undefined && hasIpv6In(ipam.json);
}

function hasIpv6In(json: Json): boolean {
  if (isArray(json)) return json.some(hasIpv6In);
  if (!isObject(json)) return false;
  return Object.entries(json).some(([key, value]) =>
    typeof value === "string" && (key === "subnet" || key === "address")
      ? parseCidr(value)?.ip.family === 6
      : hasIpv6In(value)
  );
}

function* dnsProblems(plugin: PlacedPlugin, path: JsonPath, dns: Json | undefined): Generator<Problem> {
  if (!isObject(dns)) return;
  const servers = listIn(dns, "nameservers");
  for (const [at, server] of servers.entries()) {
    const problem = serverProblem(server);
    if (problem !== undefined) {
      yield problemIn(
        plugin,
        [...path, "nameservers", at],
        `the name server ${JSON.stringify(server)} ${problem}`,
      );
    }
  }
  if (servers.length <= MOST_NAMESERVERS) return;
  yield problemIn(
    plugin,
    [...path, "nameservers", MOST_NAMESERVERS],
    `resolvers read ${MOST_NAMESERVERS} name servers, and there are ${servers.length}`,
    {
      suggestion: "remove those after the third",
    },
  );
}

function serverProblem(server: Json): string | undefined {
  const ip = typeof server === "string" ? parseIp(server) : undefined;
  if (ip === undefined) return "is not an IP address";
  const isLoopback = ip.family === 4 ? ip.value >> 24n === 127n : ip.value === 1n;
  return isLoopback ? "is the container itself" : undefined;
}

function listIn(json: JsonObject, key: string): readonly Json[] {
  const list = member(json, key);
  return isArray(list) ? list : [];
}
