/** The protocols that the `portmap` plugin forwards. */
export const PROTOCOLS = ["tcp", "udp", "sctp"] as const;

/** One of {@linkcode PROTOCOLS}. */
export type PortProtocol = typeof PROTOCOLS[number];

/** The highest port. */
export const LAST_PORT = 65_535;
