import { type SettingTable, textsOf } from "../pod/setting.ts";
import { SETTINGS } from "../pod/settings.ts";
import type { OptionSpec } from "./command.ts";
import { NAMESPACE } from "./namespace_option.ts";

/** The options of `run` before those of the network settings. */
const SANDBOX_OPTIONS: readonly OptionSpec[] = [
  NAMESPACE,
  { name: "uid", kind: "value", value: "UID", help: "the pod UID that plugins get (default: the ID)" },
  { name: "id", kind: "value", value: "ID", help: "the container ID (default: a random one)" },
  {
    name: "netns",
    kind: "value",
    value: "NETNS",
    help: "use this network namespace: its path, or its name for ip-netns",
  },
  { name: "pid", kind: "value", value: "PID", help: "use the network namespace of this process" },
  { name: "infra", kind: "flag", help: "start an infra container that holds the namespace" },
  {
    name: "host-network",
    kind: "flag",
    help: "use the network namespace of the host: it gets no networks and is not changed",
  },
  {
    name: "sysctl",
    kind: "list",
    value: "net.K=V",
    help:
      "a sysctl of the network namespace, repeatable, set before the networks are attached; with --infra one of IPC too",
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
    help: "the OCI runtime for --infra (default runc); the timeouts of ADD and DEL are for it too",
  },
  {
    name: "network",
    kind: "list",
    value: "NET[:IFNAME][,KEY=VALUE...]",
    help: "a network, repeatable, or none (default: the default network)",
  },
];

/** The options of `run` after those of the network settings. */
const LAST_OPTIONS: readonly OptionSpec[] = [
  { name: "allow-overlap", kind: "flag", help: "the subnets of its networks may overlap" },
  { name: "replace", kind: "flag", help: "first remove the sandbox that has the name" },
  {
    name: "socket",
    kind: "value",
    value: "PATH",
    help: "let the daemon at this socket make it, which may have a warm sandbox (serve --pool)",
  },
];

/** Returns the options of `run`, with a flag for each setting of the table. */
export function runOptions(table: SettingTable = SETTINGS): readonly OptionSpec[] {
  const flags = textsOf(table).flatMap(({ flag, once, placeholder }): OptionSpec[] =>
    flag === undefined ? [] : [{ ...flag, kind: once ? "value" : "list", value: placeholder }]
  );
  return [...SANDBOX_OPTIONS, ...flags, ...LAST_OPTIONS];
}
