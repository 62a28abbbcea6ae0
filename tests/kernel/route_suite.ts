import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { formatCidr, formatIp } from "../../lib/cni/address.ts";
import { KernelError } from "../../lib/kernel/kernel.ts";
import type { NextHop, RouteInfo } from "../../lib/kernel/operation.ts";
import type { TestedKernel } from "./kernels.ts";
import { cidr, ip, ipLines, MAC, type World, worldTest } from "./world.ts";

const ALL = { 4: cidr("0.0.0.0/0"), 6: cidr("::/0") } as const;

/** A route in one line. */
function text({ dst, isUnicast, isAdvertised, isMain, metric, hops }: RouteInfo): string {
  return [
    dst === undefined ? "?" : formatCidr(dst),
    ...(isUnicast ? [] : ["special"]),
    ...(isAdvertised ? ["advertised"] : []),
    ...(isMain ? [] : ["elsewhere"]),
    ...(metric === undefined ? [] : [`metric ${metric}`]),
    ...hops.map(({ device, gateway, weight }) =>
      `${gateway ? `${formatIp(gateway)} ` : ""}${device}${weight === undefined ? "" : ` x${weight}`}`
    ),
  ].join(", ");
}

async function routes({ kernel, host }: World, family: 4 | 6, defaults = false): Promise<readonly string[]> {
  const [found] = await kernel.apply([{ kind: "show-routes", family, defaults }], { netns: host });
  return found.map(text);
}

/** Two bridges with addresses, up. */
async function twoNetworks({ kernel, host }: World): Promise<void> {
  for (const [n, name] of ["br0", "br1"].entries()) {
    await kernel.apply([
      { kind: "create-bridge", name, mac: MAC },
      { kind: "add-address", device: name, address: cidr(`10.1.${n}.1/24`) },
      { kind: "add-address", device: name, address: cidr(`fd00:${n}::1/64`) },
      { kind: "set-link", name, up: true },
    ], { netns: host });
  }
}

