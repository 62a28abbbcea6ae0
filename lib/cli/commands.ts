import type { Command, OptionSpec } from "./command.ts";
import { NAME_HELP, NAMESPACE } from "./namespace_option.ts";
import { STATS } from "./stats_option.ts";
import { LINT, SCHEMA } from "./lint_command.ts";
import { NETWORK_COMMANDS } from "./network_commands.ts";
import { networkHelp } from "./network_help.ts";
import { NRI } from "./nri_command.ts";
import { ociHookCommand } from "./oci_hook_help.ts";
import { PLAN, SHOW_SECRETS } from "./plan_command.ts";
import { PORT } from "./port_command.ts";
import { REPAIR } from "./repair_command.ts";
import { runOptions } from "./run_options.ts";
import { SERVE } from "./serve_command.ts";

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
    help: "container ID (default: derived from the path, as cnitool does)",
  },
];

const ATTACH_HELP =
  "NETNS is a path, or a name that `ip netns list` shows. The command reads the variables CNI_PATH, NETCONFPATH,\n" +
  "CAP_ARGS (a JSON object), CNI_ARGS (K=V;K2=V2) and CNI_IFNAME.";

/** Has no effect. It is accepted so that command lines for cnitool work. */
const IGNORED_IFNAME: OptionSpec = {
  name: "ifname",
  alias: "i",
  kind: "value",
  value: "IFNAME",
  help: "no effect; accepted because cnitool accepts it",
};

const GC_OPTIONS: readonly OptionSpec[] = [
  { name: "dry-run", kind: "flag", help: "only print what would be removed, and why" },
  {
    name: "valid",
    kind: "list",
    value: "ID:IFNAME",
    help: "an attachment that is in use, repeatable; all others that were made by hand are removed",
  },
  { name: "all", kind: "flag", help: "remove all attachments that were made by hand" },
  IGNORED_IFNAME,
];

