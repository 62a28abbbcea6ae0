import type { Command, OptionSpec } from "./command.ts";
import { networkHelp } from "./network_help.ts";
import { ociHookCommand } from "./oci_hook_help.ts";
import { runOptions } from "./run_options.ts";
import { SERVE } from "./serve_command.ts";

const NAMESPACE: OptionSpec = {
  name: "namespace",
  kind: "value",
  value: "NAMESPACE",
  help: "where the name is looked for (default: default)",
};

const NAME_HELP = "NAME is a name, an ID, or an unambiguous prefix (four characters at least) of an ID.";

const ATTACH_OPTIONS: readonly OptionSpec[] = [
  {
    name: "ifname",
    alias: "i",
    kind: "value",
    value: "IFNAME",
    help: "interface (env CNI_IFNAME; default eth0)",
  },
  {
    name: "id",
    kind: "value",
    value: "ID",
    help: "container ID (default: made from the path, as cnitool does)",
  },
];

const ATTACH_HELP =
  "NETNS is a path, or the name of one that `ip netns list` shows. Reads CNI_PATH, NETCONFPATH, CAP_ARGS (a JSON\n" +
  "object), CNI_ARGS (K=V;K2=V2) and CNI_IFNAME.";

/** Of no use here; taken so that what is written for cnitool works. */
const IGNORED_IFNAME: OptionSpec = {
  name: "ifname",
  alias: "i",
  kind: "value",
  value: "IFNAME",
  help: "of no effect; taken as cnitool takes it",
};

const GC_OPTIONS: readonly OptionSpec[] = [
  { name: "dry-run", kind: "flag", help: "only say what would be removed, and why" },
  {
    name: "valid",
    kind: "list",
    value: "ID:IFNAME",
    help: "this attachment is in use, repeatable; all others made by hand are removed",
  },
  { name: "all", kind: "flag", help: "no attachment made by hand is in use: remove them all" },
  IGNORED_IFNAME,
];

