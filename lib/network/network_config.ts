import { CREATED } from "../catalog/created.ts";
import { formatCidr, formatIp } from "../cni/address.ts";
import type { JsonObject } from "../cni/json.ts";
import { bridgeOf } from "./bridge_name.ts";
import { isOnParent, type NetworkPlan, type PlannedSubnet } from "./network_plan.ts";

/** The oldest version with everything that is needed, so that as many runtimes and plugins as possible can use the file. */
const CNI_VERSION = "1.0.0";
const EVERYTHING = { 4: "0.0.0.0/0", 6: "::/0" } as const;

/** Returns the configuration of a network whose subnets are all known: a list that any runtime can use. */
export function networkConfig(
  plan: NetworkPlan,
  subnets: readonly PlannedSubnet[],
  created: Date,
): JsonObject {
  return {
    cniVersion: CNI_VERSION,
    name: plan.name,
    [CREATED]: created.toISOString(),
    plugins: [
      { ...interfacePlugin(plan), ...ipamOf(plan, subnets), ...dnsOf(plan) },
      ...(plan.publishes ? [portmap(plan)] : []),
      ...(isOnParent(plan.driver) || plan.ipam === "none" ? [] : [firewall(plan)]),
    ],
  };
}

function interfacePlugin(plan: NetworkPlan): JsonObject {
  const { driver, options, mtu, vlan, internal, ipam } = plan;
  const size = mtu === undefined ? {} : { mtu };
  const capabilities = { capabilities: ipam === "host-local" ? { ips: true, mac: true } : { mac: true } };
  const masquerade = masqueradeOf(options.masquerade, ipam === "host-local" && !internal);
  switch (driver) {
    case "bridge":
      return {
        type: "bridge",
        bridge: options.bridge ?? bridgeOf(plan.name, vlan),
        ...(ipam === "host-local" ? { isGateway: true, ...masquerade } : {}),
        hairpinMode: options.hairpin !== "false",
        ...(options.isolated === "true" ? { portIsolation: true } : {}),
        // A bridge that was there before is not this network's to remove.
        ...(options.bridge === undefined ? { removeEmptyBridge: true } : {}),
        ...(vlan === undefined ? {} : { vlan }),
        ...size,
        ...capabilities,
      };
    case "ptp":
      return { type: "ptp", ...masquerade, ...size, capabilities: { ips: true } };
    case "macvlan":
    case "ipvlan":
      return {
        type: driver,
        ...(options.parent === undefined ? {} : { master: options.parent }),
        ...(options.mode === undefined ? {} : { mode: options.mode }),
        ...size,
        // All interfaces of an ipvlan have the MAC address of their parent.
        capabilities: driver === "ipvlan" ? { ips: true } : capabilities.capabilities,
      };
  }
}

function masqueradeOf(option = "true", isPossible: boolean): JsonObject {
  const ipMasq = isPossible && option !== "false";
  if (!ipMasq || option === "true") return { ipMasq };
  return option === "ipv4" ? { ipMasq, ipMasqIPv6: false } : { ipMasq, ipMasqIPv4: false };
}

const HOST_NAME = { option: "host-name", fromArg: "K8S_POD_NAME" };

function ipamOf({ ipam, internal }: NetworkPlan, subnets: readonly PlannedSubnet[]): JsonObject {
  if (ipam === "none") return {};
  // The server gets the name of the sandbox as that of the host. A runtime that passes no such argument sends none.
  if (ipam === "dhcp") return { ipam: { type: "dhcp", provide: [HOST_NAME] } };
  const families = new Set(subnets.map(({ subnet }) => subnet.ip.family));
  return {
    ipam: {
      type: "host-local",
      ranges: subnets.map(rangeSet),
      ...(internal ? {} : { routes: [...families].sort().map((family) => ({ dst: EVERYTHING[family] })) }),
    },
  };
}

function rangeSet({ subnet, gateway, ranges }: PlannedSubnet): readonly JsonObject[] {
  const whole = {
    subnet: formatCidr(subnet),
    ...(gateway === undefined ? {} : { gateway: formatIp(gateway) }),
  };
  if (ranges.length === 0) return [whole];
  return ranges.map(({ first, last }) => ({
    ...whole,
    rangeStart: formatIp(first),
    rangeEnd: formatIp(last),
  }));
}

function dnsOf({ dns }: NetworkPlan): JsonObject {
  return dns.length === 0 ? {} : { dns: { nameservers: [...dns] } };
}

function portmap({ internal }: NetworkPlan): JsonObject {
  // Without a default route a container answers only what comes with the address of its gateway.
  const answerable = internal ? { masqAll: true } : {};
  return { type: "portmap", ...answerable, capabilities: { portMappings: true } };
}

function firewall({ isolate, ipam, internal, options }: NetworkPlan): JsonObject {
  const { ipMasq } = masqueradeOf(options.masquerade, ipam === "host-local" && !internal);
  return {
    type: "firewall",
    ...(isolate ? { ingressPolicy: "same-bridge" } : {}),
    // What nothing masquerades must not leave with the address of a container.
    ...(ipMasq ? { dropInvalid: true } : {}),
  };
}
