import { resolve } from "@std/path";
import { CniError } from "../cni/error.ts";
import { Daemon, type DaemonOptions } from "../daemon/daemon.ts";
import type { OpenFace } from "../daemon/face.ts";
import { unitFile } from "../daemon/unit.ts";
import { runCommand, withSystemDirs } from "../host/command.ts";
import type { Io, SignalName } from "../host/io.ts";
import { ServiceManager } from "../host/service_manager.ts";
import { CGROUP_DRIVERS } from "../sandbox/infra_cgroup.ts";
import type { CommandInput } from "./command.ts";
import { networkName, pair, positive, socketPath } from "./flag_value.ts";
import { logger, parseDuration, runtimeOptions } from "./settings.ts";
import { VERSION } from "./version.ts";

/** The default path of the socket. */
export const DEFAULT_SOCKET = "/run/podwire/podwire.sock";
const DEFAULT_CRI_SOCKET = "/run/podwire/cri.sock";

/** Time for running requests at the end, unless an option says otherwise. */
export const DEFAULT_DRAIN_MS = 30_000;
const INSTALLED = "/usr/local/bin/podwire";
const MOST_REQUESTS = 10_000;
const MOST_IN_POOL = 1_000;

/** `podwire serve` */
export async function serve(input: CommandInput): Promise<number> {
  const { io } = input;
  const drainMs = duration(input, "drain-timeout") ?? DEFAULT_DRAIN_MS;
  if (input.flag("print-unit")) {
    const args = io.args.filter((arg) => arg !== "--print-unit");
    io.write(unitFile({ program: installedProgram(io), args, drainMs }));
    return 0;
  }
  if (io.uid() !== 0) throw new CniError("permission", "serve needs root: it changes network namespaces");
  const { log: _log, ...runtime } = runtimeOptions(input);
  const graceMs = duration(input, "grace");
  const gcIntervalMs = duration(input, "gc-interval");
  const checkIntervalMs = duration(input, "check-interval");
  const requestMs = duration(input, "request-timeout");
  const most = input.value("max-requests");
  const pool = poolOf(input);
  const log = logger(input, "info");
  const options = {
    runtime: { ...runtime, graceMs, gcIntervalMs, checkIntervalMs, repairRules: repairsRules(input) },
    log,
    version: VERSION,
    socket: socketPath("--socket", resolve(input.value("socket") ?? DEFAULT_SOCKET), "listen"),
    drainMs,
    requestMs,
    faces: await facesOf(input),
    ...(most === undefined ? {} : { maxRequests: positive("--max-requests", most, MOST_REQUESTS) }),
    pool,
    dhcp: !input.flag("no-dhcp"),
    trafficMetrics: input.flag("traffic-metrics"),
    manager: serviceManager(io),
  };
  return await untilSignalled(io, (signal) => Daemon.start(options, signal));
}

/** Returns the service manager that started this process, if one did. */
export function serviceManager(io: Pick<Io, "env" | "pid">): ServiceManager {
  return new ServiceManager({
    notifySocket: io.env("NOTIFY_SOCKET"),
    watchdogUsec: io.env("WATCHDOG_USEC"),
    watchdogPid: io.env("WATCHDOG_PID"),
    pid: io.pid,
    run: runCommand,
    path: withSystemDirs(io.env("PATH")),
  });
}

function repairsRules(input: CommandInput): boolean {
  const isOff = input.flag("no-repair");
  if (isOff && input.flag("repair")) {
    throw new CniError("usage", "--repair and --no-repair exclude each other");
  }
  return !isOff;
}

/** Reads `--cri [PATH]`, and loads the code for it only then. */
async function facesOf(input: CommandInput): Promise<readonly OpenFace[]> {
  const given = input.value("cri");
  const named = input.value("cgroup-driver");
  const driver = CGROUP_DRIVERS.find((name) => name === named);
  if (named !== driver) {
    throw new CniError("usage", `--cgroup-driver: "${named}" is not one of ${CGROUP_DRIVERS.join(", ")}`);
  }
  if (given === undefined) {
    if (driver !== undefined) throw new CniError("usage", "--cgroup-driver goes with --cri");
    return [];
  }
  const path = socketPath("--cri", resolve(given === "" ? DEFAULT_CRI_SOCKET : given), "listen");
  const { serveCri } = await import("../cri/serve_cri.ts");
  return [serveCri(path, { driver })];
}

/** Reads `--pool NETWORK=N`. */
function poolOf(input: CommandInput): DaemonOptions["pool"] {
  const sizes = new Map<string, number>();
  for (const text of input.list("pool")) {
    const [name, size] = pair("--pool", text);
    const network = networkName("--pool", name);
    if (sizes.has(network)) throw new CniError("usage", `--pool: the network "${network}" is given twice`);
    sizes.set(network, positive("--pool", size, MOST_IN_POOL));
  }
  const maxAgeMs = duration(input, "pool-max-age");
  if (sizes.size > 0) return { sizes, maxAgeMs };
  if (maxAgeMs !== undefined) throw new CniError("usage", "--pool-max-age needs --pool");
  return undefined;
}

/** Reads an option whose value is a duration, in milliseconds. */
export function duration(input: CommandInput, name: string): number | undefined {
  const text = input.value(name);
  return text === undefined ? undefined : parseDuration(text, `--${name}`);
}

/** Returns the path of the compiled program. If this process is Deno, returns the usual path. */
export function installedProgram({ program }: Pick<Io, "program">): string {
  return program.endsWith("/podwire") ? program : INSTALLED;
}

/**
 * Runs the daemon until SIGTERM or SIGINT, and reloads it at SIGHUP. A second SIGTERM or SIGINT ends the process at once,
 * because it is not caught any more.
 */
export async function untilSignalled(
  io: Pick<Io, "onSignal">,
  start: (signal: AbortSignal) => Promise<Daemon>,
): Promise<number> {
  const starting = new AbortController();
  const asked = Promise.withResolvers<SignalName>();
  const stopEnding = io.onSignal(["SIGTERM", "SIGINT"], (name) => {
    stopEnding();
    starting.abort(new CniError("cancelled", `interrupted by ${name}`));
    asked.resolve(name);
  });
  let daemon: Daemon | undefined;
  // Without a listener, SIGHUP would end the process.
  const stopReloading = io.onSignal(["SIGHUP"], () => void daemon?.reload());
  try {
    daemon = await start(starting.signal);
    await Promise.race([asked.promise, daemon.failed]);
    return 0;
  } finally {
    await daemon?.end();
    stopEnding();
    stopReloading();
  }
}
