import type { JsonObject } from "../cni/json.ts";
import { LAST_PORT } from "../cni/port_protocol.ts";
import {
  anyText,
  extensibleObjectOf,
  integer,
  listOf,
  mapped,
  type Shape,
  ValidationError,
} from "../cni/shape.ts";
import { type AttachmentKey, attachmentKey, isSameAttachment } from "./attachment_key.ts";
import { hostAddress, hostIpOf, type HostPort, isSamePlace } from "./host_port.ts";

/** Consecutive ports with the attachment that has them. */
export interface Claim extends Omit<HostPort, "port"> {
  readonly first: number;
  readonly last: number;
  readonly key: AttachmentKey;
  /** Members of a newer version. */
  readonly unknownMembers?: JsonObject;
}

/** The claims of the ports of a block. */
export interface Claims {
  readonly claims: readonly Claim[];
  /** Members of a newer version. */
  readonly unknownMembers?: JsonObject;
}

/** A port without its address. */
export type PortKey = Pick<HostPort, "port" | "protocol">;

/** Ports whose claims are in one file: so many that a range has few files, and so few that a file is small. */
export interface PortBlock {
  readonly protocol: string;
  /** A multiple of the number of ports in a block. */
  readonly first: number;
}

const BLOCK = 64;

/** Returns the block that a port is in. */
export function blockOf({ port, protocol }: PortKey): PortBlock {
  return { protocol, first: port - port % BLOCK };
}

/** Returns the last port of a block. */
export function lastOf({ first }: PortBlock): number {
  return Math.min(first + BLOCK - 1, LAST_PORT);
}

/** Returns the ports by their blocks, which {@linkcode blockName} names. */
export function byBlock<T extends PortKey>(ports: readonly T[]): ReadonlyMap<string, readonly T[]> {
  return Map.groupBy(ports, (port) => blockName(blockOf(port)));
}

/** Returns a name for a block that no other has. */
export function blockName(block: PortBlock): string {
  return `${block.protocol}-${block.first}-${lastOf(block)}`;
}

/** Whether a packet could be for the port and for one of a claim. */
export function overlapsClaim(port: HostPort, claim: Claim): boolean {
  return port.port >= claim.first && port.port <= claim.last && isSamePlace(port, claim);
}

/** Returns the claims that an attachment makes on these ports. */
export function claimsFor(key: AttachmentKey, ports: readonly HostPort[]): readonly Claim[] {
  return joined(
    ports.map(({ port, ...where }) => ({ ...where, first: port, last: port, key: attachmentKey(key) })),
  );
}

/** Returns what is left of a claim without a port. */
export function withoutPort(claim: Claim, port: number): readonly Claim[] {
  return [{ ...claim, last: port - 1 }, { ...claim, first: port + 1 }].filter(({ first, last }) =>
    first <= last
  );
}

/** Joins the claims of one attachment on consecutive ports of one place; one that is there twice is one. */
export function joined(claims: readonly Claim[]): readonly Claim[] {
  const placeOf = ({ first: _first, last: _last, ...rest }: Claim) => JSON.stringify(encodePlace(rest));
  return [...Map.groupBy(claims, placeOf).values()].flatMap((group) => {
    const ranges: Claim[] = [];
    for (const claim of group.toSorted((a, b) => a.first - b.first)) {
      const open = ranges.at(-1);
      if (open === undefined || claim.first > open.last + 1) ranges.push(claim);
      else ranges[ranges.length - 1] = { ...open, last: Math.max(open.last, claim.last) };
    }
    return ranges;
  });
}

/** Whether a claim is that of an attachment. */
export function isClaimOf({ key }: Claim, owner: AttachmentKey): boolean {
  return isSameAttachment(key, owner);
}

/** Returns the body of a record of claims. */
export function claimsBody({ claims, unknownMembers }: Claims): JsonObject {
  return { ...unknownMembers, claims: claims.map(encode) };
}

const CLAIM_MEMBERS = {
  containerId: anyText,
  network: anyText,
  ifName: anyText,
  hostIP: mapped(anyText, (address, path) => {
    const where = hostAddress(address);
    if (where === undefined) throw new ValidationError(path, `must be an IP address, not "${address}"`);
    return where;
  }),
};

/** Returns the shape of the record with the claims of a block. */
export function claimsOf(block: PortBlock): Shape<Claims> {
  const port = integer(block.first, lastOf(block));
  const read = extensibleObjectOf({ ...CLAIM_MEMBERS, first: port, last: port }, {});
  const claim: Shape<Claim> = mapped(read, ({ hostIP, first, last, unknownMembers, ...key }, path) => {
    if (last < first) throw new ValidationError([...path, "last"], `is before ${first}: ${last}`);
    return {
      ...hostIP,
      ...{ first, last, key },
      protocol: block.protocol,
      ...(unknownMembers && { unknownMembers }),
    };
  });
  return extensibleObjectOf({ claims: listOf(claim) }, {});
}

/** Returns the shape of the record with the claims of one port, as earlier versions wrote it. */
export function claimsOfPort({ port, protocol }: PortKey): Shape<Claims> {
  const read = extensibleObjectOf(CLAIM_MEMBERS, {});
  const claim: Shape<Claim> = mapped(read, ({ hostIP, unknownMembers, ...key }) => ({
    ...hostIP,
    ...{ first: port, last: port, protocol, key },
    ...(unknownMembers && { unknownMembers }),
  }));
  return extensibleObjectOf({ claims: listOf(claim) }, {});
}

function encode(claim: Claim): JsonObject {
  const { first, last } = claim;
  return { ...encodePlace(claim), first, last };
}

function encodePlace({ key, unknownMembers, ...where }: Omit<Claim, "first" | "last">): JsonObject {
  return { ...unknownMembers, ...key, hostIP: hostIpOf(where) };
}
