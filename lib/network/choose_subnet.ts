import { type Cidr, formatCidr, parseCidr } from "../cni/address.ts";
import { CniError } from "../cni/error.ts";
import { subnetsIn } from "./subnet.ts";
import { describeTaken, overlapsOf, type TakenSubnet } from "./taken_subnet.ts";

/** Where subnets are chosen from unless the request names pools: private, and not what other engines choose from. */
export const IPV4_POOLS: readonly Cidr[] = ["10.210.0.0/16", "10.211.0.0/16", "192.168.192.0/18"].map(pool);

/** Where the embedded network gets its subnets from if the usual ones are in use: each pool is a subnet. */
export const EMBEDDED_POOLS: Readonly<Record<4 | 6, readonly Cidr[]>> = {
  4: [
    ...numbersTo(200, 255).map((n) => `10.${n}.0.0/16`),
    ...numbersTo(20, 32).map((n) => `172.${n}.0.0/16`),
    "192.168.160.0/19",
  ]
    .map(pool),
  6: numbersTo(0x7705, 0x7720).map((n) => pool(`fd50:${n.toString(16)}::/64`)),
};

/** The length of the prefix of a chosen subnet. */
const CHOSEN_PREFIX = { 4: 24, 6: 64 } as const;

/** How many names a message shows of what blocks a pool. */
const SHOWN = 4;

/** Returns a pool of IPv6 that no other machine is likely to have: a random prefix of RFC 4193, section 3.2.2. */
export function randomIpv6Pool(random = crypto.getRandomValues(new Uint8Array(5))): Cidr {
  const id = random.reduce((value, byte) => value << 8n | BigInt(byte), 0xfdn);
  return { ip: { family: 6, value: id << 80n }, prefix: 48 };
}

/**
 * Returns the first subnet of the pools that nothing on this machine uses, with `whole` a whole pool. If each of them is in a wider network, such as the
 * route of a VPN, it takes one of those.
 *
 * @throws {CniError} kind `conflict`, with each pool and what uses it
 */
export function chooseSubnet(
  pools: readonly Cidr[],
  taken: readonly TakenSubnet[],
  { whole = false }: { readonly whole?: boolean | undefined } = {},
): Cidr {
  let second: Cidr | undefined;
  const blocked: string[] = [];
  for (const pool of pools) {
    const length = whole ? pool.prefix : Math.max(pool.prefix, CHOSEN_PREFIX[pool.ip.family]);
    const near = taken.filter(({ subnet }) => overlapsOf(pool, [{ subnet, by: "" }]).refused.length > 0);
    for (const subnet of subnetsIn(pool, length)) {
      const { refused, wider } = overlapsOf(subnet, near);
      if (refused.length > 0) continue;
      if (wider.length === 0) return subnet;
      second ??= subnet;
    }
    const more = near.length > SHOWN ? `; and ${near.length - SHOWN} more` : "";
    blocked.push(`${formatCidr(pool)}: ${near.slice(0, SHOWN).map(describeTaken).join("; ")}${more}`);
  }
  if (second !== undefined) return second;
  throw new CniError("conflict", "Cannot choose a subnet: all pools are in use", {
    details: blocked.join("\n"),
    hint: "name a subnet with --subnet, or another pool with --pool",
  });
}

function numbersTo(first: number, end: number): readonly number[] {
  return Array.from({ length: end - first }, (_, index) => first + index);
}

function pool(text: string): Cidr {
  const cidr = parseCidr(text);
  if (cidr === undefined) throw new TypeError(`${text} is not a pool`);
  return cidr;
}
