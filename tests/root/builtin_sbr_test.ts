// The built-in sbr against the originals: the same rules and tables for the same addresses and routes.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { type CommandRequest, runCommand } from "../../lib/host/command.ts";
import { type Answer, assertDone, type Call, callBinary, callBuiltin } from "./builtin_call.ts";
import { connects, inWorld, sh, type World } from "./builtin_world.ts";
import { CNI_1_1_1, CNI_1_9_1, type Component, need } from "./need.ts";

type Caller = (call: Call) => Promise<Answer>;

const OURS: Caller = (call) => callBuiltin("sbr", call);
const ORIGINALS: readonly (readonly [needs: Component, call: Caller])[] = [
  ["cni-1.1.1", (call) => callBinary(CNI_1_1_1, "sbr", call)],
  ["cni-1.9.1", (call) => callBinary(CNI_1_9_1, "sbr", call)],
];

interface Case {
  /** Addresses of net1, with gateways. */
  readonly ips: readonly JsonObject[];
  /** The routes of the result. */
  readonly routes?: readonly JsonObject[];
  /** Lines of `ip` in the namespace, after the addresses. */
  readonly more?: readonly string[];
  readonly config?: JsonObject;
  /** The result has no interface for the addresses. */
  readonly isUnnamed?: boolean;
  /** Only the newer original can do it. */
  readonly since?: Component;
}

const V4 = { address: "10.20.1.7/24", gateway: "10.20.1.1" };
const V6 = { address: "fd20:1::7/64", gateway: "fd20:1::1" };

const CASES: Readonly<Record<string, Case>> = {
  "IPv4": { ips: [V4] },
  "IPv4 with a default route": {
    ips: [V4],
    more: ["route add default via 10.20.1.1 dev net1 metric 5"],
    routes: [{ dst: "0.0.0.0/0" }],
  },
  "IPv4 with a default route that is the pod's": { ips: [V4], more: ["route replace default via 10.20.1.1"] },
  "IPv6": { ips: [V6] },
  "IPv6 with a default route": { ips: [V6], more: ["route add default via fd20:1::1 dev net1 metric 2000"] },
  "both families": {
    ips: [V4, V6],
    more: ["route add 10.90.0.0/16 via 10.20.1.9", "route add fd90::/32 via fd20:1::9"],
    routes: [{ dst: "10.90.0.0/16", gw: "10.20.1.9" }, { dst: "fd90::/32", gw: "fd20:1::9" }],
  },
  "an address without an interface": { ips: [V4, V6], isUnnamed: true },
  "two addresses of one network": { ips: [V4, { address: "10.20.1.8/24", gateway: "10.20.1.1" }] },
  "two addresses of two networks": {
    ips: [V4, { address: "10.21.1.7/16", gateway: "10.21.0.1" }],
    more: ["route add 10.90.0.0/16 via 10.20.1.9", "route add 10.91.0.0/16 via 10.21.0.9 mtu 1400"],
  },
  "routes on the link, and of another metric": {
    ips: [V4],
    more: ["route add 10.92.0.0/16 dev net1", "route add 10.93.0.0/16 via 10.20.1.9 metric 7"],
  },
  "a router beyond the network": {
    ips: [V4],
    more: ["route add 10.99.0.1/32 dev net1", "route add 10.94.0.0/16 via 10.99.0.1 dev net1"],
  },
  "an address that is a network of its own": {
    ips: [{ address: "10.20.1.7/32", gateway: "10.99.0.1" }],
    more: ["route add 10.99.0.1/32 dev net1"],
  },
  "tables that rules lead to": {
    ips: [V4, V6],
    more: ["rule add from 10.77.0.1 table 100 priority 50", "rule add from 10.77.0.2 table 102 priority 51"],
  },
  "a configured table": { ips: [V4, V6], config: { table: 77 }, since: "cni-1.9.1" },
  "a configured table of a large number": { ips: [V4], config: { table: 70_000 }, since: "cni-1.9.1" },
};

