// Which ports of the host an attachment takes, and which of them conflict.
import { assertEquals } from "@std/assert";
import { contains, parseCidr, parseIp } from "../../lib/cni/address.ts";
import { type Json, parseJson } from "../../lib/cni/json.ts";
import { formatHostPort, type HostPort, hostPortsOf, overlap } from "../../lib/state/host_port.ts";
import { property, type Random } from "../cni/random.ts";

const shown = (...portMappings: Json[]) => hostPortsOf({ portMappings }).map(formatHostPort);
const one = (hostIP: string, hostPort = 80, protocol = "tcp"): HostPort =>
  hostPortsOf({ portMappings: [{ hostPort, protocol, hostIP }] })[0]!;

Deno.test("F67 G50 ports are read with the names of the conventions, and with those of Go's members", () => {
  assertEquals(
    shown(
      { hostPort: 8080, containerPort: 80, protocol: "tcp", hostIP: "" },
      { HostPort: 53, ContainerPort: 53, Protocol: "UDP", HostIP: "127.0.0.1" },
      { hostPort: 443 },
      { hostPort: 38412, protocol: "Sctp", hostIP: "2001:DB8:0::1" },
      { hostPort: 1, hostIP: null, protocol: null },
    ),
    ["8080/tcp", "127.0.0.1:53/udp", "443/tcp", "[2001:db8::1]:38412/sctp", "1/tcp"],
  );
  assertEquals(hostPortsOf({ portMappings: [parseJson('{"hostPort": 8080.0}')] }).map(formatHostPort), [
    "8080/tcp",
  ]);
});

Deno.test("F67 an entry without a valid port of the host claims none, and is left to the plugins", () => {
  const none: Json[] = [
    {},
    { containerPort: 80 },
    { hostPort: 0 },
    { hostPort: -1 },
    { hostPort: 65536 },
    { hostPort: 1.5 },
    { hostPort: "80" },
    { hostPort: 80, protocol: 6 },
    { hostPort: 80, protocol: "../../etc" },
    { hostPort: 80, hostIP: "eth0" },
    { hostPort: 80, hostIP: "010.0.0.1" },
    { hostPort: 80, hostIP: 1 },
    null,
    "80:80",
    [80],
  ];
  assertEquals(shown(...none), []);
  assertEquals(
    [undefined, null, {}, "x", 80].map((json) =>
      hostPortsOf(json === undefined ? {} : { portMappings: json })
    ),
    [
      [],
      [],
      [],
      [],
      [],
    ],
  );
});

Deno.test("F67 a wildcard conflicts with its family, an empty address with both, a mapped address with IPv4", () => {
  const overlaps = (a: string, b: string) => overlap(one(a), one(b));
  const all = [
    "",
    "0.0.0.0",
    "::",
    "127.0.0.1",
    "10.0.0.1",
    "::1",
    "fd00::1",
    "::ffff:127.0.0.1",
    "::ffff:0.0.0.0",
  ];
  const inTheWay = Object.fromEntries(all.map((a) => [a, all.filter((b) => overlaps(a, b)).join(" ")]));
  assertEquals(inTheWay, {
    "": all.join(" "),
    "0.0.0.0": " 0.0.0.0 127.0.0.1 10.0.0.1 ::ffff:127.0.0.1 ::ffff:0.0.0.0",
    "::": " :: ::1 fd00::1",
    "127.0.0.1": " 0.0.0.0 127.0.0.1 ::ffff:127.0.0.1 ::ffff:0.0.0.0",
    "10.0.0.1": " 0.0.0.0 10.0.0.1 ::ffff:0.0.0.0",
    "::1": " :: ::1",
    "fd00::1": " :: fd00::1",
    "::ffff:127.0.0.1": " 0.0.0.0 127.0.0.1 ::ffff:127.0.0.1 ::ffff:0.0.0.0",
    "::ffff:0.0.0.0": " 0.0.0.0 127.0.0.1 10.0.0.1 ::ffff:127.0.0.1 ::ffff:0.0.0.0",
  });
  assertEquals([overlap(one("", 80), one("", 81)), overlap(one("", 80), one("", 80, "udp"))], [false, false]);
});

const ADDRESSES = [
  "",
  "0.0.0.0",
  "::",
  "127.0.0.1",
  "127.0.0.2",
  "::1",
  "fe80::1",
  "::ffff:127.0.0.1",
  "::ffff:0.0.0.0",
];
const PROBES = ["127.0.0.1", "127.0.0.2", "192.0.2.1", "::1", "fe80::1", "2001:db8::1"].map((text) =>
  parseIp(text)!
);

/** The addresses of the packets that reach the mapping, computed without the rule under test. */
function reached(hostIP: string): readonly boolean[] {
  const networks = hostIP === "" ? ["0.0.0.0/0", "::/0"] : [networkOf(hostIP)];
  return PROBES.map((probe) => networks.some((network) => contains(parseCidr(network)!, probe)));
}

function networkOf(hostIP: string): string {
  if (hostIP === "0.0.0.0" || hostIP === "::ffff:0.0.0.0") return "0.0.0.0/0";
  if (hostIP === "::") return "::/0";
  return `${hostIP}/${hostIP.includes(":") ? 128 : 32}`;
}

const mappingOf = (random: Random) => ({
  hostIP: random.one(ADDRESSES),
  hostPort: random.one([80, 81]),
  protocol: random.one(["tcp", "TCP", "udp"]),
});

property(
  "two ports overlap exactly if one packet would be for both, in either order",
  (random) => {
    const [a, b] = [mappingOf(random), mappingOf(random)];
    const [portA, portB] = hostPortsOf({ portMappings: [a, b] }) as [HostPort, HostPort];
    const sameDoor = a.hostPort === b.hostPort && a.protocol.toLowerCase() === b.protocol.toLowerCase();
    const toB = reached(b.hostIP);
    const expected = sameDoor && reached(a.hostIP).some((isReached, index) => isReached && toB[index]);
    assertEquals([overlap(portA, portB), overlap(portB, portA), overlap(portA, portA)], [
      expected,
      expected,
      true,
    ]);
  },
);
