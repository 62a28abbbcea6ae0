import { parseIp } from "../spec/address.ts";
import { CniError } from "../spec/error.ts";
import type { PortMapping } from "./request.ts";

// What people write for an address or a port. Each function gets what it was written for, for its error to name.

/** An IP address, without prefix length. */
export function address(flag: string, text: string): string {
  if (parseIp(text) !== undefined) return text;
  throw new CniError("usage", `${flag}: "${text}" is no IP address`);
}

/** A whole number from 1 on. */
export function positive(flag: string, text: string, most: number): number {
  const number = /^\d+$/.test(text) ? Number(text) : NaN;
  if (number >= 1 && number <= most) return number;
  throw new CniError("usage", `${flag}: "${text}" is no number from 1 to ${most}`);
}

/** `[HOSTIP:]HOSTPORT:PORT[/PROTO]`, an IPv6 address in brackets. */
export function portMapping(flag: string, text: string): PortMapping {
  const match = /^(?:(\[[^\]]+\]|[^:[\]]+):)?(\d+):(\d+)(?:\/(tcp|udp|sctp))?$/.exec(text);
  if (match === null) {
    throw new CniError("usage", `${flag}: "${text}" is not [HOSTIP:]HOSTPORT:PORT[/PROTO]`);
  }
  const [, host = "", hostPort = "", port = "", protocol = "tcp"] = match;
  const hostIP = host.replace(/^\[|\]$/g, "");
  return {
    hostIP: hostIP === "" ? "" : address(flag, hostIP),
    hostPort: positive(flag, hostPort, 65_535),
    containerPort: positive(flag, port, 65_535),
    protocol: protocol as PortMapping["protocol"],
  };
}