/** A pod with a first network, and net1 on a link to the namespace of its router. */
async function podWith(world: World, name: string, { ips, more = [] }: Case): Promise<string> {
  const netns = await world.netns(name);
  const router = await world.netns(`${name}r`);
  const routerName = router.slice("/run/netns/".length);
  await sh(
    `
    ip link add eth0 type veth peer name eth0r netns ${routerName}
    ip link add net1 type veth peer name net1r netns ${routerName}
    for name in eth0 net1; do echo 0 >/proc/sys/net/ipv6/conf/$name/accept_dad; ip link set $name up; done
    ip addr add 10.10.0.7/24 dev eth0; ip addr add fd10::7/64 dev eth0 nodad
    ip route add default via 10.10.0.1; ip route add default via fd10::1`,
    netns,
  );
  await sh(
    `
    for name in eth0r net1r; do echo 0 >/proc/sys/net/ipv6/conf/$name/accept_dad; ip link set $name up; done
    ip addr add 10.10.0.1/24 dev eth0r; ip addr add fd10::1/64 dev eth0r nodad
    ip addr add 10.20.1.1/24 dev net1r; ip addr add fd20:1::1/64 dev net1r nodad
    ip addr add 10.99.9.9/32 dev lo; ip addr add fd99::9/128 dev lo
    echo 1 >/proc/sys/net/ipv4/ip_forward`,
    router,
  );
  const lines = ips.map(({ address }) =>
    `addr add ${address} dev net1${/:/.test(`${address}`) ? " nodad" : ""}`
  );
  await sh(`ip -batch - <<END\n${[...lines, ...more].join("\n")}\nEND`, netns);
  // The kernel makes the address of the link itself, a moment after the carrier.
  await sh("for i in eth0 net1; do until ip -6 addr show dev $i | grep -q fe80; do :; done; done", netns);
  return netns;
}

function callOf(
  { tag }: World,
  { ips, config, isUnnamed, routes = [] }: Case,
  netns: string,
): Omit<Call, "verb"> {
  const prevResult = {
    cniVersion: "1.0.0",
    interfaces: [{ name: "vethx" }, { name: "net1", mac: "02:00:00:00:00:aa", sandbox: netns }],
    ips: ips.map((ip) => ({ ...ip, ...(isUnnamed ? {} : { interface: 1 }) })),
    routes,
    dns: {},
  };
  return {
    ...{ containerId: `c-${tag}`, netns, ifName: "net1" },
    config: { cniVersion: "1.0.0", name: "net", type: "sbr", ...config, prevResult },
  };
}

async function rulesIn(netns: string): Promise<string[]> {
  return (await sh("ip rule; ip -6 rule", netns)).trim().split("\n");
}

async function routesIn(netns: string, which = "."): Promise<string[]> {
  const text = await sh("ip -d -4 route show table all; ip -d -6 route show table all", netns);
  const lines = text.split("\n").map((line) => line.replaceAll(/\s+/g, " ").trim());
  const isOfPod = (line: string) => line.startsWith("unicast") && new RegExp(which).test(line);
  return lines.filter(isOfPod).map((line) => line.replaceAll(/fe80::[0-9a-f:]+\b/g, "LL")).sort();
}

/** An empty `dns`, which 1.1.1 has, says the same as none. */
function resultOf({ document }: Answer): unknown {
  const { dns = {}, ...result } = document;
  return JSON.parse(JSON.stringify({ ...result, dns }).replaceAll(/pwt-[0-9a-f]+-[a-z]+/g, "NETNS"));
}

for (const [needs, original] of ORIGINALS) {
  for (const [name, each] of Object.entries(CASES)) {
    if (each.since !== undefined && each.since !== needs) continue;
    Deno.test({
      name: `sbr: ${name}: what the built-in one and that of ${needs} make is the same, and each removes it`,
      ...need("root", "ip", needs),
      fn: inWorld(async (world) => {
        const seen: unknown[] = [];
        for (const [at, add, other] of [["a", OURS, original], ["b", original, OURS]] as const) {
          const netns = await podWith(world, at, each);
          const before = await rulesIn(netns);
          const call = callOf(world, each, netns);
          const answer = await add({ ...call, verb: "ADD" });
          assertDone(answer);
          const [rules, routes] = [await rulesIn(netns), await routesIn(netns)];
          assertEquals(rules.length, before.length + each.ips.length);
          seen.push({ result: resultOf(answer), rules, routes });
          for (const caller of [add, other]) assertDone(await caller({ ...call, verb: "CHECK" }));
          for (const caller of [other, add]) {
            assertDone(await caller({ ...call, verb: "DEL" }));
            assertEquals(await rulesIn(netns), before);
          }
          await sh("ip link del net1", netns);
          assertEquals(await routesIn(netns, "net1|table \\d"), []);
        }
        assertEquals(seen[0], seen[1]);
      }),
    });
  }
}

/** Attaches with our plugin. */
async function attach(world: World, each: Case, name = "a") {
  const netns = await podWith(world, name, each);
  const call = callOf(world, each, netns);
  assertDone(await OURS({ ...call, verb: "ADD" }));
  return { call, netns };
}

const WITHOUT_GATEWAYS: Case = { ips: [{ address: "10.20.1.7/24" }, { address: "fd20:1::7/64" }] };

