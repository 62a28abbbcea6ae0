import { withSignals } from "../plugin/signals.ts";
import { resolve } from "@std/path";
import type { Bandwidth, PortMapping, WantedNetwork } from "../pod/request.ts";
import type { NetnsSource, SandboxRequest } from "../sandbox/request.ts";
import { parseIp } from "../spec/address.ts";
import { CniError } from "../spec/error.ts";
import { type Json, type JsonObject, MAX_DEPTH, parseJson } from "../spec/json.ts";
import type { CommandInput } from "./command.ts";
import { printSandbox } from "./sandbox_text.ts";
import { openPodwire } from "./settings.ts";

/** `podwire run [NAME]` */
export async function run(input: CommandInput): Promise<number> {
  const request = sandboxRequest(input);
  const podwire = openPodwire(input);
  const sandbox = await withSignals(input.io, (signal) => podwire.sandboxes.run({ ...request, signal }));
  printSandbox(input, sandbox);
  return 0;
}

/**
 * The sandbox that the command line asks for.
 *
 * @throws {CniError} kind `usage`, naming the flag
 */
export function sandboxRequest(input: CommandInput): SandboxRequest {
  const [name] = input.operands;
  const networks = input.list("network").map(wantedNetwork);
  const publish = input.list("publish").map(portMapping);
  const optional = {
    name,
    namespace: input.value("namespace"),
    uid: input.value("uid"),
    id: input.value("id"),
    mac: input.value("mac"),
    bandwidth: bandwidth(input.value("bandwidth")),
  };
  const given = Object.entries(optional).filter(([, value]) => value !== undefined);
  return {
    ...Object.fromEntries(given),
    source: netnsSource(input),
    replace: input.flag("replace"),
    ips: input.list("ip"),
    args: [...inheritedArgs(input), ...input.list("arg").map((text) => pair("--arg", text))],
    capabilities: capabilities(input.list("cap")),
    ...(networks.length === 0 ? {} : { networks }),
    ...(publish.length === 0 ? {} : { publish }),
    ...(input.list("annotation").length === 0 ? {} : { annotations: annotations(input.list("annotation")) }),
  };
}

function netnsSource(input: CommandInput): NetnsSource {
  const path = input.value("netns");
  const pid = input.value("pid");
  const infra = input.flag("infra");
  const given = [path !== undefined && "--netns", pid !== undefined && "--pid", infra && "--infra"].filter(
    Boolean,
  );
  if (given.length > 1) throw new CniError("usage", `${given.join(" and ")} exclude each other`);
  const runtime = input.value("runtime");
  if (runtime !== undefined && !infra) throw new CniError("usage", "--runtime goes with --infra");
  if (path !== undefined) return { kind: "path", path: resolve(path) };
  if (pid !== undefined) return { kind: "pid", pid: positive("--pid", pid, 2 ** 22) };
  if (infra) return { kind: "infra", ...(runtime === undefined ? {} : { runtime }) };
  return { kind: "new" };
}

/** `NET[:IFNAME]` */
function wantedNetwork(text: string): WantedNetwork {
  const [name = "", ifName, ...more] = text.split(":");
  if (name === "" || ifName === "" || more.length > 0) {
    throw new CniError("usage", `--network: "${text}" is not NET[:IFNAME]`);
  }
  return { name, ...(ifName === undefined ? {} : { ifName }) };
}

/** `[HOSTIP:]HOSTPORT:PORT[/PROTO]`, an IPv6 address in brackets. */
export function portMapping(text: string): PortMapping {
  const match = /^(?:(\[[^\]]+\]|[^:[\]]+):)?(\d+):(\d+)(?:\/(tcp|udp|sctp))?$/.exec(text);
  if (match === null) {
    throw new CniError("usage", `--publish: "${text}" is not [HOSTIP:]HOSTPORT:PORT[/PROTO]`);
  }
  const [, host = "", hostPort = "", port = "", protocol = "tcp"] = match;
  const hostIP = host.replace(/^\[|\]$/g, "");
  if (hostIP !== "" && parseIp(hostIP) === undefined) {
    throw new CniError("usage", `--publish: "${hostIP}" is no IP address`);
  }
  return {
    hostIP,
    hostPort: positive("--publish", hostPort, 65_535),
    containerPort: positive("--publish", port, 65_535),
    protocol: protocol as PortMapping["protocol"],
  };
}

function positive(flag: string, text: string, most: number): number {
  const number = /^\d+$/.test(text) ? Number(text) : NaN;
  if (number >= 1 && number <= most) return number;
  throw new CniError("usage", `${flag}: "${text}" is no number from 1 to ${most}`);
}

const RATE = /^(ingress|egress)=(\d+(?:\.\d+)?)([kKMG]?)$/;
/** A terabit; above, numbers would be written in a way that plugins do not read. */
const MOST_BITS = 1e12;
const RATE_UNIT: Readonly<Record<string, number>> = { "": 1, k: 1e3, K: 1e3, M: 1e6, G: 1e9 };

/** `ingress=RATE,egress=RATE` in bits per second; a tenth of a second of it may come at once. */
export function bandwidth(text: string | undefined): Bandwidth | undefined {
  if (text === undefined) return undefined;
  const limits: Record<string, number> = {};
  for (const part of text.split(",")) {
    const [, direction, amount, unit = ""] = RATE.exec(part) ?? [];
    const bits = Math.round(Number(amount) * (RATE_UNIT[unit] ?? NaN));
    if (!(bits >= 1 && bits <= MOST_BITS)) {
      throw new CniError("usage", `--bandwidth: "${part}" is not ingress=RATE or egress=RATE, such as 10M`);
    }
    if (limits[`${direction}Rate`] !== undefined) {
      throw new CniError("usage", `--bandwidth: ${direction} is given twice`);
    }
    limits[`${direction}Rate`] = bits;
    limits[`${direction}Burst`] = Math.max(1, Math.round(bits / 10));
  }
  return limits;
}

function pair(flag: string, text: string): readonly [string, string] {
  const equals = text.indexOf("=");
  if (equals < 1) throw new CniError("usage", `${flag}: "${text}" is not KEY=VALUE`);
  return [text.slice(0, equals), text.slice(equals + 1)];
}

/** What `CNI_ARGS` of our own environment says goes to all networks; pieces without "=" are dropped. */
function inheritedArgs(input: CommandInput): readonly (readonly [string, string])[] {
  const pieces = (input.io.env("CNI_ARGS") ?? "").split(";");
  return pieces.filter((piece) => piece.indexOf("=") > 0).map((piece) => pair("CNI_ARGS", piece));
}

function capabilities(texts: readonly string[]): JsonObject {
  return Object.fromEntries(texts.map((text) => {
    const [name, json] = pair("--cap", text);
    return [name, parseValue(name, json)];
  }));
}

function parseValue(name: string, text: string): Json {
  try {
    return parseJson(text, { maxDepth: MAX_DEPTH });
  } catch (cause) {
    const reason = cause instanceof CniError ? cause.msg : String(cause);
    throw new CniError("usage", `--cap ${name}: the value is no JSON: ${reason}`, { cause });
  }
}

function annotations(texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(texts.map((text) => pair("--annotation", text)));
}
