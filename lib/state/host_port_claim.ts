import type { JsonObject } from "../cni/json.ts";
import { anyText, extensibleObjectOf, listOf, mapped, type Shape, ValidationError } from "../cni/shape.ts";
import type { AttachmentKey } from "./attachment_key.ts";
import { hostAddress, type HostPort } from "./host_port.ts";

/** A port with the attachment that has it. */
export interface Claim extends HostPort {
  readonly key: AttachmentKey;
  /** Members of a newer version. */
  readonly unknownMembers?: JsonObject;
}

/** The claims of one port. */
export interface Claims {
  readonly claims: readonly Claim[];
  /** Members of a newer version. */
  readonly unknownMembers?: JsonObject;
}

/** A port without its address. */
export type PortKey = Pick<HostPort, "port" | "protocol">;

/** Returns the body of a record of claims. */
export function claimsBody({ claims, unknownMembers }: Claims): JsonObject {
  return { ...unknownMembers, claims: claims.map(encode) };
}

/** Returns the shape of the record with the claims of a port. */
export function claimsOf({ port, protocol }: PortKey): Shape<Claims> {
  const claim: Shape<Claim> = mapped(CLAIM, ({ hostIP, unknownMembers, ...key }) => ({
    ...hostIP,
    port,
    protocol,
    key,
    ...(unknownMembers && { unknownMembers }),
  }));
  return extensibleObjectOf({ claims: listOf(claim) }, {});
}

const CLAIM = extensibleObjectOf({
  containerId: anyText,
  network: anyText,
  ifName: anyText,
  hostIP: mapped(anyText, (address, path) => {
    const where = hostAddress(address);
    if (where === undefined) throw new ValidationError(path, `must be an IP address, not "${address}"`);
    return where;
  }),
}, {});

function encode({ family, address, key, unknownMembers }: Claim): JsonObject {
  const wildcard = family === undefined ? "" : family === 4 ? "0.0.0.0" : "::";
  return { ...unknownMembers, ...key, hostIP: address || wildcard };
}
