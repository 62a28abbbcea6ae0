import { bitsOf, type Cidr, contains } from "../cni/address.ts";

/** How one network lies to another: `inside` it, `around` it, `equal` to it, or `apart` from it. */
export type Relation = "equal" | "inside" | "around" | "apart";

/** Returns how the first network lies to the second. */
export function relation(one: Cidr, other: Cidr): Relation {
  if (one.ip.family !== other.ip.family) return "apart";
  const isWider = one.prefix < other.prefix;
  if (!(isWider ? contains(one, other.ip) : contains(other, one.ip))) return "apart";
  if (one.prefix === other.prefix) return "equal";
  return isWider ? "around" : "inside";
}

/** Yields the networks with this prefix length in a pool, lowest first. */
export function* subnetsIn({ ip, prefix }: Cidr, length: number): Generator<Cidr> {
  const size = 1n << BigInt(bitsOf(ip) - length);
  const end = ip.value + (1n << BigInt(bitsOf(ip) - prefix));
  for (let value = ip.value; value < end; value += size) {
    yield { ip: { family: ip.family, value }, prefix: length };
  }
}