/** The tests of operations on routes. */
export function routeSuite(tested: TestedKernel): void {
  const test = (sentence: string, fn: (world: World) => Promise<void>) => worldTest(tested, sentence, fn);

  test("routes are shown with what distinguishes them", async (world) => {
    await twoNetworks(world);
    await ipLines(world.host, [
      "route add 10.2.0.0/16 via 10.1.0.9 metric 7",
      "route add 10.3.0.1/32 dev br1 table 1000",
      "route add 10.4.0.0/16 nexthop via 10.1.0.8 weight 3 nexthop via 10.1.1.8",
      "route add 10.5.0.0/16 via inet6 fd00:0::9 dev br0",
      "route add blackhole 10.6.0.0/16",
      "route add fd00:2::/64 via fd00:1::9 proto ra metric 9",
      "route add fd00:3::/64 nexthop via fd00:0::8 nexthop via fd00:1::8 weight 2",
      "route add unreachable fd00:4::/64",
    ]);
    const v4 = await routes(world, 4);
    const v6 = await routes(world, 6);
    const wanted = {
      v4: [
        "10.1.0.0/24, br0",
        "10.2.0.0/16, metric 7, 10.1.0.9 br0",
        "10.3.0.1/32, elsewhere, br1",
        "10.4.0.0/16, 10.1.0.8 br0 x3, 10.1.1.8 br1 x1",
        "10.5.0.0/16, fd00::9 br0",
        "10.6.0.0/16, special",
        "10.1.0.1/32, special, elsewhere, br0",
      ],
      v6: [
        "fd00:2::/64, advertised, metric 9, fd00:1::9 br1",
        "fd00:3::/64, metric 1024, fd00::8 br0 x1, fd00:1::8 br1 x2",
        "fd00:4::/64, special, metric 1024, lo",
        "fd00::/64, metric 256, br0",
        "fd00::1/128, special, elsewhere, metric 0, br0",
      ],
    };
    assertEquals(wanted.v4.filter((route) => !v4.includes(route)), [], v4.join("\n"));
    assertEquals(wanted.v6.filter((route) => !v6.includes(route)), [], v6.join("\n"));
    assertEquals([...v4, ...v6].filter((route) => route.startsWith("?")), []);
  });

  test("default routes are shown alone", async (world) => {
    await twoNetworks(world);
    await ipLines(world.host, [
      "route add 0.0.0.0/1 via 10.1.0.9",
      "route add default via 10.1.0.9",
      "route add default via 10.1.1.9 table 7",
      "route add unreachable default metric 99",
      "route add ::/1 via fd00:0::9",
      "route add default via fd00:1::9 metric 5",
    ]);
    assertEquals((await routes(world, 4, true)).toSorted(), [
      "0.0.0.0/0, 10.1.0.9 br0",
      "0.0.0.0/0, elsewhere, 10.1.1.9 br1",
      "0.0.0.0/0, special, metric 99",
    ]);
    assertEquals(await routes(world, 6, true), ["::/0, metric 5, fd00:1::9 br1"]);
  });

  test("the interface is found through which packets to an address leave, whatever table has the route", async (world) => {
    await twoNetworks(world);
    await ipLines(world.host, [
      "route add 10.2.0.0/16 via 10.1.1.9",
      "route add 10.2.3.0/24 via 10.1.0.9 table 7",
      "rule add to 10.2.3.4/32 lookup 7",
    ]);
    const found = async (to: string) =>
      (await world.kernel.apply([{ kind: "find-route", to: ip(to) }], { netns: world.host }))[0];
    assertEquals(await found("10.1.0.77"), "br0");
    assertEquals(await found("10.2.3.3"), "br1");
    assertEquals(await found("10.2.3.4"), "br0");
    assertEquals(await found("fd00:1::77"), "br1");
    assertEquals(await found("10.1.0.1"), "lo");
    const error = await assertRejects(() => found("10.99.0.1"), KernelError);
    assertStringIncludes(error.message, "Cannot find the route to 10.99.0.1: ");
  });

  test("a namespace without routes shows none", async (world) => {
    assertEquals(await routes(world, 4, true), []);
    assertEquals(await routes(world, 6, true), []);
  });

  test("a route is removed, and those beside it stay", async (world) => {
    const { host } = world;
    await twoNetworks(world);
    const lines = [
      "route add default via 10.1.0.9",
      "route add default via 10.1.1.9 metric 5",
      "route add 0.0.0.0/0 via inet6 fd00:0::9 dev br0 metric 6",
      "route add default via 10.1.0.9 table 7",
      "route add default metric 8 nexthop via 10.1.0.8 weight 3 nexthop via 10.1.1.8",
      "route add default via fd00:0::9 metric 5",
      "route append default via fd00:1::9 metric 5",
    ];
    await ipLines(host, lines);
    const remove = (family: 4 | 6, metric: number | undefined, ...hops: readonly NextHop[]) =>
      world.apply(host, { kind: "remove-route", dst: ALL[family], metric, hops });
    await remove(4, undefined, { device: "br0", gateway: ip("10.1.0.9") });
    await remove(4, 8, { device: "br0", gateway: ip("10.1.0.8"), weight: 3 }, {
      device: "br1",
      gateway: ip("10.1.1.8"),
      weight: 1,
    });
    await remove(6, 5, { device: "br0", gateway: ip("fd00::9") });
    assertEquals((await routes(world, 4, true)).toSorted(), [
      "0.0.0.0/0, elsewhere, 10.1.0.9 br0",
      "0.0.0.0/0, metric 5, 10.1.1.9 br1",
      "0.0.0.0/0, metric 6, fd00::9 br0",
    ]);
    assertEquals(await routes(world, 6, true), ["::/0, metric 5, fd00:1::9 br1"]);
    await remove(4, 6, { device: "br0", gateway: ip("fd00::9") });
    await remove(4, 5, { device: "br1" });
    assertEquals(await routes(world, 4, true), ["0.0.0.0/0, elsewhere, 10.1.0.9 br0"]);
  });

  test("a route to a network is removed by any address in it", async (world) => {
    await twoNetworks(world);
    await ipLines(world.host, ["route add 10.9.0.0/16 via 10.1.0.9", "route add 10.9.0.0/24 via 10.1.0.9"]);
    await world.apply(world.host, {
      kind: "remove-route",
      dst: cidr("10.9.0.77/16"),
      hops: [{ device: "br0" }],
    });
    const left = (await routes(world, 4)).filter((route) => route.startsWith("10.9."));
    assertEquals(left, ["10.9.0.0/24, 10.1.0.9 br0"]);
  });

  test("a route that is not there, or through an interface that is not there, is missing", async (world) => {
    await twoNetworks(world);
    for (const hop of [{ device: "br0", gateway: ip("10.1.0.9") }, { device: "nope" }]) {
      const remove = { kind: "remove-route", dst: ALL[4], hops: [hop] } as const;
      const error = await world.fails(
        world.host,
        [{ kind: "set-link", name: "lo", up: true }, remove],
        { index: 1, problem: "missing" },
      );
      assertStringIncludes(error.message, "Cannot remove the route to 0.0.0.0/0: ");
    }
  });
}
