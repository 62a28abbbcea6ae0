/** Returns the name of a new interface on the host, of the form that the CNI plugins project uses. */
export function randomVethName(): string {
  return `veth${Array.from(crypto.getRandomValues(new Uint8Array(4)), hex).join("")}`;
}

/** Returns a MAC address: locally administered, not multicast. */
export function randomMac(): string {
  const [first = 0, ...rest] = crypto.getRandomValues(new Uint8Array(6));
  return [(first & 0xfe) | 0x02, ...rest].map(hex).join(":");
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}
