import { resolve } from "@std/path";
import { CniError } from "../cni/error.ts";
import { Daemon } from "../daemon/daemon.ts";
import { PLUGIN_ORDER, unitFile } from "../daemon/unit.ts";
import { tryLockFile } from "../host/lock.ts";
import { DEFAULTS } from "../runtime/options.ts";
import type { CommandInput } from "./command.ts";
import { socketPath } from "./flag_value.ts";
import { DEFAULT_DRAIN_MS, duration, installedProgram, serviceManager, untilSignalled } from "./serve.ts";
import { logger, runtimeOptions } from "./settings.ts";
import { VERSION } from "./version.ts";

const DEFAULT_SOCKET = "/var/run/nri/nri.sock";
const DEFAULT_HTTP_SOCKET = "/run/podwire/nri.sock";
const INDEX = /^\d{2}$/;
/** The engine joins the index and the name with a dash, in a list that commas separate. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** `podwire nri` */
export async function nri(input: CommandInput): Promise<number> {
  const { io } = input;
  const drainMs = duration(input, "drain-timeout") ?? DEFAULT_DRAIN_MS;
  const socket = socketPath("--socket", resolve(input.value("socket") ?? DEFAULT_SOCKET));
  const http = input.value("http-socket") ?? DEFAULT_HTTP_SOCKET;
  const httpSocket = socketPath("--http-socket", resolve(http), "listen");
  const index = matching(input, "index", "50", INDEX, "two digits");
  const name = matching(input, "name", "podwire", NAME, "letters, digits, dots, dashes and underscores");
  const gcIntervalMs = duration(input, "gc-interval");
  if (input.flag("print-unit")) {
    const args = io.args.filter((arg) => arg !== "--print-unit");
    const purpose = "networks for pods of a container engine";
    io.write(unitFile({ program: installedProgram(io), args, drainMs, purpose, order: PLUGIN_ORDER }));
    return 0;
  }
  if (io.uid() !== 0) throw new CniError("permission", "nri needs root: it changes network namespaces");
  const { log: _log, ...runtime } = runtimeOptions(input);
  const log = logger(input, "info");
  // Only this command needs them.
  const { serveNri } = await import("../nri/serve_nri.ts");
  const { DEFAULT_POLICY, readPolicy } = await import("../nri/policy.ts");
  const policy = resolve(input.value("policy") ?? DEFAULT_POLICY);
  await readPolicy(policy);
  const stateDir = runtime.stateDir ?? DEFAULTS.stateDir;
  using _node = await tryLockFile(`${stateDir}/nri.lock`) ?? refuseSecond(stateDir);
  const options = {
    runtime: { ...runtime, gcIntervalMs },
    log,
    version: VERSION,
    socket: httpSocket,
    drainMs,
    faces: [serveNri({ socket, index, name, policy, netnsDir: DEFAULTS.netnsDir })],
    dhcp: !input.flag("no-dhcp"),
    manager: serviceManager(io),
  };
  return await untilSignalled(io, (signal) => Daemon.start(options, signal));
}

/** Two registrations would attach each pod twice. */
function refuseSecond(stateDir: string): never {
  throw new CniError("conflict", `another \`podwire nri\` serves this node: it works in ${stateDir}`, {
    hint: "stop it first: pods that start meanwhile are attached when the next one registers",
  });
}

function matching(
  input: CommandInput,
  name: string,
  fallback: string,
  pattern: RegExp,
  rule: string,
): string {
  const text = input.value(name) ?? fallback;
  if (pattern.test(text)) return text;
  throw new CniError("usage", `--${name}: "${text}" is not valid: ${rule}`);
}
