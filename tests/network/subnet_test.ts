import { assertEquals, assertThrows } from "@std/assert";
import { bitsOf, type Cidr, contains, formatCidr, lastOf, parseCidr } from "../../lib/cni/address.ts";
import { CniError } from "../../lib/cni/error.ts";
import { chooseSubnet, IPV4_POOLS, randomIpv6Pool } from "../../lib/network/choose_subnet.ts";
import { relation, subnetsIn } from "../../lib/network/subnet.ts";
import { overlapsOf, type TakenSubnet } from "../../lib/network/taken_subnet.ts";

function cidr(text: string): Cidr {
  const read = parseCidr(text);
  if (read === undefined) throw new TypeError(text);
  return read;
}
const route = (text: string): TakenSubnet => ({
  subnet: cidr(text),
  by: "the route through eth0",
  device: "eth0",
});
const network = (text: string): TakenSubnet => ({ subnet: cidr(text), by: 'the network "web"' });

Deno.test("two networks lie to each other as their addresses say", () => {
  const all = [28, 29, 30, 31, 32].flatMap((length) => [...subnetsIn(cidr("10.0.0.0/28"), length)]);
  assertEquals(all.length, 31);
  const isInside = (a: Cidr, b: Cidr) => contains(b, a.ip) && contains(b, lastOf(a));
  for (const one of all) {
    for (const other of all) {
      const [inside, around] = [isInside(one, other), isInside(other, one)];
      const expected = inside && around ? "equal" : inside ? "inside" : around ? "around" : "apart";
      assertEquals(relation(one, other), expected, `${formatCidr(one)} ${formatCidr(other)}`);
    }
    assertEquals(relation(one, cidr("::/0")), "apart");
  }
});

Deno.test("the subnets of a pool are all of it, each once, lowest first", () => {
  const found = [...subnetsIn(cidr("10.0.0.0/22"), 24)].map(formatCidr);
  assertEquals(found, ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"]);
  assertEquals([...subnetsIn(cidr("fd00::/64"), 64)].map(formatCidr), ["fd00::/64"]);
});

Deno.test("U82 a wider route is only a warning; an equal or narrower one, and any network, is refused", () => {
  const taken = ["10.0.0.0/8", "10.1.0.0/24", "10.1.0.128/25", "10.2.0.0/24"].map(route);
  const { refused, wider } = overlapsOf(cidr("10.1.0.0/24"), [...taken, network("10.1.0.0/16")]);
  assertEquals(refused.map(({ subnet }) => formatCidr(subnet)), [
    "10.1.0.0/24",
    "10.1.0.128/25",
    "10.1.0.0/16",
  ]);
  assertEquals(wider.map(({ subnet }) => formatCidr(subnet)), ["10.0.0.0/8"]);
});

Deno.test("U85 the first free subnet is chosen, and one in a wider route only if there is no other", () => {
  const [first] = IPV4_POOLS;
  assertEquals(first && formatCidr(chooseSubnet(IPV4_POOLS, [])), "10.210.0.0/24");
  const pools = [cidr("10.0.0.0/23"), cidr("10.1.0.0/24")];
  assertEquals(formatCidr(chooseSubnet(pools, [route("10.0.0.7/32")])), "10.0.1.0/24");
  assertEquals(formatCidr(chooseSubnet(pools, [route("10.0.0.0/16")])), "10.1.0.0/24");
  assertEquals(formatCidr(chooseSubnet(pools, [route("10.0.0.0/8")])), "10.0.0.0/24");
  const error = assertThrows(
    () => chooseSubnet(pools, [network("10.0.0.0/16"), route("10.1.0.128/25")]),
    CniError,
  );
  assertEquals(
    error.context.details,
    '10.0.0.0/23: 10.0.0.0/16, the network "web"\n10.1.0.0/24: 10.1.0.128/25, the route through eth0',
  );
});

Deno.test("U86 a random pool of IPv6 is a unique local /48", () => {
  const pool = randomIpv6Pool(new Uint8Array([1, 2, 3, 4, 5]));
  assertEquals(formatCidr(pool), "fd01:203:405::/48");
  assertEquals(formatCidr(chooseSubnet([pool], [])), "fd01:203:405::/64");
  assertEquals(bitsOf(randomIpv6Pool().ip), 128);
});
