import { DRIVER_OPTIONS, DRIVERS } from "../network/network_request.ts";
import type { Command, OptionSpec } from "./command.ts";
import { NAMESPACE } from "./namespace_option.ts";

const CREATE_OPTIONS: readonly OptionSpec[] = [
  {
    name: "driver",
    alias: "d",
    kind: "value",
    value: "DRIVER",
    help: `${DRIVERS.join(", ")} (default bridge)`,
  },
  {
    name: "subnet",
    kind: "list",
    value: "CIDR",
    help: "a subnet, repeatable; a container gets an address of each (default: a free one)",
  },
  {
    name: "pod-cidr",
    kind: "list",
    value: "CIDR",
    help:
      "the network of the node's pods, repeatable: a subnet, or what fills the template (default: that of a kubelet)",
  },
  {
    name: "template",
    kind: "value",
    value: "FILE",
    help: "a configuration list with {{podCIDR}}, or with the variables of containerd's conf_template",
  },
  { name: "gateway", kind: "list", value: "IP", help: "the gateway of the subnet that it is in, repeatable" },
  {
    name: "range",
    kind: "list",
    value: "FIRST-LAST|CIDR",
    help: "what addresses are chosen from in the subnet that it is in, repeatable",
  },
  { name: "ipv6", kind: "flag", help: "a subnet of IPv6 too, chosen unless one is given" },
  { name: "internal", kind: "flag", help: "containers reach only each other and this host" },
  {
    name: "isolate",
    kind: "flag",
    help:
      "its containers and those of other isolated networks, also the embedded one, reach only published ports of each other",
  },
  { name: "publishable", kind: "flag", help: "ports of the host can be published although it is --internal" },
  { name: "mtu", kind: "value", value: "BYTES", help: "the largest packet (default: that of the kernel)" },
  { name: "vlan", kind: "value", value: "ID", help: "the VLAN of the ports of the bridge, 1 to 4094" },
  { name: "dns", kind: "list", value: "IP", help: "a name server, repeatable" },
  {
    name: "option",
    alias: "o",
    kind: "list",
    value: "KEY=VALUE",
    help: "an option of the driver, repeatable",
  },
  {
    name: "pool",
    kind: "list",
    value: "CIDR",
    help: "what a subnet is chosen from, repeatable (default: private networks)",
  },
  { name: "allow-overlap", kind: "flag", help: "the subnet may overlap with routes and other networks" },
];

/** Returns what the help says about the options of the drivers. */
function optionHelp(): string {
  return Object.entries(DRIVER_OPTIONS).flatMap(([driver, options]) =>
    Object.entries(options).map(([key, { help, values }]) => {
      const choice = values === undefined || help.includes(values[0] ?? "") ? "" : `: ${values.join(", ")}`;
      return `  ${`${driver} ${key}`.padEnd(20)} ${help}${choice}`;
    })
  ).join("\n");
}

/** The commands on networks. */
export const NETWORK_COMMANDS: readonly Command[] = [
  {
    name: "network create",
    summary: "Create a network: a file that any CNI runtime can use",
    operands: "NAME",
    count: [1, 1],
    options: CREATE_OPTIONS,
    description:
      "Writes NAME.conflist into the configuration directory, whole or not at all. A subnet that is equal to or narrower than a\n" +
      "route or an address of this host is refused, and so is one that overlaps with another network. A network of macvlan or\n" +
      "ipvlan may share the subnet of its parent, and one on a bridge of another owner that of the bridge. A wider route, such\n" +
      "as that of a VPN, is only a warning. The embedded network stays the default.\n\n" +
      "This host and the containers on a macvlan or ipvlan do not reach each other, because the kernel keeps them apart. Where\n" +
      "they have to, make a bridge, put the interface of the host into it, and name it: --driver bridge -o bridge=br0.\n\n" +
      `Options of the drivers:\n${optionHelp()}`,
    examples: [
      "podwire network create back --internal",
      "podwire network create web --subnet 10.20.0.0/24 --range 10.20.0.100-10.20.0.199 --ipv6 --isolate",
      "podwire network create lan --driver macvlan --subnet 192.168.1.0/24 --gateway 192.168.1.1 -o parent=eth0",
    ],
    needsRoot: true,
    load: async () => (await import("./network_create.ts")).networkCreate,
  },
  {
    name: "network ls",
    summary: "List the networks that sandboxes can use",
    operands: "",
    count: [0, 0],
    options: [{ name: "quiet", alias: "q", kind: "flag", help: "only names" }],
    description: "`networks` lists the files, also those that cannot be used.",
    needsRoot: false,
    load: async () => (await import("./network.ts")).networkLs,
  },
  {
    name: "network rm",
    summary: "Remove networks that `network create` made",
    operands: "NAME...",
    count: [1, Infinity],
    options: [],
    description:
      "Refuses while a container is attached, also by another runtime. Files that podwire has not made stay.",
    needsRoot: true,
    load: async () => (await import("./network.ts")).networkRm,
  },
  {
    name: "network inspect",
    summary: "Show a network and the containers that are attached to it",
    operands: "NAME",
    count: [1, 1],
    options: [],
    needsRoot: false,
    load: async () => (await import("./network.ts")).networkInspect,
  },
  {
    name: "network set",
    summary: "Set the MTU of the embedded network",
    operands: "NAME",
    count: [1, 1],
    options: [{
      name: "mtu",
      kind: "value",
      value: "BYTES",
      help: "the largest packet of a container; `default` for that of the default route",
    }],
    description:
      "It is remembered, for containers that are attached from now on; those that are attached keep theirs. Without it the\n" +
      "first container gets the MTU of the interface that the default route leads through, and the others that of the first.\n" +
      '`status` warns if the interface takes less now. Other networks have a file, in which "mtu" says it.',
    examples: ["podwire network set podwire --mtu 1420", "podwire network set podwire --mtu default"],
    needsRoot: true,
    load: async () => (await import("./network.ts")).networkSet,
  },
  {
    name: "network connect",
    summary: "Connect a ready sandbox to one more network",
    operands: "SANDBOX NET[:IFNAME][,KEY=VALUE...]",
    count: [2, 2],
    options: [NAMESPACE, {
      name: "allow-overlap",
      kind: "flag",
      help: "its subnets may overlap with those of the other networks of the sandbox",
    }],
    description:
      "The keys are those of `run --network`. The default routes of the sandbox stay as they are, unless default-route asks for\n" +
      "another or one is missing. If it fails, nothing has changed.",
    examples: ["podwire network connect web back", "podwire network connect web storage:eth3,ip=10.1.0.5"],
    needsRoot: true,
    load: async () => (await import("./network_connect.ts")).networkConnect,
  },
  {
    name: "network disconnect",
    summary: "Disconnect a sandbox from a network",
    operands: "SANDBOX NETWORK",
    count: [2, 2],
    options: [NAMESPACE, {
      name: "ifname",
      alias: "i",
      kind: "value",
      value: "IFNAME",
      help: "only this interface (default: all to the network)",
    }],
    description:
      "If the network had the default route, the next one whose configuration makes one takes its place.",
    needsRoot: true,
    load: async () => (await import("./network_connect.ts")).networkDisconnect,
  },
];