Deno.test({
  name:
    "U72 without a gateway of the IPAM plugin sbr routes by that of the configuration, of a route, or the first address",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const ways: readonly (readonly [Case, readonly string[]])[] = [
      [{ ...WITHOUT_GATEWAYS, config: { gateways: ["10.20.1.9", "fd20:1::9"] } }, ["10.20.1.9", "fd20:1::9"]],
      [{ ...WITHOUT_GATEWAYS, config: { gateways: ["fd20:1::9"] } }, ["10.20.1.1", "fd20:1::9"]],
      [WITHOUT_GATEWAYS, ["10.20.1.1", "fd20:1::1"]],
      [{ ...WITHOUT_GATEWAYS, more: ["route add default via 10.20.1.5 metric 9"] }, [
        "10.20.1.5",
        "fd20:1::1",
      ]],
      [{ ips: [V4, V6], config: { gateways: ["10.20.1.9"] } }, ["10.20.1.9", "fd20:1::1"]],
      [{
        ips: [V4],
        more: ["route add default via 10.20.1.5 metric 9"],
        config: { gateways: ["10.20.1.9"] },
      }, ["10.20.1.9"]],
    ];
    for (const [at, [each, expected]] of ways.entries()) {
      const { call, netns } = await attach(world, each, "abcdef"[at]);
      const defaults = (await routesIn(netns, "^unicast default .*table \\d")).map((line) =>
        line.split(" ")[3]
      );
      assertEquals(defaults.sort(), [...expected].sort(), JSON.stringify(each));
      assertDone(await OURS({ ...call, verb: "CHECK" }));
      assertDone(await OURS({ ...call, verb: "DEL" }));
    }
  }),
});

Deno.test({
  name: "sbr does the same through the program ip, in both families",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const each = { ips: [V4, V6], config: { addSourceHints: true } };
    const seen: unknown[] = [];
    for (
      const [name, run] of [["a", undefined], [
        "b",
        (request: CommandRequest) => runCommand(request),
      ]] as const
    ) {
      const netns = await podWith(world, name, each);
      const call = callOf(world, each, netns);
      assertDone(await callBuiltin("sbr", { ...call, verb: "ADD" }, run));
      assertDone(await callBuiltin("sbr", { ...call, verb: "CHECK" }, run));
      const attached = [await rulesIn(netns), await routesIn(netns)];
      assertDone(await callBuiltin("sbr", { ...call, verb: "DEL" }, run));
      seen.push([attached, await rulesIn(netns), await routesIn(netns)]);
    }
    assertEquals(seen[0], seen[1]);
  }),
});