/** All commands, in the order of the manual. */
export const COMMANDS: readonly Command[] = [
  {
    name: "run",
    summary: "Make a sandbox: a network namespace with lo and all its networks, or nothing",
    operands: "[NAME]",
    count: [0, 1],
    options: [
      ...runOptions(),
      { name: "dry-run", kind: "flag", help: "only print what would be done, as `plan` does" },
      SHOW_SECRETS,
    ],
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
  PLAN,
  {
    name: "stop",
    summary: "Tear down the networks of sandboxes and keep their records",
    operands: "NAME...",
    count: [1, Infinity],
    options: [NAMESPACE],
    description: `${NAME_HELP} Stopping a stopped sandbox does nothing.`,
    needsRoot: true,
    load: async () => (await import("./sandbox.ts")).stop,
  },
  {
    name: "rm",
    summary: "Tear down the networks of sandboxes and delete their records",
    operands: "NAME...",
    count: [1, Infinity],
    options: [
      NAMESPACE,
      {
        name: "force",
        alias: "f",
        kind: "flag",
        help: "succeed also if the sandbox does not exist or its network cannot be torn down",
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
      { ...NAMESPACE, help: "only those in this namespace" },
      {
        name: "filter",
        kind: "list",
        value: "KEY=VALUE",
        help: "only those with this state, name, id (a prefix) or label (K or K=V), repeatable",
      },
      { name: "quiet", alias: "q", kind: "flag", help: "only IDs" },
      STATS,
    ],
    description:
      "A sandbox has to match all filters. It is ready, stopped or broken. For a broken sandbox, `inspect` shows why,\n" +
      "`rm` removes it, and `recover` removes what is left of it.",
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
    options: [NAMESPACE, STATS],
    description:
      `${NAME_HELP}\nFor a broken sandbox it shows why, and the state that the OCI runtime gives for its infra container.`,
    needsRoot: false,
    load: async () => (await import("./sandbox.ts")).inspect,
  },
  PORT,
  {
    name: "exec",
    summary: "Run a command in a sandbox",
    operands: "NAME -- CMD [ARG...]",
    count: [1, Infinity],
    options: [NAMESPACE, {
      name: "infra",
      kind: "flag",
      help: "in all namespaces of its infra container, with the files of that",
    }],
    description: `${NAME_HELP} The exit code is that of CMD.\n` +
      "CMD finds the hosts and resolv.conf of the sandbox in /etc, the interfaces of its network namespace in /sys, and the\n" +
      "files of /etc/netns/NAME in /etc, as with `ip netns exec`. No mount of the host changes. If the sandbox has an infra\n" +
      "container, CMD also runs in the process, IPC and UTS namespaces of that.",
    examples: ["podwire exec web -- ip -br addr", "podwire exec web -- getent hosts db"],
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
      "The command fails if the interface exists already, unless the first plugin of NETWORK works on existing\n" +
      "interfaces: bandwidth, firewall, loopback, portmap, route-override, sbr, tuning, vrf, istio-cni, linkerd-cni,\n" +
      'or any with "podwireExistingLink": true.',
    needsRoot: true,
    load: async () => (await import("./attachment.ts")).add,
  },
  {
    name: "check",
    summary: "Let the plugins check an attachment, or all networks of a sandbox",
    operands: "NETWORK NETNS | SANDBOX",
    count: [1, 2],
    options: [...ATTACH_OPTIONS, NAMESPACE],
    description:
      `${ATTACH_HELP}\nWith SANDBOX alone, --namespace names the namespace of its name. Exits 1 if something is wrong.`,
    needsRoot: true,
    load: async () => (await import("./check.ts")).check,
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
        help: "let the plugins remove the interface although no record says that it was attached",
      },
    ],
    description: `${ATTACH_HELP}\n` +
      "If the attachment is neither on record nor in libcni's cache, the plugins only free what they keep for it: the\n" +
      "interface stays, because it may belong to something else.",
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
        help: "how long a network that was ready and fails still counts as ready (default: not at all)",
      },
      IGNORED_IFNAME,
    ],
    description:
      "Without NETWORK, shows all networks. With NETWORK, prints nothing if the network is ready, else the reason why\n" +
      "not. NETNS has no effect, as with cnitool. A network is ready if its plugins exist, support its version and,\n" +
      "from version 1.1.0 on, say that they are ready. Exits 6 if a network is not ready, if there is no network, or if\n" +
      "the default network is missing. An unusable file is listed but does not change the exit code.",
    examples: ["podwire status", "until podwire status web; do sleep 1; done", "podwire status --grace 30s"],
    needsRoot: false,
    load: async () => (await import("./status.ts")).status,
  },
  {
    name: "gc",
    summary:
      "Remove attachments without an owner, and let the plugins release resources without an attachment",
    operands: "[NETWORK [NETNS]]",
    count: [0, 2],
    options: GC_OPTIONS,
    description:
      "An attachment is in use if its sandbox exists. One that was made by hand (`add`) is kept unless --valid names\n" +
      "others or --all is given. Attachments of other runtimes are never removed, and count as in use. Without NETWORK,\n" +
      "also removes network namespaces and infra containers that podwire made and no sandbox owns, if no process is in\n" +
      "them. What another operation works on is kept. The plugins clean up while nothing is attached or detached. NETNS\n" +
      "has no effect, as with cnitool. Exits 1 if something failed.",
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
      "Works on several containers at once. Several calls share the work: each skips what another operation works on.\n" +
      "Exits 1 if something could not be removed.",
    needsRoot: true,
    load: async () => (await import("./recover.ts")).recover,
  },
  REPAIR,
  {
    name: "networks",
    summary: "List the files of the configuration directory and how each is used",
    operands: "",
    count: [0, 0],
    options: [],
    needsRoot: false,
    load: async () => (await import("./network.ts")).networks,
  },
  LINT,
  SCHEMA,
  ...NETWORK_COMMANDS,
  {
    name: "attachments",
    summary: "List the attachments, also those that could not be detached",
    operands: "[CONTAINER]",
    count: [0, 1],
    options: [
      { name: "failed", kind: "flag", help: "only those that could not be detached" },
      { name: "network", kind: "value", value: "NETWORK", help: "only those to this network" },
    ],
    description:
      "CONTAINER is the container ID that plugins get. AGE is the time since the last change of the state.",
    examples: ["podwire attachments --failed"],
    needsRoot: false,
    load: async () => (await import("./attachments.ts")).attachments,
  },
  {
    name: "forget",
    summary: "Delete the records of attachments that cannot be detached, and print what may be left behind",
    operands: "ID [IFNAME] [NETWORK]",
    count: [1, 3],
    options: [
      { name: "reason", kind: "value", value: "TEXT", help: "the reason, which is logged (required)" },
      { name: "dry-run", kind: "flag", help: "only print what would be freed, and what may be left behind" },
    ],
    description:
      "ID is the container ID that plugins get. The command tries DEL a last time. If it fails, podwire frees what is\n" +
      "marked with the attachment without its plugins (veth pairs, masquerading rules, addresses of host-local) and\n" +
      "deletes the record. An attachment that can be detached is refused.",
    examples: [
      "podwire forget 78367785f8561ce49ede --reason 'the plugin was uninstalled' --dry-run",
      "podwire forget 78367785f8561ce49ede eth0 web --reason 'its master is gone'",
    ],
    needsRoot: true,
    load: async () => (await import("./forget.ts")).forget,
  },
  {
    name: "plugin",
    summary: "Run as a built-in CNI plugin, such as bridge",
    operands: "TYPE",
    count: [1, 1],
    options: [],
    description:
      "Uses the CNI protocol on its environment and standard input, so that any runtime can call it:\n" +
      "  printf '#!/bin/sh\\nexec podwire plugin bridge\\n' >/opt/cni/bin/bridge",
    needsRoot: false,
    load: async () => (await import("./plugin.ts")).plugin,
  },
  { ...ociHookCommand(), load: async () => (await import("./oci_hook.ts")).ociHook },
  SERVE,
  NRI,
  {
    name: "demo",
    summary: "Show traffic between two sandboxes on this machine, and clean up",
    operands: "",
    count: [0, 0],
    options: [],
    needsRoot: true,
    load: async () => (await import("./demo.ts")).demo,
  },
  {
    name: "completion",
    summary: "Print a completion script for a shell",
    operands: "bash|zsh|fish",
    count: [1, 1],
    options: [],
    examples: ["podwire completion bash >/etc/bash_completion.d/podwire"],
    needsRoot: false,
    load: async () => (await import("./completion.ts")).completion(COMMANDS),
  },
];
