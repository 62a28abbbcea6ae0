// The built-in macvlan against the originals: the same result and the same state of the kernel for the same configuration.
import type { JsonObject } from "../../lib/cni/json.ts";
import { conformance, type LinkCase } from "./link_conformance.ts";
import { DEFAULTS, MAC, OTHER_MAC, staticIpam, V4, V6 } from "./master_world.ts";

const NEWEST = ["cni-1.9.1"] as const;

/** A case with an IPv4 address. */
const withV4 = (more: JsonObject, rest: Partial<LinkCase> = {}): LinkCase => ({
  config: (world) => ({ master: world.master, ...staticIpam([V4(world)]), ...more }),
  ...rest,
});

/** A case without addresses. */
const layer2 = (more: JsonObject, rest: Partial<LinkCase> = {}): LinkCase => ({
  config: ({ master }) => ({ master, ...more }),
  ...rest,
});

/** An interface in the container on which others can be. */
const INNER = "ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up";

const CASES: Readonly<Record<string, LinkCase>> = {
  "the defaults": withV4({}),
  "no addresses": layer2({}),
  "an empty ipam": layer2({ ipam: {} }),
  ...Object.fromEntries(
    ["bridge", "private", "vepa", "passthru", ""].flatMap((mode) => [
      [`mode "${mode}"`, withV4({ mode })],
      [`mode "${mode}" without addresses`, layer2({ mode })],
    ]),
  ),
  "an MTU below that of the master": withV4({ mtu: 1400 }),
  "the MTU of the master": withV4({ mtu: 1500 }),
  "an MTU of 0, which is none": withV4({ mtu: 0 }),
  "the smallest MTU of IPv6": {
    config: (world) => ({ master: world.master, mtu: 1280, ...staticIpam([V6(world)]) }),
  },
  "a MAC address": withV4({ mac: MAC }),
  "a MAC address in upper case": withV4({ mac: MAC.toUpperCase() }),
  "a MAC address of CNI_ARGS, which wins": withV4({ mac: MAC }, { args: `IgnoreUnknown=1;MAC=${OTHER_MAC}` }),
  "a MAC address of the runtime, which wins": withV4({ mac: MAC, runtimeConfig: { mac: OTHER_MAC } }),
  "a MAC address of the runtime, which wins over CNI_ARGS": withV4({ runtimeConfig: { mac: OTHER_MAC } }, {
    args: `IgnoreUnknown=1;MAC=${MAC}`,
  }),
  "unknown CNI_ARGS that are to be ignored": withV4({}, { args: "IgnoreUnknown=1;K8S_POD_NAME=web" }),
  "a MAC address and no addresses": layer2({ mac: MAC, mode: "private" }),
  "a queue for broadcasts": withV4({ bcqueuelen: 4321 }, { originals: NEWEST }),
  "a queue for broadcasts of 0, which is none": withV4({ bcqueuelen: 0 }, { originals: NEWEST }),
  "IPv4 with a default route": {
    config: (world) => ({ master: world.master, ...staticIpam([V4(world)], [{ dst: "0.0.0.0/0" }]) }),
  },
  "IPv6 with a default route": {
    config: (world) => ({ master: world.master, ...staticIpam([V6(world)], [{ dst: "::/0" }]) }),
  },
  "both families with default routes": {
    config: (world) => ({ master: world.master, ...staticIpam([V4(world), V6(world)], DEFAULTS) }),
  },
  "addresses without gateways": {
    config: (world) => ({
      master: world.master,
      ...staticIpam([{ address: V4(world).address }, { address: V6(world).address }]),
    }),
  },
  "a route on the link": {
    config: (world) => ({
      master: world.master,
      ...staticIpam([{ address: V4(world).address }], [{ dst: "10.99.0.0/16" }]),
    }),
  },
  "a route by another next hop": {
    config: (world) => ({
      master: world.master,
      ...staticIpam([V4(world)], [{ dst: "10.99.0.0/16", gw: `${world.subnet4}.9` }]),
    }),
  },
  "two addresses of one family": {
    config: (world) => ({
      master: world.master,
      ...staticIpam([V4(world), { address: "10.199.7.5/16", gateway: "10.199.0.1" }]),
    }),
  },
  "an address that is a network of its own": {
    config: (world) => ({ master: world.master, ...staticIpam([{ address: `${world.subnet4}.7/32` }]) }),
  },
  "a network of two addresses": {
    config: (world) => ({ master: world.master, ...staticIpam([{ address: `${world.subnet4}.6/31` }]) }),
  },
  "DNS of the plugin, which wins over that of the IPAM plugin": {
    config: (world) => ({
      master: world.master,
      dns: {
        nameservers: ["10.0.0.10"],
        domain: "example.net",
        search: ["example.net"],
        options: ["ndots:5"],
      },
      ipam: { type: "static", addresses: [V4(world)], dns: { nameservers: ["10.0.0.11"] } },
    }),
  },
  "DNS of the IPAM plugin, which is dropped": {
    config: (world) => ({
      master: world.master,
      ipam: { type: "static", addresses: [V4(world)], dns: { nameservers: ["10.0.0.11"] } },
    }),
  },
  "addresses by host-local": {
    config: ({ master, subnet4, subnet6 }, dataDir) => ({
      master,
      ipam: {
        type: "host-local",
        dataDir,
        ranges: [[{ subnet: `${subnet4}.0/24` }], [{ subnet: `${subnet6}::/64` }]],
        routes: DEFAULTS,
      },
    }),
  },
  "addresses of the runtime": {
    config: (world) => ({
      master: world.master,
      runtimeConfig: { ips: [V4(world).address] },
      ipam: { type: "static" },
    }),
  },
  "addresses of args": {
    config: (world) => ({
      master: world.master,
      args: { cni: { ips: [V4(world).address] } },
      ipam: { type: "static" },
    }),
  },
  "the master of the only default route": {
    config: (world) => staticIpam([V4(world)]),
    onHost: "ip route add default dev $MASTER",
  },
  "the master of the only default route of IPv6": {
    config: (world) => staticIpam([V6(world)]),
    onHost: "ip -6 route add default dev $MASTER",
  },
  "a master in the container": {
    config: (world) => ({ master: "up0", linkInContainer: true, ...staticIpam([V4(world)]) }),
    inPod: INNER,
    originals: NEWEST,
  },
  "a master in the container, of the default route there": {
    config: (world) => ({ linkInContainer: true, ...staticIpam([V4(world)]) }),
    inPod: `${INNER}; ip route add default dev up0`,
    originals: NEWEST,
  },
  "a master that is down": withV4({}, { onHost: "ip link set $MASTER down" }),
  "a name that an interface of the host has": {
    config: (world) => ({ master: world.master, ...staticIpam([V4(world)]) }),
    onHost: "ip link show dev pwname0 >/dev/null 2>&1 || ip link add pwname0 type bridge",
    ifName: "pwname0",
  },
  "a name with a dot": withV4({}, { ifName: "eth0.5" }),
  "version 0.4.0": withV4({}, { version: "0.4.0" }),
  "version 1.1.0": withV4({}, { version: "1.1.0", originals: NEWEST }),
  "routes with priorities": {
    config: (world) => ({
      master: world.master,
      ...staticIpam([V4(world)], [{ dst: "10.99.0.0/16", priority: 50 }, { dst: "0.0.0.0/0", priority: 60 }]),
    }),
    version: "1.1.0",
    originals: NEWEST,
  },
  "routes of other tables and scopes": {
    config: (world) => ({
      master: world.master,
      ...staticIpam([V4(world)], [{ dst: "10.99.0.0/16", table: 100 }, {
        dst: "10.98.0.0/16",
        gw: `${world.subnet4}.9`,
        scope: 0,
      }]),
    }),
    version: "1.1.0",
    originals: NEWEST,
  },
};

conformance("macvlan", CASES, "macvlan");
