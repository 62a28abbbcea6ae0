import { assertEquals } from "@std/assert";
import {
  compareIp,
  contains,
  formatCidr,
  formatIp,
  isPlainCidr4,
  lastOf,
  networkOf,
  parseCidr,
  parseIp,
} from "../../lib/cni/address.ts";

const print = (text: string) => {
  const ip = parseIp(text);
  return ip === undefined ? undefined : formatIp(ip);
};
const printCidr = (text: string) => {
  const cidr = parseCidr(text);
  return cidr === undefined ? undefined : formatCidr(cidr);
};

Deno.test("C20 prints every address in canonical form", () => {
  const cases = {
    "0.0.0.0": "0.0.0.0",
    "255.255.255.255": "255.255.255.255",
    "10.2.3.1": "10.2.3.1",
    "::": "::",
    "::1": "::1",
    "1::": "1::",
    "FD00:0::2": "fd00::2",
    "2001:db8:0:0:1:0:0:1": "2001:db8::1:0:0:1",
    "2001:db8:0:1:1:1:1:1": "2001:db8:0:1:1:1:1:1",
    "2001:0:0:1:0:0:0:1": "2001:0:0:1::1",
    "1:2:3:4:5:6:7::": "1:2:3:4:5:6:7:0",
    "::2:3:4:5:6:7:8": "0:2:3:4:5:6:7:8",
    "64:ff9b::192.0.2.1": "64:ff9b::c000:201",
    "1:2:3:4:5:6:1.2.3.4": "1:2:3:4:5:6:102:304",
    "::ffff:10.0.0.1": "10.0.0.1",
    "::ffff:a00:1": "10.0.0.1",
    "::10.0.0.1": "::a00:1",
  };
  for (const [text, expected] of Object.entries(cases)) assertEquals(print(text), expected, text);
});

Deno.test("C21 refuses a text that is not an address", () => {
  const cases = [
    "",
    "10",
    "10.0.0",
    "10.0.0.1.2",
    "10.0.0.256",
    "010.0.0.1",
    "10.0.0.1 ",
    "+1.0.0.0",
    "1e1.0.0.0",
    "0x1.0.0.0",
    "10.0.0.",
    ":",
    ":::",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    "::1:2:3:4:5:6:7:8",
    "1::2::3",
    "1:",
    ":1",
    "12345::",
    "g::",
    "fe80::1%eth0",
    "[::1]",
    "::1.2.3",
    "::01.2.3.4",
    "1.2.3.4::",
    "1:2:3:4:5:6:7:1.2.3.4",
    "::ffff:10.0.0.256",
  ];
  for (const text of cases) assertEquals(parseIp(text), undefined, text);
});

Deno.test("C20 keeps the host part and shortens the prefix of mapped addresses", () => {
  const cases = {
    "10.2.3.1/24": "10.2.3.1/24",
    "0.0.0.0/0": "0.0.0.0/0",
    "10.0.0.1/32": "10.0.0.1/32",
    "FD00:0::2/64": "fd00::2/64",
    "::/0": "::/0",
    "::1/128": "::1/128",
    "10.0.0.1/024": "10.0.0.1/24",
    "::1/0064": "::1/64",
    "::ffff:10.0.0.1/120": "10.0.0.1/24",
    "::ffff:10.0.0.1/96": "10.0.0.1/0",
  };
  for (const [text, expected] of Object.entries(cases)) assertEquals(printCidr(text), expected, text);
});

Deno.test("C21 refuses a text that is not an address with a prefix length", () => {
  const cases = [
    "",
    "/",
    "10.0.0.1",
    "10.0.0.1/",
    "/24",
    "10.0.0.1/33",
    "10.0.0.1/-1",
    "10.0.0.1/24/24",
    "10.0.0.1/255.255.255.0",
    "010.0.0.1/24",
    "::1/129",
    "::1/0129",
    "10.0.0.1/0000033",
    "::ffff:10.0.0.1/95",
    "10.0.0.1/ 24",
    "fe80::1%eth0/64",
  ];
  for (const text of cases) assertEquals(parseCidr(text), undefined, text);
});

Deno.test("networkOf, lastOf and contains agree on the borders of a network", () => {
  const cases = [
    ["10.1.2.3/24", "10.1.2.0/24", "10.1.2.255"],
    ["10.1.2.3/32", "10.1.2.3/32", "10.1.2.3"],
    ["10.1.2.3/31", "10.1.2.2/31", "10.1.2.3"],
    ["10.1.2.3/0", "0.0.0.0/0", "255.255.255.255"],
    ["fd00::1234/112", "fd00::/112", "fd00::ffff"],
    ["fd00::1/0", "::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
  ] as const;
  for (const [text, network, last] of cases) {
    const cidr = parseCidr(text)!;
    assertEquals(formatCidr(networkOf(cidr)), network);
    assertEquals(formatIp(lastOf(cidr)), last);
    const { ip: first } = networkOf(cidr);
    for (const ip of [first, cidr.ip, lastOf(cidr)]) assertEquals(contains(cidr, ip), true, text);
    const [before, after] = [first.value - 1n, lastOf(cidr).value + 1n];
    assertEquals(
      contains(cidr, { ...cidr.ip, value: after }),
      cidr.prefix === 0 ? after >> 128n > 1n : false,
    );
    if (before >= 0n) assertEquals(contains(cidr, { ...cidr.ip, value: before }), false);
  }
});

Deno.test("contains() is false for an address of the other family", () => {
  assertEquals(contains(parseCidr("0.0.0.0/0")!, parseIp("::1")!), false);
  assertEquals(contains(parseCidr("::/0")!, parseIp("0.0.0.1")!), false);
});

Deno.test("compareIp orders IPv4 before IPv6, then by value", () => {
  const sorted = ["0.0.0.1", "9.0.0.0", "10.0.0.0", "::", "::2", "fd00::"];
  const shuffled = ["::2", "10.0.0.0", "fd00::", "0.0.0.1", "::", "9.0.0.0"];
  assertEquals(shuffled.map((text) => parseIp(text)!).sort(compareIp).map(formatIp), sorted);
  assertEquals(compareIp(parseIp("::1")!, parseIp("::1")!), 0);
});

Deno.test("an IPv4 address with prefix length is plain exactly if it is printed as it is written", () => {
  const parts = [
    "",
    "0",
    "00",
    "7",
    "07",
    "10",
    "99",
    "100",
    "199",
    "200",
    "249",
    "250",
    "255",
    "256",
    "300",
    "1e1",
  ];
  const lengths = ["", "0", "00", "8", "08", "19", "29", "30", "32", "33", "99", "132", " 8"];
  for (const part of parts) {
    for (const length of lengths) {
      for (
        const address of [
          `${part}.1.2.3`,
          `10.${part}.2.3`,
          `10.1.2.${part}`,
          `10.1.${part}`,
          `1.2.3.4.${part}`,
        ]
      ) {
        const text = `${address}/${length}`;
        const cidr = parseCidr(text);
        assertEquals(isPlainCidr4(text), cidr !== undefined && formatCidr(cidr) === text, text);
      }
    }
  }
  for (const text of ["10.1.2.3", "::1/8", "::ffff:10.1.2.3/120", "10.1.2.3/8\n", "\n10.1.2.3/8", ""]) {
    assertEquals(isPlainCidr4(text), false, text);
  }
});
