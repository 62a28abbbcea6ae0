// The built-in macvlan: what its users run into.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { until } from "../until.ts";
import { assertDone, type Call, callBuiltin, resultOf } from "./builtin_call.ts";
import { sh } from "./builtin_world.ts";
import { linkLife, linkTest } from "./link_life.ts";
import { callIn, reachesOthers, refusesMasters } from "./link_master.ts";
import { MAC, type MasterWorld, staticIpam, V4, V6 } from "./master_world.ts";

const call = (call: Call) => callBuiltin("macvlan", call);

linkLife({
  type: "macvlan",
  more: ({ master }) => ({ master, mode: "bridge", mtu: 1400 }),
  losses: [
    {
      what: "its mode",
      script: "ip link set eth0 type macvlan mode private",
      says: /has the mode private, not bridge/,
    },
    { what: "its MTU", script: "ip link set eth0 mtu 1300", says: /has the MTU 1300, not 1400/ },
    {
      what: "its MAC address",
      script: `ip link set eth0 address ${MAC}`,
      says: new RegExp(`has the MAC address ${MAC}, not `),
    },
    { what: "its master", script: "ip link del $MASTER", onHost: true, says: /is not in .* any more/ },
    {
      what: "its master's name",
      script: "ip link set $MASTER down; ip link set $MASTER name pwother0; ip link set pwother0 up",
      onHost: true,
      says: /the master "pwu\w+" does not exist/,
    },
  ],
});

function test(sentence: string, fn: (world: MasterWorld) => Promise<void>): void {
  linkTest("macvlan", sentence, fn);
}

const NO_ROUTE = "the configuration names no master, and there is no default route";

refusesMasters("macvlan", {}, [
  [
    { master: "absent0", linkInContainer: true },
    /the master "absent0" does not exist in "\/run\/netns\/.*"$/,
  ],
  [{}, new RegExp(`${NO_ROUTE} that leads to one$`)],
  [{ linkInContainer: true }, new RegExp(`${NO_ROUTE} in ".*" that leads to one$`)],
]);
reachesOthers("macvlan");

test("STATUS says what every ADD would fail of", async (world) => {
  const { document } = await call({ ...callIn("macvlan", world, "", { master: "absent0" }), verb: "STATUS" });
  assertEquals(document.code, 50);
  assertStringIncludes(document.msg, 'the master "absent0" does not exist');
  const { master } = world;
  assertDone(await call({ ...callIn("macvlan", world, "", { master }), verb: "STATUS" }));
  assertEquals(
    (await call({ ...callIn("macvlan", world, "", { master, mtu: 9000 }), verb: "STATUS" })).document.code,
    50,
  );
  const inside = { master: "absent0", linkInContainer: true };
  assertDone(await call({ ...callIn("macvlan", world, "", inside), verb: "STATUS" }));
});

test("U67 without a master the interface is on that of the default route with the lowest metric", async (world) => {
  const { master } = world;
  await sh(`ip link add pwlow0 type veth peer name pwlow1; ip link set pwlow0 up`);
  try {
    const masterOf = async (at: string) => {
      const attached = callIn("macvlan", world, await world.pod(at), {});
      resultOf(await call({ ...attached, verb: "ADD" }));
      const [inside] = JSON.parse(await sh("ip -j link show dev eth0", attached.netns));
      const links: { ifindex: number; ifname: string }[] = JSON.parse(await sh("ip -j link show"));
      return links.find(({ ifindex }) => ifindex === inside.link_index)?.ifname;
    };
    await sh(
      `ip -6 route add default dev ${master} metric 50; ip route add default dev ${master} metric 200`,
    );
    await sh("ip route add default dev pwlow0 metric 100; ip route add unreachable default metric 5");
    await sh("ip route add default dev pwlow0 table 77");
    assertEquals(await masterOf("a"), master);
    await sh(`ip -6 route change default dev ${master} metric 50; ip -6 route del default dev ${master}`);
    assertEquals(await masterOf("b"), "pwlow0");
    await sh("ip route del default dev pwlow0");
    assertEquals(await masterOf("c"), master);
  } finally {
    await sh("ip link del pwlow0; ip route del unreachable default");
  }
});

