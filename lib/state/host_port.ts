import { formatIp, type Ip, parseIp } from "../cni/address.ts";
import {
  isArray,
  isObject,
  type Json,
  type JsonObject,
  member,
  memberInAnyCase,
  numberOf,
} from "../cni/json.ts";

/** A port of the host that only one attachment can have. */
export interface HostPort {
  /** The IP version; undefined for both. */
  readonly family: 4 | 6 | undefined;
  /** One address in canonical form; empty for all addresses of the family. */
  readonly address: string;
  /** From 1 to 65535. */
  readonly port: number;
  /** In lower case: `tcp`, `udp`, `sctp`. */
  readonly protocol: string;
}

const EVERY_ADDRESS = { family: undefined, address: "" } as const;
/** The protocol becomes part of the name of a file. */
const PROTOCOL = /^[a-z][a-z0-9]{0,15}$/;

/**
 * Returns the ports in the capability `portMappings`. Entries without a valid port of the host are skipped: the plugins
 * ignore or refuse them.
 *
 * Source: CNI conventions, "port-mappings".
 */
export function hostPortsOf(capabilityArgs: JsonObject): readonly HostPort[] {
  const mappings = member(capabilityArgs, "portMappings");
  return isArray(mappings) ? mappings.flatMap(hostPortIn) : [];
}

/** A port of the host that leads to one of a container. */
export interface PublishedPort {
  /** Empty for all addresses. */
  readonly hostIP: string;
  /** From 1 to 65535. */
  readonly hostPort: number;
  /** The port that it leads to. */
  readonly containerPort: number;
  /** In lower case: `tcp`, `udp`, `sctp`. */
  readonly protocol: string;
}

/** Returns the entries of the capability `portMappings` that have both ports. */
export function publishedPortsOf(capabilityArgs: JsonObject): readonly PublishedPort[] {
  const mappings = member(capabilityArgs, "portMappings");
  if (!isArray(mappings)) return [];
  return mappings.flatMap((mapping) => {
    const [port] = hostPortIn(mapping);
    const containerPort = isObject(mapping) ? numberOf(memberInAnyCase(mapping, "containerPort")) : undefined;
    if (port === undefined || containerPort === undefined) return [];
    return [{ hostIP: hostIpOf(port), hostPort: port.port, containerPort, protocol: port.protocol }];
  });
}

function hostPortIn(mapping: Json): readonly HostPort[] {
  if (!isObject(mapping)) return [];
  const port = numberOf(memberInAnyCase(mapping, "hostPort"));
  if (port === undefined || !Number.isInteger(port) || port < 1 || port > 65535) return [];
  const protocol = textOr(memberInAnyCase(mapping, "protocol"), "tcp")?.toLowerCase();
  const hostIP = textOr(memberInAnyCase(mapping, "hostIP"), "");
  const where = hostIP === undefined ? undefined : hostAddress(hostIP);
  if (protocol === undefined || !PROTOCOL.test(protocol) || where === undefined) return [];
  return [{ ...where, port, protocol }];
}

/** Returns undefined for a value that is neither missing nor a string. */
function textOr(json: Json | undefined, otherwise: string): string | undefined {
  if (json === undefined || json === null || json === "") return otherwise;
  return typeof json === "string" ? json : undefined;
}

/** Returns the addresses that a `hostIP` stands for; undefined if it is not a valid address. */
export function hostAddress(hostIP: string): Pick<HostPort, "family" | "address"> | undefined {
  if (hostIP === "") return EVERY_ADDRESS;
  const ip = parseIp(hostIP);
  return ip && { family: ip.family, address: isWildcard(ip) ? "" : formatIp(ip) };
}

/** Returns the `hostIP` that {@linkcode hostAddress} reads as these addresses. */
export function hostIpOf({ family, address }: Pick<HostPort, "family" | "address">): string {
  if (address !== "" || family === undefined) return address;
  return family === 4 ? "0.0.0.0" : "::";
}

function isWildcard({ value }: Ip): boolean {
  return value === 0n;
}

/** Whether a packet could be for both ports. */
export function overlap(a: HostPort, b: HostPort): boolean {
  return a.port === b.port && isSamePlace(a, b);
}

/** Whether a packet could be for both, if their ports are the same. */
export function isSamePlace(a: Omit<HostPort, "port">, b: Omit<HostPort, "port">): boolean {
  if (a.protocol !== b.protocol) return false;
  if (a.family !== undefined && b.family !== undefined && a.family !== b.family) return false;
  return a.address === "" || b.address === "" || a.address === b.address;
}

/** Returns the port as `0.0.0.0:8080/tcp`, `[::1]:53/udp` or, for all addresses, `8080/tcp`. */
export function formatHostPort({ family, address, port, protocol }: HostPort): string {
  return `${formatAddress(family, address)}${port}/${protocol}`;
}

function formatAddress(family: HostPort["family"], address: string): string {
  if (family === undefined) return "";
  if (family === 4) return `${address || "0.0.0.0"}:`;
  return `[${address || "::"}]:`;
}
