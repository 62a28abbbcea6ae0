import { parseIp } from "../cni/address.ts";
import { anything, mapOf, text } from "../cni/shape.ts";
import { AUTOMATIC_PORTS } from "../state/automatic_ports.ts";
import type { NetworkSettings } from "./pod_request.ts";
import {
  refuseFrom,
  type RefuseMember,
  type Setting,
  type SettingTable,
  valueOf,
  type WantedSettings,
} from "./setting.ts";
import { bandwidthToJson, dnsToJson, listToJson, portsToJson, rangesToJson } from "./setting_capability.ts";
import {
  macDigits,
  requireAliases,
  requireBandwidth,
  requireDns,
  requireGateways,
  requireIpRanges,
  requireIps,
  requireMac,
  requirePorts,
  requireVisible,
  wantedIp,
} from "./setting_rules.ts";
import {
  ARGS,
  BANDWIDTH,
  DEFAULT_ROUTE,
  DNS,
  IP_RANGES,
  PORT_MAPPINGS,
  TEXT_MAP,
  TEXTS,
} from "./setting_shape.ts";
import {
  address,
  addressWithPrefix,
  anyPortMappings,
  bandwidth,
  bitsPerSecond,
  capability,
  cniArg,
  ipRanges,
  pair,
  plain,
  portMappings,
} from "./setting_text.ts";

/**
 * The network settings. The flags of `run`, the keys of `--network`, their help and completion, the annotations of the
 * OCI hook and its permissions, the requests to the daemon and their OpenAPI schemas, and the arguments of the plugins
 * are all made from this table, in its order.
 */
