import type { Command } from "./command.ts";

/** The command that makes podwire a plugin of a container engine. */
export const NRI: Command = {
  name: "nri",
  summary: "Be a plugin of containerd or CRI-O: attach their pods to more networks, which annotations name",
  operands: "",
  count: [0, 0],
  options: [
    {
      name: "socket",
      kind: "value",
      value: "PATH",
      help: "the engine's socket of NRI (default /var/run/nri/nri.sock)",
    },
    {
      name: "index",
      kind: "value",
      value: "NN",
      help: "two digits: the engine calls its plugins in their order (default 50)",
    },
    {
      name: "name",
      kind: "value",
      value: "NAME",
      help: "the name among the plugins, for the engine's list of required ones (default podwire)",
    },
    {
      name: "policy",
      kind: "value",
      value: "FILE",
      help: "which pods may use which networks (default /etc/podwire/nri.json)",
    },
    {
      name: "http-socket",
      kind: "value",
      value: "PATH",
      help: "where it answers by HTTP, as `serve` does (default /run/podwire/nri.sock)",
    },
    {
      name: "gc-interval",
      kind: "value",
      value: "DURATION",
      help: "how often resources without an owner are removed (default: never)",
    },
    {
      name: "drain-timeout",
      kind: "value",
      value: "DURATION",
      help: "time limit for what runs at shutdown; it is then cancelled and undone (default 30s)",
    },
    {
      name: "no-dhcp",
      kind: "flag",
      help: "do not start the daemon of the plugin dhcp, nor renew leases that it has lost",
    },
    {
      name: "print-unit",
      kind: "flag",
      help: "print a unit file for systemd with the other options, and exit",
    },
  ],
  description:
    "The engine keeps its own network; podwire adds interfaces to those pods whose annotation podwire.dev/networks or\n" +
    "k8s.v1.cni.cncf.io/networks asks for them, and whose namespace the policy lets use them. Their first container is\n" +
    "created when all are attached; until then the engine gets the reason. What a pod had is detached when it ends, also\n" +
    "when that was while podwire was down. All other pods are left alone.\n\n" +
    "If the engine ends the connection it registers again, for ever. GET /healthz on the HTTP socket says whether it is\n" +
    "connected. docs/nri.md has the policy, a DaemonSet, and how pods wait for a plugin that is not there yet.",
  examples: [
    "podwire nri",
    "podwire nri --policy /etc/podwire/nri.json --gc-interval 10m",
    "podwire nri --print-unit >/etc/systemd/system/podwire-nri.service",
    "curl --unix-socket /run/podwire/nri.sock http://podwire/healthz",
  ],
  needsRoot: false,
  load: async () => (await import("./nri.ts")).nri,
};
