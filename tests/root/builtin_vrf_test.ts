// The built-in vrf against the originals: the same VRFs, ports and routes, and each undoes what the other has made. They
// need a kernel that makes VRFs, such as that of `./denow task test:kernel`.
import { assertEquals, assertMatch } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { type CommandRequest, runCommand } from "../../lib/host/command.ts";
import { type Answer, assertDone, type Call, callBinary, callBuiltin } from "./builtin_call.ts";
import { inWorld, sh, type World } from "./builtin_world.ts";
import { CNI_1_1_1, CNI_1_9_1, type Component } from "./need.ts";
import { needLinks } from "./need_links.ts";
import { stopUntilAdded } from "./stopped_add.ts";

type Caller = (call: Call) => Promise<Answer>;

const OURS: Caller = (call) => callBuiltin("vrf", call);
const BY_IP: Caller = (call) => callBuiltin("vrf", call, (request: CommandRequest) => runCommand(request));
const ORIGINALS: readonly (readonly [needs: Component, call: Caller])[] = [
  ["cni-1.1.1", (call) => callBinary(CNI_1_1_1, "vrf", call)],
  ["cni-1.9.1", (call) => callBinary(CNI_1_9_1, "vrf", call)],
];

interface Case {
  readonly ips: readonly JsonObject[];
  readonly routes?: readonly JsonObject[];
  /** Lines of `ip` in the namespace, after the addresses. */
  readonly more?: readonly string[];
  readonly table?: number;
  /** 1.1.1 loses the routes (plugins#866). */
  readonly since?: Component;
}

const V4 = { address: "10.20.1.7/24", gateway: "10.20.1.1" };
const V6 = { address: "fd20:1::7/64", gateway: "fd20:1::1" };

const OTHER_METRIC: Case = {
  ips: [V4, V6],
  routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
  more: [
    "route add default via 10.20.1.1 dev net1 metric 5",
    "route add default via fd20:1::1 dev net1 metric 2000",
    "route add 10.90.0.0/16 via 10.20.1.9",
  ],
  since: "cni-1.9.1",
};

const CASES: Readonly<Record<string, Case>> = {
  "addresses alone": { ips: [V4, V6] },
  "a configured table": { ips: [V4], table: 1001 },
  "a VRF that is there": {
    ips: [V4, V6],
    more: ["link add blue type vrf table 77", "link set blue up"],
    table: 77,
  },
  "another VRF has the first table": {
    ips: [V4],
    more: ["link add red type vrf table 1", "link set red up"],
  },
  "default routes of another metric": OTHER_METRIC,
};

/** A pod with a first network, and net1 on a link to itself, because a route needs a carrier. */
async function podWith(world: World, name: string, { ips, more = [] }: Case): Promise<string> {
  const netns = await world.netns(name);
  const addresses = ips.map(({ address }) =>
    `addr add ${address} dev net1${/:/.test(`${address}`) ? " nodad" : ""}`
  );
  await sh(
    `
    for name in eth0 net1; do
      ip link add $name type veth peer name $name-far
      echo 0 >/proc/sys/net/ipv6/conf/$name/accept_dad
      ip link set $name-far up; ip link set $name up
    done
    ip addr add 10.10.0.7/24 dev eth0; ip addr add fd10::7/64 dev eth0 nodad
    ip route add default via 10.10.0.1; ip route add default via fd10::1
    ip -batch - <<END\n${[...addresses, ...more].join("\n")}\nEND
    until ip -6 addr show dev net1 | grep -q fe80; do :; done`,
    netns,
  );
  return netns;
}

function callOf({ tag }: World, { ips, routes = [], table }: Case, netns: string): Omit<Call, "verb"> {
  const prevResult = {
    cniVersion: "1.0.0",
    interfaces: [{ name: "net1", mac: "02:00:00:00:00:aa", sandbox: netns }],
    ips: ips.map((ip) => ({ ...ip, interface: 0 })),
    routes,
    dns: {},
  };
  return {
    ...{ containerId: `c-${tag}`, netns, ifName: "net1" },
    config: {
      cniVersion: "1.0.0",
      name: "net",
      type: "vrf",
      vrfname: "blue",
      ...(table ? { table } : {}),
      prevResult,
    },
  };
}

