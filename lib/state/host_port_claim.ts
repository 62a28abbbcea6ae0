import type { JsonObject } from "../cni/json.ts";
import { anyText, extensibleObjectOf, listOf, mapped, type Shape, ValidationError } from "../cni/shape.ts";
import { hostAddress, type HostPort } from "./host_port.ts";
import type { AttachmentKey } from "./attachment_key.ts";

/** Who has a port. */
export interface Claim extends HostPort {
  readonly key: AttachmentKey;
  /** What a newer version says of it. */
  readonly unknownMembers?: JsonObject;
}

/** The claims of one port. */
export interface Claims {
  readonly claims: readonly Claim[];
  /** What a newer version says of the port. */
  readonly unknownMembers?: JsonObject;
}

/** Which port it is, whatever the address. */
export type PortKey = Pick<HostPort, "port" | "protocol">;

/** The body of a record of claims. */
export function claimsBody({ claims, unknownMembers }: Claims): JsonObject {
  return { ...unknownMembers, claims: claims.map(encode) };
}

/** The body of the record of claims of that port. */
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
