import { assertEquals, assertThrows } from "@std/assert";
import {
  ADDRESS_RANGE,
  candidates,
  formatRangeSet,
  validateRangeSets,
} from "../../lib/builtin/address_range.ts";
import { readConfig } from "../../lib/builtin/config_shape.ts";
import { formatIp, parseIp } from "../../lib/cni/address.ts";
import { CniError } from "../../lib/cni/error.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { openObjectOf } from "../../lib/cni/shape.ts";

const range = (json: JsonObject) =>
  readConfig(openObjectOf({ ipam: ADDRESS_RANGE }, {}), { ipam: json }).ipam;
const text = (json: JsonObject) => {
  const { start, end, gateway } = range(json);
  return [start, end, gateway].map(formatIp);
};
const walk = (sets: JsonObject[], last?: string) =>
  Array.from(
    candidates(sets.map(range), last === undefined ? undefined : parseIp(last)),
    ({ ip }) => formatIp(ip),
  );

Deno.test("a range has defaults: the first address, the last one before the broadcast address, and the first as gateway", () => {
  assertEquals(text({ subnet: "10.1.2.0/24" }), ["10.1.2.1", "10.1.2.254", "10.1.2.1"]);
  assertEquals(text({ subnet: "fd00::/120" }), ["fd00::1", "fd00::ff", "fd00::1"]);
  const given = { subnet: "10.1.0.0/16", rangeStart: "10.1.2.3", rangeEnd: "10.1.2.3", gateway: "10.1.9.9" };
  assertEquals(text(given), ["10.1.2.3", "10.1.2.3", "10.1.9.9"]);
});

Deno.test("an invalid range is refused with the name of the field", () => {
  const cases: [JsonObject, string][] = [
    [{}, "ipam.subnet is missing"],
    [{ subnet: "10.1.2.0" }, "ipam.subnet is not an address with a prefix length: 10.1.2.0"],
    [{ subnet: 1 }, "ipam.subnet must be a string, not a number"],
    [{ subnet: "10.1.2.0/31" }, "ipam.subnet is too small to allocate from: 10.1.2.0/31"],
    [{ subnet: "fd00::/127" }, "ipam.subnet is too small to allocate from: fd00::/127"],
    [
      { subnet: "10.1.2.3/24" },
      "ipam.subnet has host bits set: for a prefix length of 24 the network of 10.1.2.3 is 10.1.2.0",
    ],
    [
      { subnet: "10.1.2.0/24", rangeStart: "10.1.3.1" },
      "ipam.rangeStart 10.1.3.1 is not in the network 10.1.2.0/24",
    ],
    [
      { subnet: "10.1.2.0/24", rangeEnd: "fd00::1" },
      "ipam.rangeEnd fd00::1 is not in the network 10.1.2.0/24",
    ],
    [
      { subnet: "10.1.2.0/24", rangeStart: "10.1.2.9", rangeEnd: "10.1.2.8" },
      "ipam.rangeEnd 10.1.2.8 is before the start 10.1.2.9",
    ],
    [{ subnet: "10.1.2.0/24", gateway: "10.1.2" }, "ipam.gateway is not an IP address: 10.1.2"],
  ];
  for (const [json, msg] of cases) {
    const error = assertThrows(() => range(json), CniError);
    assertEquals({ code: error.code, msg: error.msg }, { code: 7, msg });
  }
});

Deno.test("sets that could allocate one address twice are refused", () => {
  const a = { subnet: "10.1.0.0/24" };
  const inA = { subnet: "10.1.0.0/24", rangeStart: "10.1.0.9", rangeEnd: "10.1.0.9" };
  const aroundA = { subnet: "10.0.0.0/8" };
  const b = { subnet: "10.2.0.0/24" };
  const v6 = { subnet: "fd00::/64" };
  const refusal = (...sets: JsonObject[][]) =>
    assertThrows(() => validateRangeSets(sets.map((set) => set.map(range))), CniError).msg;
  assertEquals(refusal(), "no IP ranges specified");
  assertEquals(refusal([a], []), "invalid range set 1: empty range set");
  assertEquals(refusal([a, v6]), "invalid range set 0: mixed address families");
  assertEquals(
    refusal([b, a, inA]),
    "invalid range set 0: subnets 10.1.0.1-10.1.0.254 and 10.1.0.9-10.1.0.9 overlap",
  );
  assertEquals(refusal([b], [v6], [aroundA]), "range set 0 overlaps with 2");
  assertEquals(refusal([aroundA], [v6], [inA]), "range set 0 overlaps with 2");
  validateRangeSets([[range(a), range(b)], [range(v6)]]);
});

Deno.test("candidates begin after the last address, and include each address once, without the gateways", () => {
  const small = { subnet: "10.1.0.0/29" };
  assertEquals(walk([small]), ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"]);
  assertEquals(walk([small], "10.1.0.4"), ["10.1.0.5", "10.1.0.6", "10.1.0.2", "10.1.0.3", "10.1.0.4"]);
  assertEquals(walk([small], "10.1.0.6"), walk([small]));
  assertEquals(walk([small], "10.9.0.1"), walk([small]));
  assertEquals(walk([{ subnet: "10.1.0.0/30", gateway: "10.1.0.2" }]), ["10.1.0.1"]);
  assertEquals(walk([{ subnet: "fd00::/126" }]), ["fd00::2", "fd00::3"]);
});

Deno.test("U21 candidates include all ranges of a set, and end in the one they began in", () => {
  const set = [
    { subnet: "10.1.0.0/29", rangeStart: "10.1.0.2", rangeEnd: "10.1.0.3" },
    { subnet: "10.2.0.0/30" },
    { subnet: "10.3.0.0/29", rangeStart: "10.3.0.5", rangeEnd: "10.3.0.6", gateway: "10.3.0.6" },
  ];
  assertEquals(walk(set), ["10.1.0.2", "10.1.0.3", "10.2.0.2", "10.3.0.5"]);
  assertEquals(walk(set, "10.1.0.2"), ["10.1.0.3", "10.2.0.2", "10.3.0.5", "10.1.0.2"]);
  assertEquals(walk(set, "10.3.0.5"), ["10.1.0.2", "10.1.0.3", "10.2.0.2", "10.3.0.5"]);
  assertEquals(formatRangeSet(set.map(range)), "10.1.0.2-10.1.0.3,10.2.0.1-10.2.0.2,10.3.0.5-10.3.0.6");
});