test("U66 a configuration that is wrong is refused by its member", async (world) => {
  const netns = await world.pod("a");
  const wrong: readonly (readonly [JsonObject, string])[] = [
    [{ mode: "odd" }, "mode"],
    [{ mode: "source" }, "mode"],
    [{ mtu: -1 }, "mtu"],
    [{ mtu: "1400" }, "mtu"],
    [{ mac: "02:00" }, "mac"],
    [{ runtimeConfig: { mac: "no" } }, "runtimeConfig.mac"],
    [{ bcqueuelen: -1 }, "bcqueuelen"],
    [{ bcqueuelen: 2 ** 32 }, "bcqueuelen"],
    [{ linkInContainer: "yes" }, "linkInContainer"],
    [{ master: 7 }, "master"],
    [{ ipam: "host-local" }, "ipam"],
    [{ mode: "passthru", mac: MAC }, "mac"],
  ];
  for (const [more, member] of wrong) {
    for (const verb of ["ADD", "STATUS"] as const) {
      const { code, document } = await call({
        ...callIn("macvlan", world, netns, { master: world.master, ...more }),
        verb,
      });
      assertEquals([code, document.code], [1, 7], JSON.stringify(more));
      assertStringIncludes(document.msg, member);
    }
  }
  for (const args of ["MAC=no", "UNKNOWN=1"]) {
    const { document } = await call({
      ...callIn("macvlan", world, netns, { master: world.master }),
      args,
      verb: "ADD",
    });
    assertEquals(document.code, 4, args);
  }
  assertEquals(JSON.parse(await sh("ip -j link show", netns)).length, 1);
});

test("U63 neighbours learn at once that an address has a new owner, in both families", async (world) => {
  const [v4, v6] = [V4(world), V6(world)];
  const ips = [v4, v6].map(({ address }) => address.split("/")[0]);
  await sh(`ip addr add ${v4.gateway}/24 dev far0; ip addr add ${v6.gateway}/64 dev far0 nodad`, world.lan);
  for (const ip of ips) await sh(`ip neigh replace ${ip} lladdr ${MAC} dev far0 nud reachable`, world.lan);
  const attached = callIn("macvlan", world, await world.pod("a"), {
    master: world.master,
    ...staticIpam([v4, v6]),
  });
  const { interfaces = [] } = resultOf(await call({ ...attached, verb: "ADD" }));
  const known = async () => {
    const entries: { dst: string; lladdr?: string }[] = JSON.parse(
      await sh("ip -j neigh show dev far0", world.lan),
    );
    return ips.map((ip) => entries.find(({ dst }) => dst === ip)?.lladdr);
  };
  const mac = interfaces[0]?.mac;
  assert(mac !== undefined && mac !== MAC);
  await until(async () => (await known()).every((each) => each === mac), "both neighbours are known anew");
});

test("U79 a route gets all that the IPAM plugin says of it, and CHECK finds it", async (world) => {
  const routes = [
    { dst: "10.99.0.0/16", gw: `${world.subnet4}.9`, mtu: 1400, advmss: 1300, priority: 50 },
    { dst: "10.98.0.0/16", table: 100, scope: 253 },
    { dst: "fd99::/64", gw: `${world.subnet6}::9`, mtu: 1350, priority: 70 },
  ];
  const more = { master: world.master, ...staticIpam([V4(world), V6(world)], routes) };
  const attached = callIn("macvlan", world, await world.pod("a"), more);
  const answer = await call({ ...attached, verb: "ADD" });
  assertEquals(resultOf(answer).routes, routes);
  const shown = async (...words: string[]) => {
    const [route] = JSON.parse(await sh(`ip -d -j ${words.join(" ")}`, attached.netns));
    const { gateway, metric, scope, metrics } = route;
    return { gateway, metric, scope, metrics };
  };
  assertEquals([
    await shown("route show 10.99.0.0/16"),
    await shown("route show table 100"),
    await shown("-6 route show fd99::/64"),
  ], [
    { gateway: `${world.subnet4}.9`, metric: 50, scope: "global", metrics: [{ mtu: 1400, advmss: 1300 }] },
    { gateway: undefined, metric: undefined, scope: "link", metrics: undefined },
    { gateway: `${world.subnet6}::9`, metric: 70, scope: "global", metrics: [{ mtu: 1350 }] },
  ]);
  const config = { ...attached.config, prevResult: answer.document };
  assertDone(await call({ ...attached, config, verb: "CHECK" }));
});

test("a second interface of a master in mode passthru is refused, and leaves nothing", async (world) => {
  const more = { master: world.master, mode: "passthru" };
  const first = callIn("macvlan", world, await world.pod("a"), more);
  assertDone(await call({ ...first, verb: "ADD" }));
  const second = { ...callIn("macvlan", world, await world.pod("b"), more), containerId: `d-${world.tag}` };
  const { document } = await call({ ...second, verb: "ADD" });
  assertStringIncludes(document.msg, `Cannot create the macvlan "eth0" on "${world.master}"`);
  assertEquals(JSON.parse(await sh("ip -j link show", second.netns)).length, 1);
  assertDone(await call({ ...first, verb: "DEL" }));
  assertDone(await call({ ...second, verb: "ADD" }));
});
