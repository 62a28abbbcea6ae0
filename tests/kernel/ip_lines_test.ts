import { assertEquals } from "@std/assert";
import { parseCidr, parseIp } from "../../lib/cni/address.ts";
import {
  ipLines,
  isWritable,
  needsDetails,
  needsFamily6,
  needsNumbers,
  unwritableIn,
} from "../../lib/kernel/ip_lines.ts";
import type { CreateLink, CreateVeth, LinkType, Operation } from "../../lib/kernel/operation.ts";

const cidr = (text: string) => parseCidr(text)!;
const ip = (text: string) => parseIp(text)!;
const lineOf = (operation: Operation) => ipLines([operation])[0];

const VETH: CreateVeth = {
  kind: "create-veth",
  name: "veth1",
  mac: "02:00:00:00:00:01",
  bridge: "br0",
  peer: { name: "eth0", mac: "02:00:00:00:00:02", netns: "/run/netns/a b" },
};

Deno.test("a pair is one line, with the MTU at both ends and quotes around the path", () => {
  assertEquals(
    lineOf(VETH),
    "link add name veth1 address 02:00:00:00:00:01 master br0 up type veth " +
      'peer name eth0 address 02:00:00:00:00:02 netns "/run/netns/a b"',
  );
  assertEquals(
    lineOf({ ...VETH, bridge: undefined }),
    "link add name veth1 address 02:00:00:00:00:01 up type veth " +
      'peer name eth0 address 02:00:00:00:00:02 netns "/run/netns/a b"',
  );
  assertEquals(
    lineOf({ ...VETH, mtu: 1400 }),
    "link add name veth1 address 02:00:00:00:00:01 mtu 1400 master br0 up type veth " +
      'peer name eth0 address 02:00:00:00:00:02 mtu 1400 netns "/run/netns/a b"',
  );
});

Deno.test("links are made, changed and removed by their names", () => {
  const lines = ipLines([
    { kind: "create-bridge", name: "br0", mac: "02:00:00:00:00:03" },
    { kind: "create-bridge", name: "br0", mac: "02:00:00:00:00:03", mtu: 1400 },
    { kind: "set-port", name: "veth1", hairpin: true, isolated: false },
    { kind: "set-link", name: "br0", up: true, promiscuous: undefined },
    { kind: "set-link", name: "br0", up: true, promiscuous: true },
    { kind: "set-link", name: "br0", mac: "02:00:00:00:00:04", promiscuous: false, up: false, alias: "a b" },
    { kind: "set-link", name: "br0", alias: "" },
    { kind: "set-link", name: "br0", allMulticast: true, mtu: 1400, txQueueLength: 0 },
    { kind: "set-link", name: "eth1", newName: "eth0", netns: "/run/netns/a b", alias: "eth1" },
    { kind: "set-link", name: "eth1", master: "br0" },
    { kind: "set-link", name: "eth1", master: "" },
    { kind: "create-link", name: "blue", link: { type: "vrf", table: 10 } },
    { kind: "remove-link", name: "veth1" },
  ]);
  assertEquals(lines, [
    "link add name br0 address 02:00:00:00:00:03 type bridge",
    "link add name br0 address 02:00:00:00:00:03 mtu 1400 type bridge",
    "link set dev veth1 type bridge_slave hairpin on isolated off",
    "link set dev br0 up",
    "link set dev br0 up promisc on",
    'link set dev br0 down promisc off address 02:00:00:00:00:04 alias "a b"',
    'link set dev br0 alias ""',
    "link set dev br0 allmulticast on mtu 1400 txqueuelen 0",
    'link set dev eth1 name eth0 netns "/run/netns/a b" alias "eth1"',
    "link set dev eth1 master br0",
    "link set dev eth1 nomaster",
    "link add name blue type vrf table 10",
    "link delete dev veth1",
  ]);
  assertEquals(
    lineOf({ kind: "set-link", name: "a0", newName: "b0", up: true }),
    "link set dev a0 name b0 up",
  );
});

Deno.test("a link on a master is made with what is special about its kind, in another namespace if that is named", () => {
  const made = (link: LinkType, more: Partial<CreateLink> = {}) =>
    lineOf({ kind: "create-link", name: "eth0", link, ...more });
  const lines = [
    made({ type: "macvlan", master: "up0", mode: "bridge" }, { netns: "/run/netns/a b" }),
    made({ type: "macvlan", master: "up0", mode: "passthru", broadcastQueue: 9 }, {
      mac: "02:00:00:00:00:01",
      mtu: 1400,
    }),
    made({ type: "ipvlan", master: "up0", mode: "l3s" }, { mtu: 1400 }),
    made({ type: "vlan", master: "up0", id: 0 }),
    made({ type: "dummy" }, { mac: "02:00:00:00:00:01" }),
  ];
  assertEquals(lines, [
    'link add link up0 name eth0 netns "/run/netns/a b" type macvlan mode bridge',
    "link add link up0 name eth0 address 02:00:00:00:00:01 mtu 1400 type macvlan mode passthru bcqueuelen 9",
    "link add link up0 name eth0 mtu 1400 type ipvlan mode l3s",
    "link add link up0 name eth0 type vlan id 0",
    "link add name eth0 address 02:00:00:00:00:01 type dummy",
  ]);
});