async function stateOf(netns: string): Promise<unknown> {
  // The kernel gives the address of the link, and its routes, a moment later.
  await sh("until ip -6 addr show dev net1 | grep -q fe80; do :; done", netns);
  const links = JSON.parse(await sh("ip -d -j addr show", netns));
  const isOfPod = (line: string) => line.startsWith("unicast") && !line.includes("far");
  const routes = (await sh("ip -d -4 route show table all; ip -d -6 route show table all", netns)).split(
    "\n",
  );
  return {
    links: links.filter(({ ifname }: JsonObject) => !/far|lo$/.test(`${ifname}`)).map((link: JsonObject) => ({
      ...{ name: link.ifname, master: link.master, table: (link.linkinfo as JsonObject).info_data },
      flags: (link.flags as string[]).filter((flag) => flag === "UP"),
      addresses: (link.addr_info as JsonObject[]).filter(({ local }) => !`${local}`.startsWith("fe80"))
        .map(({ local, prefixlen }) => `${local}/${prefixlen}`).sort(),
    })).sort((a: JsonObject, b: JsonObject) => `${a.name}`.localeCompare(`${b.name}`)),
    routes: routes.map((line) => line.replaceAll(/\s+/g, " ").trim()).filter(isOfPod).sort(),
    rules: await sh("ip rule; ip -6 rule", netns),
  };
}

async function vrfsIn(netns: string): Promise<string> {
  return (await sh("ip -o link show type vrf", netns)).trim();
}

for (const [needs, original] of ORIGINALS) {
  for (const [name, each] of Object.entries(CASES)) {
    if (each.since !== undefined && each.since !== needs) continue;
    Deno.test({
      name: `vrf: ${name}: what the built-in one and that of ${needs} make is the same, and each undoes it`,
      ...needLinks(["vrf"], needs),
      fn: inWorld(async (world) => {
        const seen: unknown[] = [];
        for (
          const [at, add, other] of [["a", OURS, original], ["b", original, OURS], [
            "c",
            BY_IP,
            BY_IP,
          ]] as const
        ) {
          const netns = await podWith(world, at, each);
          const call = callOf(world, each, netns);
          const answer = await add({ ...call, verb: "ADD" });
          assertDone(answer);
          const { dns = {}, ...result } = answer.document;
          const text = JSON.stringify({ ...result, dns }).replaceAll(netns, "NETNS");
          seen.push([JSON.parse(text), await stateOf(netns)]);
          for (const caller of [add, other]) assertDone(await caller({ ...call, verb: "CHECK" }));
          for (const caller of [other, add]) assertDone(await caller({ ...call, verb: "DEL" }));
          assertEquals((await vrfsIn(netns)).includes("blue"), false);
        }
        assertEquals(seen[0], seen[1]);
        assertEquals(seen[2], seen[1]);
      }),
    });
  }
}

Deno.test({
  name:
    "U74 the routes of a network go into the table of its VRF, and those of the first network stay (plugins#1223, plugins#1253)",
  ...needLinks(["vrf"]),
  fn: inWorld(async (world) => {
    const each = {
      ips: [V4, V6],
      routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }, { dst: "10.90.0.0/16", gw: "10.20.1.9" }],
      more: [
        // Equal to that of eth0: the two share the traffic before.
        "route append default via fd20:1::1 dev net1",
        "route add default via 10.20.1.1 dev net1 metric 9",
        "route add 10.91.0.0/16 dev net1",
        "route add 10.90.0.0/16 via 10.20.1.9",
        "route add 10.92.0.0/16 via 10.20.1.9 table 500",
      ],
    };
    const netns = await podWith(world, "a", each);
    const call = callOf(world, each, netns);
    assertDone(await OURS({ ...call, verb: "ADD" }));
    const lines =
      (await sh("ip route show table 1; ip -6 route show table 1; ip route show table 500", netns))
        .split("\n").map((line) => line.replace(/\s+$/, ""));
    const wanted = [
      "default via 10.20.1.1 dev net1 metric 9",
      "10.90.0.0/16 via 10.20.1.9 dev net1",
      "10.91.0.0/16 dev net1 scope link",
      "default via fd20:1::1 dev net1 metric 1024 pref medium",
      "10.92.0.0/16 via 10.20.1.9 dev net1",
    ];
    assertEquals(wanted.filter((line) => !lines.includes(line)), [], lines.join("\n"));
    const main = await sh("ip route show default; ip -6 route show default", netns);
    assertEquals(main.split("\n").map((line) => line.trim()).filter((line) => line !== ""), [
      "default via 10.10.0.1 dev eth0",
      "default via fd10::1 dev eth0 metric 1024 pref medium",
    ]);
    assertDone(await OURS({ ...call, verb: "CHECK" }));
    assertDone(await OURS({ ...call, verb: "DEL" }));
  }),
});

