const OFFSET = { 32: 0x811c9dc5n, 64: 0xcbf29ce484222325n } as const;
const PRIME = { 32: 0x01000193n, 64: 0x100000001b3n } as const;

/** Returns the FNV-1a hash of a text. Names on disk are made of it, so its values never change. */
export function fnv1a(text: string, bits: 32 | 64): bigint {
  let hash: bigint = OFFSET[bits];
  for (const byte of new TextEncoder().encode(text)) {
    hash = BigInt.asUintN(bits, (hash ^ BigInt(byte)) * PRIME[bits]);
  }
  return hash;
}
