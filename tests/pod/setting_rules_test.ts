import { assert, assertEquals, assertThrows } from "@std/assert";
import { contains, formatCidr, formatIp, networkOf } from "../../lib/cni/address.ts";
import { CniError } from "../../lib/cni/error.ts";
import { type IpRange, macDigits, type NetworkSettings } from "../../lib/pod/request.ts";
import { isMac } from "../../lib/pod/setting_rules.ts";
import { validateSettings } from "../../lib/pod/settings.ts";
import { property, type Random } from "../cni/random.ts";
import { plan, refusal } from "./plan.ts";

const ok = (settings: NetworkSettings) =>
  validateSettings(settings, (path, problem) => new CniError("usage", problem, { network: "a", path }));
/** Asserts that the error names network, member and value, and returns its message. */
function wrong(settings: NetworkSettings, path: string, value?: unknown): string {
  const error = assertThrows(() => ok(settings), CniError, undefined, `${path} ${JSON.stringify(value)}`);
  assertEquals({ kind: error.kind, network: error.context.network, path: error.context.path }, {
    kind: "usage",
    network: "a",
    path,
  });
  if (value !== undefined) assert(error.msg.includes(JSON.stringify(value)), error.msg);
  return error.msg;
}

Deno.test("F66 an address may have a prefix, and may be given once, however it is written", () => {
  ok({ ips: ["10.1.0.5", "fd00::5", "10.1.0.6/24", "fd00::6/64"] });
  assertEquals(wrong({ ips: ["10.1.0.5", "10.1.0.5/24"] }, "ips[1]"), '"10.1.0.5/24" is given twice');
  for (const ip of ["10.1.0.5/33", "10.1.0.5/", "10.1.0", "fd00::1%eth0", "", "host", "10.1.0.5\n"]) {
    assertEquals(wrong({ ips: ["10.1.0.1", ip] }, "ips[1]"), `unable to parse IP address "${ip}"`);
  }
  assertEquals(
    wrong({ ips: ["fd00::5", "FD00:0::5"] }, "ips[1]", "FD00:0::5"),
    '"FD00:0::5" is given twice',
  );
});

Deno.test("F66 a MAC address is valid in each of its spellings", () => {
  const good = [
    "02:00:5e:10:00:01",
    "02-00-5E-10-00-01",
    "0200.5e10.0001",
    "02:00:5e:10:00:00:00:01",
    "0200.5e10.0000.0001",
    Array.from({ length: 20 }, () => "0a").join(":"),
    Array.from({ length: 10 }, () => "0a0b").join("."),
  ];
  for (const mac of good) assert(isMac(mac), mac);
  const bad = [
    "",
    "02",
    "02:00:5e:10:00",
    "02:00:5e:10:00:01:02",
    "02:00-5e:10:00:01",
    "020.05e1.00001",
    "0200:5e10:0001",
    "02:00:5e:10:00:0g",
    "02005e100001",
    "0200.5e10",
    "02:00:5e:10:00:01\n",
  ];
  for (const mac of bad) assertEquals(wrong({ mac }, "mac"), `unable to parse MAC address "${mac}"`);
  assertEquals(macDigits("0A00.5e10.0001"), macDigits("0a-00-5E-10-00-01"));
});

Deno.test("F66 G51 a request that is wrong only for its last network is not planned at all", () => {
  const error = refusal({ networks: [{ name: "a" }, { name: "b" }, { name: "c", ips: ["10.1.0.5/33"] }] });
  assertEquals(error.message, 'Cannot use network "c": ips[0]: unable to parse IP address "10.1.0.5/33"');
  assertEquals(plan({ ips: ["FD00::5"] })[0]?.args.at(-1), ["IP", "FD00::5"], "as it was written");
});

Deno.test("ports are whole numbers from 1 to 65535, with a known protocol, on one address or on all", () => {
  const port = { hostIP: "", hostPort: 1, containerPort: 65_535, protocol: "tcp" } as const;
  ok({ publish: [port, { ...port, hostIP: "::1", protocol: "sctp" }] });
  for (const value of [0, -1, 1.5, 65_536, NaN, Infinity, "80"]) {
    for (const member of ["hostPort", "containerPort"]) {
      wrong({ publish: [port, { ...port, [member]: value }] }, `publish[1].${member}`, value);
    }
  }
  for (const protocol of ["", "TCP", "icmp", 6]) {
    wrong({ publish: [{ ...port, protocol: protocol as "tcp" }] }, "publish[0].protocol", protocol);
  }
  for (const hostIP of ["localhost", "10.0.0.1/8", "[::1]", 7]) {
    wrong({ publish: [{ ...port, hostIP: hostIP as string }] }, "publish[0].hostIP", hostIP);
  }
});

Deno.test("rates and bursts are whole numbers of bits from 1, and a burst needs its rate", () => {
  ok({ bandwidth: {} });
  ok({ bandwidth: { ingressRate: 1, ingressBurst: 1, egressRate: 1e12 } });
  for (const value of [0, -1, 0.5, NaN, 1e12 + 1, Infinity]) {
    for (const member of ["ingressRate", "ingressBurst", "egressRate", "egressBurst"]) {
      const others = { ingressRate: 1, egressRate: 1 };
      wrong({ bandwidth: { ...others, [member]: value } }, `bandwidth.${member}`, value);
    }
  }
  wrong({ bandwidth: { ingressRate: 8, egressBurst: 9 } }, "bandwidth.egressBurst", 9);
});