Deno.test("an address has a broadcast address where there is room for one, and is usable at once", () => {
  const added = (text: string) => lineOf({ kind: "add-address", device: "eth0", address: cidr(text) });
  assertEquals(["10.1.0.2/24", "10.1.0.2/30", "10.1.0.2/31", "10.1.0.2/32", "fd00::2/64"].map(added), [
    "address add 10.1.0.2/24 broadcast + dev eth0",
    "address add 10.1.0.2/30 broadcast + dev eth0",
    "address add 10.1.0.2/31 dev eth0",
    "address add 10.1.0.2/32 dev eth0",
    "address add fd00::2/64 nodad dev eth0",
  ]);
  assertEquals(
    ipLines([
      { kind: "add-address", device: "br0", address: cidr("10.1.0.1/24"), replace: true },
      { kind: "remove-address", device: "br0", address: cidr("10.1.0.1/24") },
    ]),
    ["address replace 10.1.0.1/24 broadcast + dev br0", "address delete 10.1.0.1/24 dev br0"],
  );
});

Deno.test("a neighbor replaces what was known of it, and is looked at again", () => {
  const neighbor = { kind: "set-neighbor", device: "br0", mac: "02:00:00:00:00:01" } as const;
  assertEquals(["10.1.0.2", "fd00::2"].map((text) => lineOf({ ...neighbor, ip: ip(text) })), [
    "neighbour replace 10.1.0.2 lladdr 02:00:00:00:00:01 dev br0 nud stale",
    "neighbour replace fd00::2 lladdr 02:00:00:00:00:01 dev br0 nud stale",
  ]);
});

Deno.test("a route has the words for what is given, zero among them, and the bits of its prefix only", () => {
  const device = "eth0";
  assertEquals(
    ipLines([
      { kind: "add-route", device, dst: cidr("10.2.3.4/16") },
      { kind: "add-route", device, dst: cidr("::/0"), gateway: ip("fd00::1") },
      {
        kind: "add-route",
        device,
        dst: cidr("0.0.0.0/0"),
        gateway: ip("10.1.0.1"),
        metric: 5,
        table: 100,
        scope: 0,
        mtu: 1400,
        advmss: 1300,
        protocol: 2,
      },
      { kind: "add-route", device, dst: cidr("10.2.0.0/16"), source: ip("10.2.3.4"), replace: true },
    ]),
    [
      "route prepend 10.2.0.0/16 dev eth0",
      "route prepend ::/0 via fd00::1 dev eth0",
      "route prepend 0.0.0.0/0 via 10.1.0.1 dev eth0 metric 5 table 100 scope 0 protocol 2 mtu 1400 advmss 1300",
      "route replace 10.2.0.0/16 dev eth0 src 10.2.3.4",
    ],
  );
});

Deno.test("a route is removed by its next hops, with their shares if there are several", () => {
  const remove = { kind: "remove-route", dst: cidr("0.0.0.0/0") } as const;
  const one = { device: "eth0", gateway: ip("10.1.0.1") };
  assertEquals(
    ipLines([
      { ...remove, metric: 0, hops: [one] },
      { ...remove, hops: [{ device: "eth0" }] },
      { ...remove, hops: [{ device: "eth0", gateway: ip("fd00::1") }] },
      { ...remove, hops: [{ ...one, weight: 3 }, { device: "eth1" }] },
      { ...remove, dst: cidr("fd00::9/64"), hops: [{ device: "eth0", gateway: ip("fd00::1"), weight: 2 }] },
    ]),
    [
      "route delete 0.0.0.0/0 table main metric 0 via 10.1.0.1 dev eth0",
      "route delete 0.0.0.0/0 table main dev eth0",
      "route delete 0.0.0.0/0 table main via inet6 fd00::1 dev eth0",
      "route delete 0.0.0.0/0 table main nexthop via 10.1.0.1 dev eth0 weight 3 nexthop dev eth1 weight 1",
      "route delete fd00::/64 table main via fd00::1 dev eth0",
    ],
  );
  assertEquals(unwritableIn({ ...remove, hops: [one, { device: "e 0" }] }), "e 0");
});

Deno.test("routes are shown by their family", () => {
  assertEquals(
    ipLines([
      { kind: "show-routes", family: 4 },
      { kind: "show-routes", family: 6 },
      { kind: "show-routes", family: 6, defaults: true },
    ]),
    [
      "route show table all root 0.0.0.0/0",
      "route show table all root ::/0",
      "route show table all exact ::/0",
    ],
  );
});

