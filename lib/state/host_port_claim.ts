import { isArray, isObject, type Json, type JsonObject } from "../cni/json.ts";
import { hostAddress, type HostPort } from "./host_port.ts";
import type { AttachmentKey } from "./attachment_key.ts";
import { textOf, unknownMembers } from "./checksummed.ts";

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

/**
 * What the body of a record of claims says of that port.
 *
 * @throws {Error} with what cannot be made sense of
 */
export function readClaims(body: JsonObject, { port, protocol }: PortKey): Claims {
  const { claims } = body;
  if (!isArray(claims)) throw new Error('its "claims" is not a list');
  const read = claims.map((claim: Json) => {
    if (!isObject(claim)) throw new Error("a claim is not an object");
    const where = hostAddress(textOf(claim, "hostIP"));
    if (where === undefined) throw new Error(`a claim has no address: ${textOf(claim, "hostIP")}`);
    const key = {
      containerId: textOf(claim, "containerId"),
      network: textOf(claim, "network"),
      ifName: textOf(claim, "ifName"),
    };
    const unknown = unknownMembers(claim, ["containerId", "network", "ifName", "hostIP"]);
    return { ...where, port, protocol, key, ...unknown };
  });
  return { claims: read, ...unknownMembers(body, ["claims"]) };
}

function encode({ family, address, key, unknownMembers }: Claim): JsonObject {
  const wildcard = family === undefined ? "" : family === 4 ? "0.0.0.0" : "::";
  return { ...unknownMembers, ...key, hostIP: address || wildcard };
}
