import type { SettingTable } from "../pod/setting.ts";
import { SETTINGS } from "../pod/settings.ts";
import type { Command, OptionSpec } from "./command.ts";
import { type AnnotatedText, annotatedTexts } from "./oci_annotations.ts";
import { LIMIT_OPTION, ruleOptions } from "./oci_rules.ts";

const OWN_OPTIONS: readonly OptionSpec[] = [
  LIMIT_OPTION,
  { name: "dir", kind: "value", value: "DIR", help: "config: write the files to this directory" },
  {
    name: "program",
    kind: "value",
    value: "PATH",
    help: "config: the program that the hook runs (default: this one)",
  },
];

const COLUMN = 19;

function descriptionOf(table: SettingTable): string {
  return `STAGE is createRuntime or poststop. Both read the container's state on standard input, as OCI runtimes give it to
their hooks. createRuntime gives the container the networks that its annotations ask for; poststop tears them down.
The sandbox has the container's ID. A container without such annotations is left alone. poststop never fails for
what cannot be torn down: that is logged, stays on record and is tried again.

  podwire.networks   the networks, as --network of run takes them, between commas or one a line; none for lo only;
                     empty or default for the default network
${annotatedTexts(table).map(lineOf).join("\n")}
  podwire.name, podwire.namespace, podwire.uid
                     of the sandbox (default: the container's ID, default, the container's ID)

The author of an annotation need not be the administrator of the host. So annotations may only name networks, unless
--allow-annotation, --allow-host-ports and --allow-network allow more. Given to config, these are written to the file
of createRuntime, and --limit to that of poststop. A container that asks for more does not start.

A container may end without poststop, as after a start that failed. Once its process has ended and its runtime does
not know it any more, recover, gc, the daemon and the next createRuntime tear its networks down.

Lists are written between commas or one item a line. Runtimes give hooks an empty environment: give what differs from
the defaults as options of the hook.

STAGE config prints the files for a hooks.d directory of Podman or CRI-O, one for each stage, with the global
options that it is given; with createRuntime or poststop behind it, the file of that stage alone.`;
}

function lineOf({ name, setting, text }: AnnotatedText): string {
  const whose = setting.scope === "all" ? "for all networks" : "for the first network";
  const how = text.flag === undefined ? text.placeholder : `as --${text.flag.name} of run`;
  return `  ${name.padEnd(COLUMN)}${how}, ${whose}`;
}

/** Returns the command as the manual has it; what it does is loaded when it is called. */
export function ociHookCommand(table: SettingTable = SETTINGS): Omit<Command, "load"> {
  return {
    name: "oci-hook",
    summary: "Give the containers of an OCI runtime their networks, by annotations",
    operands: "STAGE",
    count: [1, 2],
    options: [...OWN_OPTIONS, ...ruleOptions(table)],
    description: descriptionOf(table),
    examples: [
      "podwire oci-hook config --dir /etc/containers/oci/hooks.d",
      "podwire oci-hook config --allow-annotation ip --allow-host-ports 8000-8999 createRuntime",
      "podman run --network none --annotation podwire.networks=web:eth0,ip=10.1.0.5 alpine ip addr",
    ],
    needsRoot: false,
  };
}