Deno.test("a range is a subnet without host bits; its addresses are inside, and the first is not after the last", () => {
  const range = {
    subnet: "10.1.2.0/24",
    rangeStart: "10.1.2.3",
    rangeEnd: "10.1.2.3",
    gateway: "10.1.2.254",
  };
  ok({ ipRanges: [[range, { subnet: "10.9.0.0/16" }], [{ subnet: "fd00::/64", rangeStart: "FD00::1" }]] });
  const at = (more: Partial<Record<keyof IpRange, unknown>>): NetworkSettings => ({
    ipRanges: [[{ subnet: "10.8.0.0/24" }, { ...range, ...more } as IpRange]],
  });
  for (const subnet of ["", "10.1.2.0", "10.1.2.0/33", "x", "fd00::/129", undefined, 7]) {
    wrong(at({ subnet }), "ipRanges[0][1].subnet", subnet);
  }
  const bits = wrong(at({ subnet: "10.1.2.1/24" }), "ipRanges[0][1].subnet", "10.1.2.1/24");
  assert(bits.endsWith("has host bits; the subnet is 10.1.2.0/24"), bits);
  for (const member of ["rangeStart", "rangeEnd", "gateway"]) {
    for (const value of ["10.1.3.1", "10.1.1.255", "fd00::1", "x", "", "10.1.2.5/24", 5]) {
      wrong(at({ [member]: value }), `ipRanges[0][1].${member}`, value);
    }
  }
  wrong(at({ rangeStart: "10.1.2.4", rangeEnd: "10.1.2.3" }), "ipRanges[0][1].rangeStart", "10.1.2.4");
  wrong({ ipRanges: [[range], []] }, "ipRanges[1]", []);
  wrong({ ipRanges: [range as unknown as IpRange[]] }, "ipRanges[0]");
  const both = wrong({ ipRanges: [[range, { subnet: "fd00::/64" }]] }, "ipRanges[0]");
  assert(both.includes("10.1.2.0/24, fd00::/64"), both);
});

/** An address of a family, so near to others that both outcomes happen. */
const anyIp = (random: Random) =>
  random.chance(20)
    ? { family: 6 as const, value: (0xfd00n << 112n) + BigInt(random.below(1 << 10)) }
    : { family: 4 as const, value: 0x0a010000n + BigInt(random.below(1 << 10)) };

property("a range is valid exactly if subnet, first, last and gateway fit each other", (random) => {
  const base = anyIp(random);
  const cidr = networkOf({ ip: base, prefix: (base.family === 4 ? 32 : 128) - random.below(11) });
  const [start, end, gateway] = [0, 0, 0].map(() => random.chance(70) ? anyIp(random) : undefined);
  const text = (ip: typeof start) => ip && formatIp(ip);
  const range = {
    subnet: formatCidr(cidr),
    ...(start && { rangeStart: text(start)! }),
    ...(end && { rangeEnd: text(end)! }),
    ...(gateway && { gateway: text(gateway)! }),
  };
  const inside = [start, end, gateway].every((ip) => ip === undefined || contains(cidr, ip));
  const inOrder = start === undefined || end === undefined || start.value <= end.value;
  const settings = { ipRanges: [[range]] };
  if (inside && inOrder) ok(settings);
  else assertThrows(() => ok(settings), CniError, undefined, JSON.stringify(range));
}, 2_000);

Deno.test("name servers are addresses; domains, aliases and options are words without control characters", () => {
  ok({
    dns: {
      servers: ["10.1.0.1", "fd00::1"],
      searches: ["a.example", ".", "_x.b", "ä.example"],
      options: ["ndots:2"],
    },
  });
  ok({ aliases: ["db", "Primary_1.x"] });
  for (const server of ["", "dns.example", "10.1.0.1:53", "fd00::1%eth0"]) {
    wrong({ dns: { servers: ["10.1.0.1", server] } }, "dns.servers[1]", server);
  }
  for (const text of ["", " ", "a b", "a\nb", "a\u0000", "a;b", "a/b", "a\u202eb", "x".repeat(254), 7]) {
    wrong({ dns: { searches: ["fine", text as string] } }, "dns.searches", text);
    wrong({ aliases: [text as string] }, "aliases", text);
  }
  for (const text of ["", "a b", "a\tb", "\u0007"]) wrong({ dns: { options: [text] } }, "dns.options", text);
});

Deno.test("the names of a device and of a cgroup are visible characters", () => {
  ok({ deviceID: "0000:04:00.5", cgroupPath: "/kubelet.slice/a b.slice" });
  for (const text of ["", "a\nb", "\u0000", "a\u0085b"]) {
    wrong({ deviceID: text }, "deviceID", text);
    wrong({ cgroupPath: text }, "cgroupPath", text);
  }
});