/** All commands, in the order of the manual. */
export const COMMANDS: readonly Command[] = [
  {
    name: "run",
    summary: "Make a sandbox: a network namespace with lo and all of its networks, or nothing at all",
    operands: "[NAME]",
    count: [0, 1],
    options: runOptions(),
    description: networkHelp(),
    examples: [
      "podwire run web",
      "podwire run db --network storage:eth1 --ip 10.1.0.5 --json",
      "podwire run gate --network web:eth0,ip=10.1.0.5 --network back:net1,ip=10.2.0.5,alias=gate",
      "podwire run alone --network none",
      "podwire run job --pid 4711 --label app=job --sysctl net.ipv4.ip_unprivileged_port_start=0",
      "podwire run web --socket /run/podwire/podwire.sock",
    ],
    needsRoot: true,
    load: async () => (await import("./run.ts")).run,
  },
  {
    name: "stop",
    summary: "Take the network of sandboxes down and keep their records",
    operands: "NAME...",
    count: [1, Infinity],
    options: [NAMESPACE],
    description: `${NAME_HELP} Stopping a stopped sandbox does nothing.`,
    needsRoot: true,
    load: async () => (await import("./sandbox.ts")).stop,
  },
  {
    name: "rm",
    summary: "Take the network of sandboxes down and forget them",
    operands: "NAME...",
    count: [1, Infinity],
    options: [
      NAMESPACE,
      {
        name: "force",
        alias: "f",
        kind: "flag",
        help: "also if it is gone, or its network cannot be torn down",
      },
    ],
    description: NAME_HELP,
    needsRoot: true,
    load: async () => (await import("./sandbox.ts")).rm,
  },
  {
    name: "ps",
    summary: "List the sandboxes",
    operands: "",
    count: [0, 0],
    options: [
      { ...NAMESPACE, help: "only those of this namespace" },
      {
        name: "filter",
        kind: "list",
        value: "KEY=VALUE",
        help: "only those of this state, name, id (its beginning) or label (K or K=V), repeatable",
      },
      { name: "quiet", alias: "q", kind: "flag", help: "only IDs" },
    ],
    description:
      "Of several filters all have to hold. A sandbox is ready, stopped, or broken: then `inspect` says why,\n" +
      "`rm` removes it and `recover` takes down what is left of it.",
    examples: [
      "podwire ps --filter state=broken",
      "podwire ps -q --filter label=app=web --filter label=canary",
    ],
    needsRoot: false,
    load: async () => (await import("./sandbox.ts")).ps,
  },
  {
    name: "inspect",
    summary: "Show a sandbox",
    operands: "NAME",
    count: [1, 1],
    options: [NAMESPACE],
    description:
      `${NAME_HELP}\nOf a broken one it says why, and what the OCI runtime of its infra container says.`,
    needsRoot: false,
    load: async () => (await import("./sandbox.ts")).inspect,
  },
  {
    name: "exec",
    summary: "Run a command inside the network namespace of a sandbox",
    operands: "NAME -- CMD [ARG...]",
    count: [1, Infinity],
    options: [NAMESPACE],
    description: `${NAME_HELP} The exit code is that of CMD.`,
    examples: ["podwire exec web -- ip -br addr"],
    needsRoot: true,
    load: async () => (await import("./sandbox.ts")).exec,
  },
  {
    name: "add",
    summary: "Attach a network namespace to a network and print the CNI result",
    operands: "NETWORK NETNS",
    count: [2, 2],
    options: ATTACH_OPTIONS,
    description: `${ATTACH_HELP}\n` +
      "An interface of that name that is there already is in the way, whoever made it, unless the first plugin of\n" +
      "NETWORK works on existing ones: bandwidth, firewall, loopback, portmap, route-override, sbr, tuning, vrf,\n" +
      'istio-cni, linkerd-cni, or any with "podwireExistingLink": true.',
    needsRoot: true,
    load: async () => (await import("./attachment.ts")).add,
  },
  {
    name: "check",
    summary: "Ask the plugins whether an attachment is as it should be",
    operands: "NETWORK NETNS",
    count: [2, 2],
    options: ATTACH_OPTIONS,
    description: ATTACH_HELP,
    needsRoot: true,
    load: async () => (await import("./attachment.ts")).check,
  },
  {
    name: "del",
    summary: "Detach a network namespace from a network",
    operands: "NETWORK NETNS",
    count: [2, 2],
    options: [
      ...ATTACH_OPTIONS,
      {
        name: "force-foreign",
        kind: "flag",
        help: "let the plugins remove the interface though nothing says that it was attached",
      },
    ],
    description: `${ATTACH_HELP}\n` +
      "What is neither on record nor in libcni's cache is detached without its interface, which may be that of\n" +
      "others: the plugins free what they keep of it.",
    needsRoot: true,
    load: async () => (await import("./attachment.ts")).del,
  },
  {
    name: "status",
    summary: "Ask the plugins whether networks can attach containers now",
    operands: "[NETWORK [NETNS]]",
    count: [0, 2],
    options: [
      {
        name: "grace",
        kind: "value",
        value: "DURATION",
        help: "a network that was ready and fails still counts as ready for so long (default: not at all)",
      },
      IGNORED_IFNAME,
    ],
    description:
      "Without NETWORK shows all networks. With it says nothing if the network is ready, else why it is\n" +
      "not; NETNS is of no effect, as with cnitool. A network is ready if its plugins are there, support\n" +
      "its version and, from version 1.1.0 on, say so. Exits 6 if a network is not, if there is none, or\n" +
      "if the default network is missing; a file that cannot be used is shown, and is no reason to.",
    examples: ["podwire status", "until podwire status web; do sleep 1; done", "podwire status --grace 30s"],
    needsRoot: false,
    load: async () => (await import("./status.ts")).status,
  },
  {
    name: "gc",
    summary: "Remove the attachments that nobody owns, and let the plugins release what belongs to none",
    operands: "[NETWORK [NETNS]]",
    count: [0, 2],
    options: GC_OPTIONS,
    description:
      "An attachment whose sandbox is there is in use, one whose sandbox is gone is not. One made by hand\n" +
      "(`add`) is kept unless --valid names others or --all is given. Those of other runtimes are never\n" +
      "removed, and count as in use. Without NETWORK, network namespaces and infra containers that podwire\n" +
      "made and no sandbox owns go too, if no process is in them. What somebody works on is kept; the plugins\n" +
      "are asked to clean up in a moment in which nothing is attached or detached. NETNS is of no effect, as\n" +
      "with cnitool. Exits 1 if something failed.",
    examples: ["podwire gc --dry-run", "podwire gc web --valid cnitool-78367785f8561ce49ede:eth0"],
    needsRoot: true,
    load: async () => (await import("./gc.ts")).gc,
  },
  {
    name: "recover",
    summary: "Finish or undo what a crash or a reboot interrupted, and retry failed removals",
    operands: "",
    count: [0, 0],
    options: [],
    description:
      "Several containers at once, and several calls share the work: what somebody works on is left to them.\n" +
      "Exits 1 if something could not be removed.",
    needsRoot: true,
    load: async () => (await import("./recover.ts")).recover,
  },
  {
    name: "repair",
    summary: "Make damaged records of sandboxes anew from what else is on record",
    operands: "[NAME]",
    count: [0, 1],
    options: [NAMESPACE, { name: "dry-run", kind: "flag", help: "only say what would be done" }],
    description: `${NAME_HELP} Without NAME all that are damaged.\n` +
      "A record of which one bit is wrong becomes what it was. Another one is made from the records of the attachments,\n" +
      "the namespace and the index of names; it is said what is not known any more. The damaged record is moved aside.\n" +
      "What a newer version of podwire wrote is left alone. Exits 1 if something could not be repaired.",
    examples: ["podwire repair --dry-run", "podwire repair web"],
    needsRoot: true,
    load: async () => (await import("./repair.ts")).repair,
  },
  {
    name: "networks",
    summary: "Show what became of each file of the configuration directory",
    operands: "",
    count: [0, 0],
    options: [],
    needsRoot: false,
    load: async () => (await import("./network.ts")).networks,
  },
  {
    name: "attachments",
    summary: "List what is attached, and what could not be detached",
    operands: "[CONTAINER]",
    count: [0, 1],
    options: [
      { name: "failed", kind: "flag", help: "only what could not be detached" },
      { name: "network", kind: "value", value: "NETWORK", help: "only those to this network" },
    ],
    description:
      "CONTAINER is the ID that plugins know the container by. AGE is for how long it has been in its state.",
    examples: ["podwire attachments --failed"],
    needsRoot: false,
    load: async () => (await import("./attachment.ts")).attachments,
  },
  {
    name: "forget",
    summary: "Let go of attachments that cannot be detached, and say what may be left behind",
    operands: "ID [IFNAME] [NETWORK]",
    count: [1, 3],
    options: [
      { name: "reason", kind: "value", value: "TEXT", help: "why; it is written into the log (required)" },
      { name: "dry-run", kind: "flag", help: "only say what would be freed, and what may be left behind" },
    ],
    description:
      "ID is the ID that plugins know the container by. DEL is tried a last time; if it fails, what carries the\n" +
      "mark of the attachment is freed without its plugins (veth pairs, rules of masquerading, addresses of\n" +
      "host-local) and the record goes. What is attached and can be detached is refused.",
    examples: [
      "podwire forget 78367785f8561ce49ede --reason 'the plugin was uninstalled' --dry-run",
      "podwire forget 78367785f8561ce49ede eth0 web --reason 'its master is gone'",
    ],
    needsRoot: true,
    load: async () => (await import("./forget.ts")).forget,
  },
  {
    name: "plugin",
    summary: "Be a CNI plugin: loopback, bridge or host-local",
    operands: "TYPE",
    count: [1, 1],
    options: [],
    description: "Speaks CNI on its environment and standard input, so that any runtime can call it:\n" +
      "  printf '#!/bin/sh\\nexec podwire plugin bridge\\n' >/opt/cni/bin/bridge",
    needsRoot: false,
    load: async () => (await import("./plugin.ts")).plugin,
  },
  { ...ociHookCommand(), load: async () => (await import("./oci_hook.ts")).ociHook },
  SERVE,
  {
    name: "demo",
    summary: "Show two sandboxes that talk to each other, on any Linux machine, and clean up",
    operands: "",
    count: [0, 0],
    options: [],
    needsRoot: true,
    load: async () => (await import("./demo.ts")).demo,
  },
  {
    name: "completion",
    summary: "Print a completion script",
    operands: "bash|zsh|fish",
    count: [1, 1],
    options: [],
    examples: ["podwire completion bash >/etc/bash_completion.d/podwire"],
    needsRoot: false,
    load: async () => (await import("./completion.ts")).completion(COMMANDS),
  },
];
