import { parseCniArgs } from "../plugin/invocation.ts";
import { withSignals } from "../plugin/signals.ts";
import type { NetworkSettings } from "../pod/request.ts";
import type { NetnsSource, SandboxRequest } from "../sandbox/request.ts";
import { CniError } from "../cni/error.ts";
import type { CommandInput } from "./command.ts";
import { daemonRun } from "./daemon_run.ts";
import {
  address,
  addressWithPrefix,
  bandwidth,
  capability,
  cniArg,
  ipRanges,
  pair,
  portMapping,
  positive,
  requireSettings,
} from "./flag_value.ts";
import { defined, someOf, wantedNetworks } from "./network_flag.ts";
import { netnsPath } from "./netns_path.ts";
import { writeOrUndo } from "./output.ts";
import { printSandbox } from "./sandbox_text.ts";
import { openPodwire } from "./settings.ts";

/** `podwire run [NAME]` */
export async function run(input: CommandInput): Promise<number> {
  const request = sandboxRequest(input);
  const { make, remove } = makerOf(input);
  const sandbox = await withSignals(input.io, (signal) => make({ ...request, signal }));
  await writeOrUndo(input, () => printSandbox(input, sandbox), {
    what: `the sandbox "${sandbox.name}"`,
    hint: `podwire rm -f ${sandbox.id}`,
    undo: remove && ((signal) => remove(sandbox.id, signal)),
  });
  return 0;
}

/** Makes sandboxes, and removes them where this process is what made them. */
interface Maker {
  readonly make: ReturnType<typeof daemonRun>;
  readonly remove?: (id: string, signal: AbortSignal) => Promise<void>;
}

/** This process or, with `--socket`, the daemon that serves there. */
function makerOf(input: CommandInput): Maker {
  const socket = input.value("socket");
  if (socket !== undefined) return { make: daemonRun(input, socket) };
  const { sandboxes } = openPodwire(input);
  return {
    make: (request) => sandboxes.run(request),
    remove: async (id, signal) => {
      const [failure] = await sandboxes.remove(id, { force: true, signal });
      if (failure !== undefined) throw failure;
    },
  };
}

/**
 * The sandbox that the command line asks for.
 *
 * @throws {CniError} kind `usage`, naming the flag
 */
export function sandboxRequest(input: CommandInput): SandboxRequest {
  const [name] = input.operands;
  return {
    ...defined({
      name,
      namespace: input.value("namespace"),
      uid: input.value("uid"),
      // The UID is for the plugins: whoever types a name means the one sandbox that has it.
      uniqueName: input.value("uid") === undefined ? undefined : true,
      id: input.value("id"),
      networks: wantedNetworks(input.list("network")),
    }),
    ...settings(input),
    ...defined({ labels: pairs(input, "label"), sysctls: pairs(input, "sysctl") }),
    source: netnsSource(input),
    replace: input.flag("replace"),
  };
}

/** The last of a key counts, as with the flags themselves. */
function pairs(input: CommandInput, name: string): Readonly<Record<string, string>> | undefined {
  const texts = input.list(name);
  return texts.length === 0 ? undefined : Object.fromEntries(texts.map((text) => pair(`--${name}`, text)));
}

/** The flags that are not called as the settings that they give. */
const FLAGS: Readonly<Record<string, string>> = {
  ips: "ip",
  ipRanges: "ip-range",
  "dns.servers": "dns",
  "dns.searches": "dns-search",
  "dns.options": "dns-option",
  aliases: "alias",
  deviceID: "device",
  cgroupPath: "cgroup-path",
  "bandwidth.ingressRate": "bandwidth",
  "bandwidth.egressRate": "bandwidth",
};

/** What is asked of the first network, or of all. */
function settings(input: CommandInput): NetworkSettings {
  /** Undefined for a flag that is not there. */
  function listOf<T>(name: string, read: (flag: string, text: string) => T): readonly T[] | undefined {
    const texts = input.list(name);
    return texts.length === 0 ? undefined : texts.map((text) => read(`--${name}`, text));
  }
  const plain = (_: string, text: string) => text;
  const limits = input.value("bandwidth");
  const annotations = listOf("annotation", pair);
  const capabilities = listOf("cap", capability);
  // What our own environment says goes to all networks.
  const args = [...parseCniArgs(input.io.env("CNI_ARGS") ?? "", "CNI_ARGS"), ...listOf("arg", cniArg) ?? []];
  const given = defined({
    ips: listOf("ip", addressWithPrefix),
    mac: input.value("mac"),
    publish: listOf("publish", portMapping),
    bandwidth: limits === undefined ? undefined : bandwidth("--bandwidth", limits),
    ipRanges: listOf("ip-range", ipRanges),
    dns: someOf({
      servers: listOf("dns", address),
      searches: listOf("dns-search", plain),
      options: listOf("dns-option", plain),
    }),
    aliases: listOf("alias", plain),
    deviceID: input.value("device"),
    cgroupPath: input.value("cgroup-path"),
    annotations: annotations && Object.fromEntries(annotations),
    args: args.length === 0 ? undefined : args,
    capabilities: capabilities && Object.fromEntries(capabilities),
  });
  requireSettings(given, (setting) => `--${FLAGS[setting] ?? setting}`);
  return given;
}

function netnsSource(input: CommandInput): NetnsSource {
  const path = input.value("netns");
  const pid = input.value("pid");
  const infra = input.flag("infra");
  const host = input.flag("host-network");
  const given = [
    path !== undefined && "--netns",
    pid !== undefined && "--pid",
    infra && "--infra",
    host && "--host-network",
  ].filter(Boolean);
  if (given.length > 1) throw new CniError("usage", `${given.join(" and ")} exclude each other`);
  const runtime = input.value("runtime");
  if (runtime !== undefined && !infra) throw new CniError("usage", "--runtime goes with --infra");
  if (path !== undefined) return { kind: "path", path: netnsPath(input, path) };
  if (pid !== undefined) return { kind: "pid", pid: positive("--pid", pid, 2 ** 22) };
  if (infra) return { kind: "infra", ...(runtime === undefined ? {} : { runtime }) };
  return { kind: host ? "host" : "new" };
}
