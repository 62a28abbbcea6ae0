import { formatIp, type Ip } from "../cni/address.ts";
import { LIBC } from "../host/libc_constants.ts";

/** The number of the family of an address. */
export function familyOf({ family }: Ip): number {
  return family === 4 ? LIBC.AF_INET : LIBC.AF_INET6;
}

/** The bytes of an address, the most significant one first. */
export function ipBytes({ family, value }: Ip): Uint8Array {
  const length = family === 4 ? 4 : 16;
  return Uint8Array.from({ length }, (_, index) => Number(value >> BigInt(8 * (length - 1 - index)) & 0xffn));
}

/** The address that bytes are; undefined if their number is that of neither family. */
export function ipOf(bytes: Uint8Array): Ip | undefined {
  if (bytes.length !== 4 && bytes.length !== 16) return undefined;
  let value = 0n;
  for (const byte of bytes) value = value << 8n | BigInt(byte);
  return { family: bytes.length === 4 ? 4 : 6, value };
}

const UPPER = 32n;

/** Prints an address as the C library does: an IPv6 address that contains one of IPv4 ends with dots. */
export function printIp(ip: Ip): string {
  const upper = ip.family === 6 ? ip.value >> UPPER : -1n;
  const isCompatible = upper === 0n && ip.value >> 16n !== 0n;
  if (!isCompatible && upper !== 0xffffn) return formatIp(ip);
  const tail = formatIp({ family: 4, value: ip.value & 0xffff_ffffn });
  return isCompatible ? `::${tail}` : `::ffff:${tail}`;
}
