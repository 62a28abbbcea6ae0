import type { Family } from "./rule.ts";

/** Where the addresses are in the header of a packet, in bytes. */
export const ADDRESS_OFFSETS: Readonly<
  Record<Family, { readonly source: number; readonly destination: number }>
> = {
  4: { source: 12, destination: 16 },
  6: { source: 8, destination: 24 },
};

/** Where the protocol is in the header of IPv4, in bytes: that of IPv6 has the next header only, which may be another one. */
export const PROTOCOL_OFFSET = 9;

/** Where the ports are in the header of each protocol that has ports, in bytes. */
export const PORT_OFFSETS = { source: 0, destination: 2 } as const;
