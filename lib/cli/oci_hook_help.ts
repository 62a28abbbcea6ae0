import type { Command, OptionSpec } from "./command.ts";
import { LIMIT_OPTION, RULE_OPTIONS } from "./oci_rules.ts";

const OPTIONS: readonly OptionSpec[] = [
  LIMIT_OPTION,
  { name: "dir", kind: "value", value: "DIR", help: "config: write the files there" },
  {
    name: "program",
    kind: "value",
    value: "PATH",
    help: "config: the program that the hook runs (default: this one)",
  },
  ...RULE_OPTIONS,
];

const DESCRIPTION =
  `STAGE is createRuntime or poststop: reads the container's state on standard input, as OCI runtimes hand it to
their hooks, and gives the container the networks that its annotations ask for, or takes them down. The sandbox
has the container's ID. A container without such annotations is left alone. poststop never fails for what cannot
be torn down: that is told, stays on record and is tried again.

  podwire.networks   the networks, as --network of run has them, between commas or one a line; none for lo only;
                     empty or default for the default network
  podwire.ports      ports to publish, as --publish
  podwire.ip, podwire.mac, podwire.bandwidth, podwire.dns
                     asked of the first network, as --ip, --mac, --bandwidth and --dns
  podwire.args       K=V for all networks, as --arg
  podwire.name, podwire.namespace, podwire.uid
                     of the sandbox (default: the container's ID, default, the container's ID)

An annotation is written by the author of a container, who need not be who administers the host. So one may only
name networks, until --allow-annotation, --allow-host-ports and --allow-network say otherwise; given to config,
they stand in the file of createRuntime (and --limit in that of poststop). What is not allowed keeps the container from starting.

When a container's process has ended and its runtime has no such container, though nobody called poststop, as after
a start that failed, then recover, gc, the daemon and the next createRuntime take its networks down.

Lists stand between commas or one item a line. Runtimes give hooks an empty environment: what differs from the
defaults has to stand among the options of the hook.

STAGE config prints the files for a hooks.d directory of Podman or CRI-O, one for each stage, with the global
options that it is given; with createRuntime or poststop behind it, the file of that stage alone.`;

/** The command as the manual has it; what it does is loaded when it is called. */
export const OCI_HOOK: Omit<Command, "load"> = {
  name: "oci-hook",
  summary: "Give the containers of an OCI runtime their networks, by annotations",
  operands: "STAGE",
  count: [1, 2],
  options: OPTIONS,
  description: DESCRIPTION,
  examples: [
    "podwire oci-hook config --dir /etc/containers/oci/hooks.d",
    "podwire oci-hook config --allow-annotation ip --allow-host-ports 8000-8999 createRuntime",
    "podman run --network none --annotation podwire.networks=web:eth0,ip=10.1.0.5 alpine ip addr",
  ],
  needsRoot: false,
};
