import { parseCidr, parseIp } from "../cni/address.ts";
import { CniError } from "../cni/error.ts";
import type { PortMapping } from "./request.ts";

// What people write for an address or a port. Each function gets what it was written for, for its error to name.

/** An IP address, without prefix length. */
export function address(flag: string, text: string): string {
  if (parseIp(text) !== undefined) return text;
  throw new CniError("usage", `${flag}: "${text}" is no IP address`);
}

/** An IP address, with the length of its prefix for IPAM plugins that want one. */
export function addressWithPrefix(flag: string, text: string): string {
  if (parseIp(text) !== undefined || parseCidr(text) !== undefined) return text;
  throw new CniError("usage", `${flag}: "${text}" is no IP address, with or without /PREFIX`);
}

/** A whole number from 1 on. */
export function positive(flag: string, text: string, most: number): number {
  const number = /^\d+$/.test(text) ? Number(text) : NaN;
  if (number >= 1 && number <= most) return number;
  throw new CniError("usage", `${flag}: "${text}" is no number from 1 to ${most}`);
}

/** `[HOSTIP:]HOSTPORT:PORT[/PROTO]`, an IPv6 address in brackets, the protocol in any case. */
export function portMapping(flag: string, text: string): PortMapping {
  const match = /^(?:(\[[^\]]+\]|[^:[\]]+):)?(\d+):(\d+)(?:\/(tcp|udp|sctp))?$/i.exec(text);
  if (match === null) {
    // More colons than IPv4 has use for: an IPv6 address that nothing sets apart from the ports.
    const isBare = /^[^[\]]*:[^[\]]*:[^[\]]*:/.test(text);
    throw new CniError("usage", `${flag}: "${text}" is not [HOSTIP:]HOSTPORT:PORT[/PROTO]`, {
      hint: isBare
        ? "an IPv6 address stands in brackets: [2001:db8::1]:8080:80"
        : "as 8080:80, 127.0.0.1:8080:80/tcp or [2001:db8::1]:53:53/udp",
    });
  }
  const [, host = "", hostPort = "", port = "", protocol = "tcp"] = match;
  const hostIP = host.replace(/^\[|\]$/g, "");
  return {
    hostIP: hostIP === "" ? "" : address(flag, hostIP),
    hostPort: positive(flag, hostPort, 65_535),
    containerPort: positive(flag, port, 65_535),
    protocol: protocol.toLowerCase() as PortMapping["protocol"],
  };
}