export const SETTINGS = {
  publish: {
    scope: "first",
    texts: [{
      flag: {
        name: "publish",
        alias: "p",
        help: "a port of the host, repeatable, through the first network",
      },
      key: "publish",
      annotation: "ports",
      placeholder: "[HOSTIP:][HOSTPORT]:PORT[/PROTO]",
      syntax: "8000-8010:80-90 is a range; without HOSTPORT, as in :80, podwire chooses one",
      read: portMappings,
      join: (values) => values.flat(),
    }],
    shape: PORT_MAPPINGS,
    normalize: (ports, refuse) =>
      ports.flatMap((port, index) =>
        anyPortMappings(port, (problem) => refuse(`publish[${index}]`, problem))
      ),
    validate: requirePorts,
    capability: { name: "portMappings", toJson: portsToJson },
    permission: {
      hostPorts: (ports) =>
        ports.flatMap((port) => anyPortMappings(port, refuseFrom("publish"))).flatMap(({ hostPort }) =>
          hostPort === "auto" ? [AUTOMATIC_PORTS] : [{ first: hostPort, last: hostPort }]
        ),
    },
  },
  ips: {
    scope: "first",
    texts: [{
      flag: {
        name: "ip",
        help:
          "an address wanted from the first network, repeatable; with a prefix for IPAM plugins that want one",
      },
      key: "ip",
      annotation: "ip",
      placeholder: "ADDRESS[/PREFIX]",
      read: addressWithPrefix,
    }],
    shape: TEXTS,
    validate: requireIps,
    capability: { name: "ips", toJson: listToJson },
    // The pair holds one address; several can only be carried by the capability.
    cniArg: { key: "IP", of: (ips) => ips.length === 1 ? ips[0] : undefined },
    claims: (ips) =>
      ips.map((ip) => ({ within: "network", key: wantedIp(ip).ip, name: `the address ${ip}` })),
    permission: { word: "ip" },
  },
  ipRanges: {
    scope: "first",
    texts: [{
      flag: {
        name: "ip-range",
        help: "where the first network takes its addresses from, repeatable",
      },
      key: "range",
      placeholder: "RANGE",
      syntax:
        "SUBNET[@[START]-[END]][@gw=GATEWAY], and more of these after a +: an address out of any of them",
      read: ipRanges,
    }],
    shape: IP_RANGES,
    validate: requireIpRanges,
    capability: { name: "ipRanges", toJson: rangesToJson },
    permission: { word: "ip-range" },
  },
  mac: {
    scope: "first",
    texts: [{
      flag: { name: "mac", help: "the MAC address wanted from the first network" },
      key: "mac",
      annotation: "mac",
      placeholder: "MAC",
      once: true,
      read: plain,
    }],
    shape: text(),
    validate: requireMac,
    capability: { name: "mac", toJson: (mac) => mac },
    cniArg: { key: "MAC", of: (mac) => mac },
    claims: (mac) => [{ within: "network", key: macDigits(mac), name: `the MAC address ${mac}` }],
    permission: { word: "mac" },
  },
  bandwidth: {
    scope: "first",
    texts: [
      {
        flag: { name: "bandwidth", help: "limits in bit/s for the first network, such as 10M" },
        annotation: "bandwidth",
        placeholder: "ingress=RATE,egress=RATE",
        once: true,
        read: bandwidth,
      },
      { field: "ingressRate", key: "ingress", placeholder: "RATE", once: true, read: bitsPerSecond },
      { field: "egressRate", key: "egress", placeholder: "RATE", once: true, read: bitsPerSecond },
    ],
    shape: BANDWIDTH,
    validate: requireBandwidth,
    capability: { name: "bandwidth", toJson: bandwidthToJson },
    permission: { word: "bandwidth" },
  },
  dns: {
    scope: "first",
    texts: [
      {
        field: "servers",
        flag: { name: "dns", help: "a name server, repeatable, for the first network" },
        key: "dns",
        annotation: "dns",
        placeholder: "ADDRESS",
        read: address,
      },
      {
        field: "searches",
        flag: { name: "dns-search", help: "a domain in which short names are looked up, repeatable" },
        key: "search",
        placeholder: "DOMAIN",
        read: plain,
      },
      {
        field: "options",
        flag: { name: "dns-option", help: "an option of the resolver, repeatable" },
        key: "dns-option",
        placeholder: "OPTION",
        read: plain,
      },
    ],
    shape: DNS,
    validate: requireDns,
    capability: { name: "dns", toJson: dnsToJson },
    permission: { word: "dns" },
  },
  aliases: {
    scope: "first",
    texts: [{
      flag: { name: "alias", help: "another name on the first network, repeatable" },
      key: "alias",
      placeholder: "NAME",
      read: plain,
    }],
    shape: TEXTS,
    validate: requireAliases,
    capability: { name: "aliases", toJson: listToJson },
    permission: { word: "alias" },
  },
  deviceID: {
    scope: "first",
    texts: [{
      flag: { name: "device", help: "the device that the first network hands to the pod" },
      key: "device",
      placeholder: "ID",
      once: true,
      read: plain,
    }],
    shape: text(),
    validate: (id, refuse) => requireVisible("deviceID", id, refuse),
    capability: { name: "deviceID", toJson: (id) => id },
    permission: { word: "device" },
  },
  cgroupPath: {
    scope: "all",
    texts: [{
      flag: { name: "cgroup-path", help: "the pod's cgroup, for plugins that ask for it" },
      key: "cgroup",
      placeholder: "PATH",
      once: true,
      read: plain,
    }],
    shape: text(),
    validate: (path, refuse) => requireVisible("cgroupPath", path, refuse),
    capability: { name: "cgroupPath", isOffered: true, toJson: (path) => path },
    permission: { word: "cgroup" },
  },
  args: {
    scope: "all",
    texts: [{
      flag: { name: "arg", help: "a pair of CNI_ARGS, repeatable, for all networks" },
      key: "arg",
      annotation: "args",
      placeholder: "K=V",
      read: pair,
      readFlag: cniArg,
    }],
    shape: ARGS,
    // Not an object: plugins get all pairs of one key, in their order.
    toBody: (args) => args.map(([key, value]) => `${key}=${value}`),
    merge: (pod, own) => [...pod, ...own],
    permission: { word: "args" },
  },
  capabilities: {
    scope: "first",
    texts: [{
      flag: { name: "cap", help: "a capability argument for the first network, repeatable" },
      key: "cap",
      placeholder: "NAME=JSON",
      isJson: true,
      read: capability,
      join: byName,
    }],
    shape: mapOf(anything),
    merge: (pod, own, twice) => {
      const both = Object.keys(pod).find((name) => Object.hasOwn(own, name));
      if (both !== undefined) throw twice(`capabilities.${both}`);
      return { ...pod, ...own };
    },
    permission: { word: "cap" },
  },
  annotations: {
    scope: "all",
    texts: [{
      flag: { name: "annotation", help: "an annotation of the pod, repeatable" },
      key: "annotation",
      placeholder: "K=V",
      read: pair,
      join: byName,
    }],
    shape: TEXT_MAP,
    capability: {
      name: "io.kubernetes.cri.pod-annotations",
      isOffered: true,
      toJson: (annotations) => ({ ...annotations }),
    },
    merge: (pod, own) => ({ ...pod, ...own }),
    permission: { word: "annotation" },
  },
  defaultRoute: {
    scope: "own",
    texts: [{
      key: "default-route",
      placeholder: "GATEWAY",
      alone: {
        value: true,
        help:
          "makes the default route of this network that of the pod; =GATEWAY, one for each family, leads it there. " +
          "Without it the pod has in each family the default route of its first network with one, and those of the " +
          "others are removed",
      },
      read: address,
      join: (values) => values.includes(true) ? true : values,
    }],
    shape: DEFAULT_ROUTE,
    validate: requireGateways,
    claims: (route) =>
      familiesOf(route).map((family) => ({
        within: "pod",
        key: `default route ${family}`,
        name: `the default route for IPv${family}`,
      })),
    // An author may order the networks anyway, but not name a gateway.
    permission: { word: "default-route", isHarmless: (route) => route === true },
  },
} as const satisfies {
  readonly [M in keyof WantedSettings]-?: Setting<NonNullable<WantedSettings[M]>>;
};

function byName(pairs: readonly unknown[]): unknown {
  return Object.fromEntries(pairs as readonly (readonly [string, unknown])[]);
}

function familiesOf(route: true | readonly string[]): readonly (4 | 6)[] {
  return route === true ? [4, 6] : route.flatMap((gateway) => parseIp(gateway)?.family ?? []);
}

/**
 * Refuses settings that no plugin can follow.
 *
 * @throws {Error} made by `refuse`
 */
export function validateSettings(
  settings: NetworkSettings,
  refuse: RefuseMember,
  table: SettingTable = SETTINGS,
): void {
  for (const [member, { validate }] of Object.entries(table)) {
    const value = valueOf(settings, member);
    if (value !== undefined) validate?.(value, refuse);
  }
}
