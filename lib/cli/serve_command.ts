import type { Command, OptionSpec } from "./command.ts";

const SERVE_OPTIONS: readonly OptionSpec[] = [
  {
    name: "socket",
    kind: "value",
    value: "PATH",
    help: "the socket (default /run/podwire/podwire.sock)",
  },
  {
    name: "cri",
    kind: "optional",
    value: "[PATH]",
    help: "serve the CRI of Kubernetes there too (default /run/podwire/cri.sock)",
  },
  {
    name: "cgroup-driver",
    kind: "value",
    value: "NAME",
    help: "cgroupfs or systemd, as cgroupDriver of the kubelet (default: systemd if it is the first process)",
  },
  {
    name: "gc-interval",
    kind: "value",
    value: "DURATION",
    help: "how often resources without an owner are removed (default: never)",
  },
  {
    name: "check-interval",
    kind: "value",
    value: "DURATION",
    help:
      "how often the plugins CHECK each attachment; one that has drifted is looked at more often (default: never)",
  },
  {
    name: "repair",
    kind: "flag",
    help: "put lost rules of built-in plugins back (default)",
  },
  {
    name: "no-repair",
    kind: "flag",
    help: "only report them",
  },
  {
    name: "grace",
    kind: "value",
    value: "DURATION",
    help: "how long a network that was ready and fails still counts as ready (default 30s)",
  },
  {
    name: "request-timeout",
    kind: "value",
    value: "DURATION",
    help: "time limit for a request, which is then cancelled and undone (default 10m)",
  },
  {
    name: "max-requests",
    kind: "value",
    value: "N",
    help: "how many requests of one method may run at once (default 256, fewer if few files may be open)",
  },
  {
    name: "drain-timeout",
    kind: "value",
    value: "DURATION",
    help: "time limit for running requests at shutdown; they are then cancelled and undone (default 30s)",
  },
  {
    name: "pool",
    kind: "list",
    value: "NETWORK=N",
    help: "keep N sandboxes ready on this network, repeatable",
  },
  {
    name: "pool-max-age",
    kind: "value",
    value: "DURATION",
    help: "age at which an unused sandbox of the pool is replaced (default 1h)",
  },
  {
    name: "no-dhcp",
    kind: "flag",
    help: "do not start the daemon of the plugin dhcp, nor renew leases that it has lost",
  },
  {
    name: "traffic-metrics",
    kind: "flag",
    help: "GET /metrics also says what the interfaces of each sandbox have carried",
  },
  {
    name: "print-unit",
    kind: "flag",
    help: "print a unit file for systemd with the other options, and exit",
  },
];

/** The command that runs the daemon. */
export const SERVE: Command = {
  name: "serve",
  summary: "Run the daemon: serve these operations over a Unix socket, and retry failed removals",
  operands: "",
  count: [0, 0],
  options: SERVE_OPTIONS,
  description:
    "The daemon uses HTTP with JSON: GET /openapi.json describes the routes, GET /metrics is for Prometheus. At SIGTERM,\n" +
    "running requests may end; a second SIGTERM ends the daemon at once. At SIGHUP it reads the configuration again.\n" +
    "With --cri, a kubelet or crictl makes the sandboxes of its pods by gRPC on a second socket: see docs/kubernetes.md.\n" +
    "The command line works on the same records at the same time, and does not need the daemon.\n\n" +
    "If the addresses of a network come from DHCP, it starts `dhcp daemon` of the plugin, unless one listens there already,\n" +
    "watches it, and asks for the leases again that a new one does not know.\n\n" +
    "If a flush or a reload of the firewall takes rules of built-in plugins away, the daemon puts them back within\n" +
    "seconds; connections of the sandboxes go on. Links, addresses and routes that are lost, and forwarding that is\n" +
    "switched off, are reported: in the log, as an event and in the metrics.\n\n" +
    "A request gets a sandbox of the pool if it asks for one network and sets nothing but a name, a namespace and\n" +
    "labels. Until then, ps shows the sandbox in namespace podwire-pool. Its plugins got K8S_POD_NAME=pool-... and that\n" +
    "namespace, and not the name that it has later.",
  examples: [
    "podwire serve --gc-interval 10m --pool podwire=4",
    "podwire serve --cri",
    'curl --unix-socket /run/podwire/podwire.sock http://podwire/v1/sandboxes -d \'{"name": "web"}\'',
    "podwire serve --print-unit >/etc/systemd/system/podwire.service",
  ],
  needsRoot: false,
  load: async () => (await import("./serve.ts")).serve,
};