/** What may happen to an attachment, and what its CHECK says of it. */
const LOST: readonly (readonly [what: string, script: string, says: RegExp])[] = [
  ["its VRF", "ip link del blue", /the VRF "blue" is not in/],
  ["its place in the VRF", "ip link set net1 nomaster", /"net1" is not a port of the VRF "blue"/],
  ["its route", "ip route del default table 77", /the route to 0\.0\.0\.0\/0 via 10\.20\.1\.1 is not there/],
  ["its address", "ip addr del 10.20.1.7/24 dev net1", /does not have the address/],
  ["a VRF that is up", "ip link set blue down", /the VRF "blue" is down/],
];

Deno.test({
  name:
    "U75 the CHECK of vrf sees what is lost, and its DEL removes the rest, also without the interface (plugins#1282)",
  ...needLinks(["vrf"]),
  fn: inWorld(async (world) => {
    const each = {
      ips: [V4],
      routes: [{ dst: "0.0.0.0/0" }],
      more: ["route add default via 10.20.1.1 dev net1 metric 9"],
      table: 77,
    };
    for (const [at, [what, script, says]] of LOST.entries()) {
      const netns = await podWith(world, "abcdef"[at] ?? "", each);
      const call = callOf(world, each, netns);
      assertDone(await OURS({ ...call, verb: "ADD" }));
      await sh(script, netns);
      const { code, document } = await OURS({ ...call, verb: "CHECK" });
      assertEquals(code, 1, what);
      assertMatch(document.msg, says);
      if (at % 2 === 0) await sh("ip link del net1", netns);
      const { prevResult: _, ...config } = call.config;
      for (const __ of [1, 2]) assertDone(await OURS({ ...call, config, verb: "DEL" }));
      assertEquals(await vrfsIn(netns), "");
      for (const gone of ["", "/run/netns/pwt-none"]) {
        assertDone(await OURS({ ...call, netns: gone, verb: "DEL" }));
      }
    }
  }),
});

Deno.test({
  name: "vrf: an ADD that is stopped at any of its programs leaves the routes, rules and links as they were",
  ...needLinks(["vrf"]),
  fn: inWorld(async (world) => {
    // In a VRF that is there, and in one that the ADD makes.
    for (
      const [at, more] of [["a", []], ["b", ["link add blue type vrf table 77", "link set blue up"]]] as const
    ) {
      const netns = await podWith(world, at, {
        ...OTHER_METRIC,
        more: [...OTHER_METRIC.more ?? [], ...more],
      });
      const { config, ...call } = callOf(world, OTHER_METRIC, netns);
      const before = await stateOf(netns);
      const vrfs = await vrfsIn(netns);
      const attachment = {
        type: "vrf",
        containerId: `c-${world.tag}-${at}`,
        netns,
        ifName: call.ifName ?? "",
      };
      await stopUntilAdded({ ...attachment, config }, async (number) => {
        assertEquals(await stateOf(netns), before, `program ${number}`);
        assertEquals(await vrfsIn(netns), vrfs, `program ${number}`);
      });
    }
  }),
});

Deno.test({
  name:
    "a VRF stays while it has other ports, and what is not a VRF, or has another table, is refused by name",
  ...needLinks(["vrf"]),
  fn: inWorld(async (world) => {
    const netns = await podWith(world, "a", { ips: [V4] });
    const call = callOf(world, { ips: [V4], table: 77 }, netns);
    assertDone(await OURS({ ...call, verb: "ADD" }));
    await sh("ip link set eth0 master blue", netns);
    assertDone(await OURS({ ...call, verb: "DEL" }));
    assertMatch(await vrfsIn(netns), /blue/);
    const refused: readonly (readonly [JsonObject, string, RegExp])[] = [
      [{ table: 78 }, "net1", /"blue": it has the routing table 77, and the configuration says 78/],
      [{ vrfname: "net1-far" }, "net1", /there is a veth of that name/],
      [{}, "eth0", /it is a port of "blue" already/],
      [{}, "absent", /"absent" is not in/],
    ];
    for (const [more, ifName, says] of refused) {
      const before = await stateOf(netns);
      const { code, document } = await OURS({
        ...call,
        ifName,
        config: { ...call.config, ...more },
        verb: "ADD",
      });
      assertEquals(code, 1);
      assertMatch(document.msg, says);
      assertEquals(await stateOf(netns), before);
    }
  }),
});