/** Whether a program in the pod reaches an address of the router, from one of its own if that is given. */
async function reaches(netns: string, router: string, to: string, from?: string): Promise<boolean> {
  const port = 20_000 + crypto.getRandomValues(new Uint16Array(1))[0]! % 12_000;
  const serve = `const l = Deno.listen({ hostname: "${to}", port: ${port} }); console.log("up");
    for await (const c of l) { await c.write(new TextEncoder().encode("hello")); c.close(); }`;
  const server = new Deno.Command("nsenter", {
    args: [`--net=${router}`, Deno.execPath(), "eval", "--no-config", serve],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  try {
    const reader = server.stdout.getReader();
    await reader.read();
    reader.releaseLock();
    const bind = from === undefined ? [] : ["--interface", from];
    const host = to.includes(":") ? `[${to}]` : to;
    const args = [`--net=${netns}`, "curl", "-s", "--http0.9", "-m", "20", ...bind, `http://${host}:${port}`];
    return (await runCommand({ program: "nsenter", args })).stdout === "hello";
  } finally {
    server.kill("SIGKILL");
    await server.stdout.cancel();
    await server.status;
  }
}

Deno.test({
  name:
    "U73 with source hints packets with and without a source leave by the right interface, and the default route stays",
  ...need("root", "ip", "curl"),
  fn: inWorld(async (world) => {
    const { call, netns } = await attach(world, { ips: [V4, V6], config: { addSourceHints: true } });
    const router = `${netns}r`;
    const main = await sh(
      "ip route get 10.99.9.9; ip -6 route get fd99::9; ip route get 10.20.1.1; ip -6 route get fd20:1::1",
      netns,
    );
    assertEquals(main.match(/dev \S+|src \S+/g), [
      ...["dev eth0", "src 10.10.0.7", "dev eth0", "src fd10::7"],
      ...["dev net1", "src 10.20.1.7", "dev net1", "src fd20:1::7"],
    ]);
    const bound = await sh(
      "ip route get 10.99.9.9 from 10.20.1.7; ip -6 route get fd99::9 from fd20:1::7",
      netns,
    );
    assertEquals(bound.match(/via \S+ dev \S+/g), ["via 10.20.1.1 dev net1", "via fd20:1::1 dev net1"]);
    assert(await reaches(netns, router, "10.20.1.1"));
    assert(await reaches(netns, router, "fd20:1::1"));
    assert(await reaches(netns, router, "10.99.9.9", "10.20.1.7"));
    assert(await connects(netns, router, "10.99.9.9"));
    assertDone(await OURS({ ...call, verb: "CHECK" }));
    assertDone(await OURS({ ...call, verb: "DEL" }));
  }),
});

/** What may happen to an attachment, and what its CHECK says of it. */
const LOST: readonly (readonly [what: string, script: string, says: RegExp])[] = [
  ["its rule", "ip rule del from 10.20.1.7", /the rule for packets from 10\.20\.1\.7 is not there/],
  ["its IPv6 rule", "ip -6 rule del from fd20:1::7", /the rule for packets from fd20:1::7 is not there/],
  [
    "its default route",
    "ip route del default table 100",
    /the route to 0\.0\.0\.0\/0 via 10\.20\.1\.1 is not there/,
  ],
  ["its IPv6 default route", "ip -6 route del default table 101", /the route to ::\/0 via fd20:1::1 is not/],
  [
    "the route of its result",
    "ip route del 10.90.0.0/16 table 100",
    /the route to 10\.90\.0\.0\/16 .*not there/,
  ],
  [
    "its hint",
    "ip route del 10.20.1.0/24",
    /the main table has no route to 10\.20\.1\.0\/24 from 10\.20\.1\.7/,
  ],
  ["its interface", "ip link del net1", /"net1" is not in/],
];

for (const [what, script, says] of LOST) {
  Deno.test({
    name: `the CHECK of sbr sees that a pod has lost ${what}, and its DEL removes the rest`,
    ...need("root", "ip"),
    fn: inWorld(async (world) => {
      const each = {
        ips: [V4, V6],
        more: ["route add 10.90.0.0/16 via 10.20.1.1"],
        routes: [{ dst: "10.90.0.0/16" }],
        config: { addSourceHints: true },
      };
      const { call, netns } = await attach(world, each);
      assertDone(await OURS({ ...call, verb: "CHECK" }));
      await sh(script, netns);
      const { code, document } = await OURS({ ...call, verb: "CHECK" });
      assertEquals(code, 1);
      assertMatch(document.msg, says);
      for (const _ of [1, 2]) {
        assertDone(await OURS({ ...call, verb: "DEL" }));
        assertEquals((await rulesIn(netns)).length, 5);
      }
      // A table to which no rule leads may be of others, and ends with the interface.
      await sh("ip link del net1 2>/dev/null || :", netns);
      assertEquals(await routesIn(netns, "table \\d"), []);
    }),
  });
}

Deno.test({
  name:
    "the DEL of sbr leaves rules and tables of others, and succeeds without a namespace, an interface or a result",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const { call, netns } = await attach(world, {
      ips: [V4],
      more: [
        "rule add from 10.20.1.7 fwmark 3 table 300 priority 40",
        "rule add from 10.20.1.7 table 50 priority 41",
        "rule add from 10.20.1.7 table 301 priority 42",
        "route add default via 10.10.0.1 table 301",
      ],
    });
    const foreign = (lines: readonly string[]) => lines.filter((line) => /lookup (50|300|301)/.test(line));
    const before = foreign(await rulesIn(netns));
    const { prevResult: _, ...config } = call.config;
    assertDone(await OURS({ ...call, config, verb: "DEL" }));
    assertEquals(foreign(await rulesIn(netns)), before);
    assertEquals((await rulesIn(netns)).filter((line) => line.includes("lookup 100")), []);
    assertEquals(await routesIn(netns, "table 301"), await routesIn(netns, "table \\d"));
    for (const gone of ["", "/run/netns/pwt-none"]) {
      assertDone(await OURS({ ...call, netns: gone, verb: "DEL" }));
    }
    assertEquals(await sh("ls /run/netns/pwt-none 2>/dev/null || :"), "");
  }),
});

Deno.test({
  name: "an ADD of sbr that fails leaves the routes and rules as they were",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    // The default route of the second address has a next hop that is not on the link.
    const each = {
      ips: [V4, V6],
      config: { gateways: ["fd55::1"] },
      more: ["route add 10.90.0.0/16 via 10.20.1.9"],
    };
    const netns = await podWith(world, "a", each);
    const before = [await rulesIn(netns), await routesIn(netns)];
    const { code, document } = await OURS({ ...callOf(world, each, netns), verb: "ADD" });
    assertEquals(code, 1);
    assertStringIncludes(document.msg, "Cannot add the route to ::/0");
    assertEquals([await rulesIn(netns), await routesIn(netns)], before);
  }),
});
