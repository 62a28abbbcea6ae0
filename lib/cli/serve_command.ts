import type { Command, OptionSpec } from "./command.ts";

const SERVE_OPTIONS: readonly OptionSpec[] = [
  {
    name: "socket",
    kind: "value",
    value: "PATH",
    help: "where it serves (default /run/podwire/podwire.sock)",
  },
  {
    name: "gc-interval",
    kind: "value",
    value: "DURATION",
    help: "how often what nobody owns is removed (default: not by itself)",
  },
  {
    name: "grace",
    kind: "value",
    value: "DURATION",
    help: "a network that was ready and fails still counts as ready for so long (default 30s)",
  },
  {
    name: "request-timeout",
    kind: "value",
    value: "DURATION",
    help: "time for a request, then it is undone (default 10m)",
  },
  {
    name: "max-requests",
    kind: "value",
    value: "N",
    help: "how many of one method may be under way at once (default 256, fewer with few files)",
  },
  {
    name: "drain-timeout",
    kind: "value",
    value: "DURATION",
    help: "time for what is under way when it ends, then that is undone (default 30s)",
  },
  {
    name: "pool",
    kind: "list",
    value: "NETWORK=N",
    help: "keep N sandboxes on that network ready, repeatable",
  },
  {
    name: "pool-max-age",
    kind: "value",
    value: "DURATION",
    help: "a ready one that nobody wanted is made anew after so long (default 1h)",
  },
  {
    name: "print-unit",
    kind: "flag",
    help: "print a unit file for systemd, with the other options, and end",
  },
];

/** The daemon, and its place in the manual. */
export const SERVE: Command = {
  name: "serve",
  summary: "Serve all of this over a Unix socket, and see to what failed or was left",
  operands: "",
  count: [0, 0],
  options: SERVE_OPTIONS,
  description:
    "HTTP with JSON: GET /openapi.json describes the routes, GET /metrics is for Prometheus. SIGTERM lets\n" +
    "what is under way end, a second one ends it at once; SIGHUP reads the configuration again. The command\n" +
    "line works on the same records at the same time, and does not need it.\n\n" +
    "A ready-made sandbox is handed out to whoever asks for one network and for nothing that its making\n" +
    "must know: a name, a namespace and labels alone. Until then ps shows it in namespace podwire-pool,\n" +
    "and its plugins were told K8S_POD_NAME=pool-... in that namespace, not the name that it gets.",
  examples: [
    "podwire serve --gc-interval 10m --pool podwire=4",
    'curl --unix-socket /run/podwire/podwire.sock http://podwire/v1/sandboxes -d \'{"name": "web"}\'',
    "podwire serve --print-unit >/etc/systemd/system/podwire.service",
  ],
  needsRoot: false,
  load: async () => (await import("./serve.ts")).serve,
};
