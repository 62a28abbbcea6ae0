import type { OptionSpec } from "./command.ts";

/** The options of `run`. */
export const RUN_OPTIONS: readonly OptionSpec[] = [
  {
    name: "namespace",
    kind: "value",
    value: "NAMESPACE",
    help: "the namespace of the name, as in Kubernetes (default: default)",
  },
  { name: "uid", kind: "value", value: "UID", help: "the pod UID that plugins are told (default: the ID)" },
  { name: "id", kind: "value", value: "ID", help: "the container ID (default: a random one)" },
  {
    name: "netns",
    kind: "value",
    value: "NETNS",
    help: "a network namespace to use, by its path or ip-netns name",
  },
  { name: "pid", kind: "value", value: "PID", help: "use the network namespace of this process" },
  { name: "infra", kind: "flag", help: "make an infra container that holds the namespace" },
  {
    name: "host-network",
    kind: "flag",
    help: "stay in the network namespace of the host: no networks, and nothing is done to it",
  },
  {
    name: "sysctl",
    kind: "list",
    value: "net.K=V",
    help: "a sysctl of the network namespace, repeatable, set before the networks are attached",
  },
  {
    name: "label",
    alias: "l",
    kind: "list",
    value: "K=V",
    help: "a label that ps --filter finds it by, repeatable",
  },
  {
    name: "runtime",
    kind: "value",
    value: "PROGRAM",
    help: "the OCI runtime for --infra (default runc); it has the times of ADD and DEL",
  },
  {
    name: "network",
    kind: "list",
    value: "NET[:IFNAME][,KEY=VALUE...]",
    help: "a network, repeatable, or none (default: the default network)",
  },
  {
    name: "publish",
    alias: "p",
    kind: "list",
    value: "[HOSTIP:]HOSTPORT:PORT[/PROTO]",
    help: "a port of the host, repeatable, through the first network",
  },
  {
    name: "ip",
    kind: "list",
    value: "ADDRESS[/PREFIX]",
    help:
      "an address wanted from the first network, repeatable; with a prefix for IPAM plugins that want one",
  },
  { name: "mac", kind: "value", value: "MAC", help: "the MAC address wanted from the first network" },
  {
    name: "bandwidth",
    kind: "value",
    value: "ingress=RATE,egress=RATE",
    help: "limits in bit/s, such as 10M",
  },
  {
    name: "ip-range",
    kind: "list",
    value: "RANGE",
    help: "where the first network takes its addresses from, repeatable",
  },
  { name: "dns", kind: "list", value: "ADDRESS", help: "a name server, repeatable, for the first network" },
  { name: "dns-search", kind: "list", value: "DOMAIN", help: "where short names are looked for, repeatable" },
  { name: "dns-option", kind: "list", value: "OPTION", help: "an option of the resolver, repeatable" },
  { name: "alias", kind: "list", value: "NAME", help: "another name on the first network, repeatable" },
  { name: "device", kind: "value", value: "ID", help: "the device that the first network hands over" },
  {
    name: "cgroup-path",
    kind: "value",
    value: "PATH",
    help: "the pod's cgroup, for plugins that ask for it",
  },
  { name: "arg", kind: "list", value: "K=V", help: "a pair of CNI_ARGS, repeatable, for all networks" },
  {
    name: "cap",
    kind: "list",
    value: "NAME=JSON",
    help: "a capability argument for the first network, repeatable",
  },
  { name: "annotation", kind: "list", value: "K=V", help: "an annotation of the pod, repeatable" },
  { name: "replace", kind: "flag", help: "take down the sandbox that has the name first" },
  {
    name: "socket",
    kind: "value",
    value: "PATH",
    help: "let the daemon that serves there do it, which may have a sandbox ready (serve --pool)",
  },
];