Deno.test("a rule is of its source's family, and numbers are shown where no interfaces are", () => {
  const source = cidr("fd00::7/64");
  const operations = [
    { kind: "add-rule", source, table: 100 },
    { kind: "add-rule", source: cidr("10.1.0.7/32"), table: 254, priority: 7 },
    { kind: "remove-rule", source, table: 100, priority: 0 },
    { kind: "show-rules", family: 6 },
    { kind: "show-rules", family: 4 },
  ] as const;
  assertEquals(ipLines(operations), [
    "rule add from fd00::/64 table 100",
    "rule add from 10.1.0.7/32 table 254 priority 7",
    "rule delete from fd00::/64 table 100 priority 0",
    "rule show",
    "rule show",
  ]);
  assertEquals(operations.map(needsFamily6), [true, false, true, true, false]);
  const wanted: readonly [readonly Operation[], boolean][] = [
    [[{ kind: "show-rules", family: 4 }], true],
    [[{ kind: "show-routes", family: 4 }, { kind: "show-rules", family: 4 }], true],
    [[{ kind: "show-routes", family: 4 }], false],
    [[{ kind: "show-link", name: "lo" }, { kind: "show-rules", family: 4 }], false],
  ];
  assertEquals(wanted.map(([operations]) => needsNumbers(operations)), wanted.map(([, numbers]) => numbers));
});

Deno.test("links without addresses are shown in the last line only: later lines would show no addresses", () => {
  assertEquals(
    ipLines([
      { kind: "show-link", name: "eth0" },
      { kind: "show-links", of: "veth" },
      { kind: "show-links", bridge: "br0", addresses: true },
      { kind: "show-links", bridge: "br0", of: "veth" },
    ]),
    [
      "addr show dev eth0",
      "addr show type veth",
      "addr show master br0",
      "link show master br0 type veth",
    ],
  );
  assertEquals(lineOf({ kind: "show-links" }), "link show");
  assertEquals(lineOf({ kind: "show-links", addresses: true }), "addr show");
});

Deno.test("details are shown, except in a list of links that are all of one kind", () => {
  const veths = { kind: "show-links", of: "veth" } as const;
  const wanted: readonly [readonly Operation[], boolean][] = [
    [[{ kind: "show-link", name: "lo" }], true],
    [[{ kind: "show-links" }], true],
    [[{ kind: "show-links", bridge: "br0" }], true],
    [[veths], false],
    [[{ kind: "show-links", addresses: true }], true],
    [[{ ...veths, addresses: true }], true],
    // Then it is not `ip link` that shows them, and `ip addr` shows aliases among the details only.
    [[veths, { kind: "remove-link", name: "eth0" }], true],
    [[{ kind: "remove-link", name: "eth0" }], false],
    [[], false],
  ];
  assertEquals(wanted.map(([operations]) => needsDetails(operations)), wanted.map(([, details]) => details));
});

Deno.test("words that ip would misread are found, wherever they are", () => {
  for (const bad of ['a"b', "a'b", "a\\b", "a#b", "a\nb", "a\u007fb"]) {
    assertEquals(isWritable(bad), false, JSON.stringify(bad));
    const operations: readonly Operation[] = [
      { ...VETH, name: bad },
      { ...VETH, bridge: bad },
      { ...VETH, peer: { ...VETH.peer, name: bad } },
      { ...VETH, peer: { ...VETH.peer, netns: bad } },
      { kind: "create-bridge", name: bad, mac: "02:00:00:00:00:03" },
      { kind: "set-port", name: bad, hairpin: false, isolated: false },
      { kind: "create-link", name: bad, link: { type: "dummy" } },
      { kind: "create-link", name: "eth0", link: { type: "vlan", master: bad, id: 5 } },
      { kind: "create-link", name: "eth0", mac: bad, link: { type: "dummy" } },
      { kind: "create-link", name: "eth0", netns: bad, link: { type: "dummy" } },
      { kind: "set-link", name: bad },
      { kind: "set-link", name: "eth0", newName: bad },
      { kind: "set-link", name: "eth0", mac: bad },
      { kind: "set-link", name: "eth0", alias: bad },
      { kind: "set-link", name: "eth0", netns: bad },
      { kind: "set-link", name: "eth0", master: bad },
      { kind: "remove-link", name: bad },
      { kind: "add-address", device: bad, address: cidr("10.1.0.2/24") },
      { kind: "remove-address", device: bad, address: cidr("10.1.0.2/24") },
      { kind: "set-neighbor", device: bad, ip: ip("10.1.0.2"), mac: "02:00:00:00:00:01" },
      { kind: "set-neighbor", device: "br0", ip: ip("10.1.0.2"), mac: bad },
      { kind: "add-route", device: bad, dst: cidr("10.1.0.0/24") },
      { kind: "show-link", name: bad },
      { kind: "show-links", bridge: bad },
    ];
    for (const operation of operations) assertEquals(unwritableIn(operation), bad, operation.kind);
  }
});

Deno.test("a name has neither blanks nor no characters, but a path and an alias may", () => {
  assertEquals(unwritableIn(VETH), undefined);
  assertEquals(unwritableIn({ kind: "set-link", name: "eth0", alias: "two words" }), undefined);
  assertEquals(unwritableIn({ kind: "set-link", name: "eth0", alias: "" }), undefined);
  assertEquals(unwritableIn({ kind: "remove-link", name: "two words" }), "two words");
  assertEquals(unwritableIn({ kind: "remove-link", name: "" }), "");
  assertEquals(unwritableIn({ kind: "show-links" }), undefined);
});
