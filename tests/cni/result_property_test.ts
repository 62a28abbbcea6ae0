import { assertEquals } from "@std/assert";
import {
  bitsOf,
  contains,
  formatCidr,
  formatIp,
  type Ip,
  lastOf,
  networkOf,
  parseCidr,
  parseIp,
} from "../../lib/cni/address.ts";
import { type JsonObject, printJson } from "../../lib/cni/json.ts";
import {
  asResult,
  convertResult,
  decodePrevResult,
  decodeResult,
  type Result,
} from "../../lib/cni/result.ts";
import { SPEC_VERSIONS } from "../../lib/cni/version.ts";
import { property, type Random } from "./random.ts";

function randomIp(random: Random): Ip {
  if (random.chance(50)) return { family: 4, value: BigInt(random.below(2 ** 32)) };
  const groups = Array.from({ length: 8 }, () => random.chance(50) ? 0n : BigInt(random.below(2 ** 16)));
  const value = groups.reduce((sum, group) => sum << 16n | group, 1n) & (1n << 128n) - 1n;
  return value >> 32n === 0xffffn ? { family: 6, value: 1n } : { family: 6, value };
}

function randomCidr(random: Random): string {
  const ip = randomIp(random);
  return formatCidr({ ip, prefix: random.below(ip.family === 4 ? 33 : 129) });
}

/** A member that is sometimes missing. */
function maybe<K extends string, T>(random: Random, key: K, make: () => T): { [_ in K]?: T } {
  return (random.chance(50) ? { [key]: make() } : {}) as { [_ in K]?: T };
}

function randomResult(random: Random): Result {
  const interfaces = random.list(4, (index) => ({
    name: `eth${index}`,
    ...maybe(random, "mac", () => `02:00:00:00:00:0${index}`),
    ...maybe(random, "mtu", () => 1 + random.below(9000)),
    ...maybe(random, "sandbox", () => "/run/netns/a"),
    ...maybe(random, "pciID", () => "0000:00:1f.6"),
  }));
  const ips = random.list(4, () => ({
    address: randomCidr(random),
    ...maybe(random, "gateway", () => formatIp(randomIp(random))),
    ...(interfaces.length === 0 ? {} : maybe(random, "interface", () => random.below(interfaces.length))),
  }));
  const routes = random.list(4, () => ({
    dst: randomCidr(random),
    ...maybe(random, "gw", () => formatIp(randomIp(random))),
    ...maybe(random, "mtu", () => 1 + random.below(9000)),
    ...maybe(random, "table", () => random.below(3)),
  }));
  return {
    cniVersion: "1.1.0",
    ...(interfaces.length === 0 ? {} : { interfaces }),
    ...(ips.length === 0 ? {} : { ips }),
    ...(routes.length === 0 ? {} : { routes }),
    ...maybe(random, "dns", () => ({ nameservers: [formatIp(randomIp(random))] })),
  };
}

const familyOf = (cidr: string) => parseCidr(cidr)?.ip.family;

property(
  "C20 every address is read back from its canonical form, and from IPv6 written in full",
  (random) => {
    const ip = randomIp(random);
    assertEquals(parseIp(formatIp(ip)), ip);
    const cidr = { ip, prefix: random.below(bitsOf(ip) + 1) };
    assertEquals(parseCidr(formatCidr(cidr)), cidr);
    const network = networkOf(cidr);
    assertEquals([contains(network, ip), contains(network, lastOf(cidr))], [true, true]);
    assertEquals(network.ip.value <= ip.value && ip.value <= lastOf(cidr).value, true);
    if (ip.family === 4) {
      assertEquals(parseIp(`::ffff:${formatIp(ip)}`), ip);
      return;
    }
    const groups = ip.value.toString(16).padStart(32, "0").match(/.{4}/g)!;
    assertEquals(parseIp(groups.join(":").toUpperCase()), ip);
    // The URL standard prints IPv6 by the rules of RFC 5952, too.
    assertEquals(new URL(`http://[${groups.join(":")}]/`).hostname, `[${formatIp(ip)}]`);
  },
);

const ADDRESS_NOISE = [..."0123456789abcdefg:./% x", "::", "ffff", "255", "256", ""];

property("C21 an address that is read is also valid in the URL standard", (random) => {
  const text = formatIp(randomIp(random));
  const at = random.below(text.length + 1);
  const spoiled = text.slice(0, at) + random.one(ADDRESS_NOISE) + text.slice(at + random.below(3));
  const ip = parseIp(spoiled);
  if (ip !== undefined) {
    assertEquals(parseIp(formatIp(ip)), ip, spoiled);
    const host = spoiled.includes(":") ? `[${spoiled}]` : spoiled;
    assertEquals(URL.canParse(`http://${host}/`), true, spoiled);
  } else if (/^[0-9a-f:]+$/.test(spoiled)) {
    assertEquals(spoiled.includes(":") && URL.canParse(`http://[${spoiled}]/`), false, spoiled);
  }
});

property("C40 C41 C44 a conversion to 0.4.0 and back keeps all members of 0.4.0", (random) => {
  const result = randomResult(random);
  const expected = {
    ...result,
    ...(result.interfaces === undefined ? {} : {
      interfaces: result.interfaces.map(({ mtu: _mtu, pciID: _pciID, ...link }) => link),
    }),
  };
  assertEquals(asResult(convertResult(result, random.one(["0.3.0", "0.3.1", "0.4.0"]))), expected);
});

property(
  "C36 C37 a conversion to 0.2.0 and back keeps one address of each family and its routes",
  (random) => {
    const { ips = [], routes = [], dns, ...rest } = randomResult(random);
    if (ips.length === 0) return;
    const families = [4, 6].filter((family) => ips.some(({ address }) => familyOf(address) === family));
    const kept = families.flatMap((family) => routes.filter(({ dst }) => familyOf(dst) === family))
      .map(({ dst, gw }) => gw === undefined ? { dst } : { dst, gw });
    const down = convertResult({ ...rest, ips, routes, ...(dns === undefined ? {} : { dns }) }, "0.2.0");
    assertEquals(asResult(down), {
      cniVersion: "1.1.0",
      ips: families.map((family) => {
        const { address, gateway } = ips.find(({ address }) => familyOf(address) === family)!;
        return gateway === undefined ? { address } : { address, gateway };
      }),
      ...(kept.length === 0 ? {} : { routes: kept }),
      ...(dns === undefined ? {} : { dns }),
    });
  },
);

/** Compares the texts: their members have one order, and this is fast. */
const assertSame = (actual: JsonObject, expected: JsonObject) =>
  assertEquals(printJson(actual), printJson(expected));

property("C42 C46 a conversion through 0.4.0 loses no more than a direct one", (random) => {
  const result = randomResult(random);
  if (result.ips === undefined) return;
  const direct = convertResult(result, "0.2.0");
  assertSame(convertResult(convertResult(result, "0.4.0"), "0.2.0"), direct);
  const up = convertResult(direct, "0.4.0");
  if (random.chance(50)) assertSame(convertResult(up, "1.1.0"), convertResult(direct, "1.1.0"));
  else assertSame(convertResult(up, "0.2.0"), direct);
});

property("C27 C29 a converted or decoded result is in normal form", (random) => {
  const result: Result = { ips: [{ address: "10.0.0.2/24" }], ...randomResult(random) };
  const version = random.one(SPEC_VERSIONS);
  const json: JsonObject = convertResult(result, version);
  const read = random.one([convertResult, decodeResult, decodePrevResult]);
  assertSame(read(json, version), json);
});
